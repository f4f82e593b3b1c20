"""The file `efficiency_sota.csv` of openai/ai-and-efficiency: rows are added, none is changed."""

import csv
import io
from collections.abc import Sequence

from jaxeff.cells import inert
from jaxeff.errors import UsageError
from jaxeff.report import published

COLUMNS = (
    "Metric",
    "Publication Date",
    "Publication",
    "Publication link",
    "Compute (teraflops-s/days)",
    "Reduction Factor",
    "Analysis",
    "Analysis link",
)


def published_text() -> str:
    """The file as its authors published it, with a line break at its end."""
    return "\n".join([",".join(COLUMNS), *(row.line for row in published.sota())]) + "\n"


def columns_and_bases(existing: str) -> tuple[Sequence[str], dict[str, float]]:
    """The columns of a file, and the teraflop/s-days of the first row of each metric in it.

    Raises:
      UsageError: it lacks one of `COLUMNS`, or is no CSV.
    """
    columns, base = (), {}
    try:
        reader = csv.DictReader(io.StringIO(existing.removeprefix("\ufeff"), newline=""))
        columns = reader.fieldnames or ()
        if missing := [column for column in COLUMNS if column not in columns]:
            raise UsageError(
                f"--export_sota: the file that is there has no column {missing[0]!r}, so rows "
                "cannot be added to it; give the name of a new file"
            )
        for row in reader:
            if days := number(row[COLUMNS[4]]):
                base.setdefault(row["Metric"], days)
    except csv.Error as error:
        raise UsageError(f"--export_sota: the file that is there is no CSV ({error})") from error
    return columns, base


def with_rows(existing: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The text with lines for `rows` behind it, which end as its own do.

    Args:
      existing: text of a file, which stays byte for byte as it is.
      columns: of the file.
      rows: cells in the order of `COLUMNS`; one whose level, publication and compute are there
        already is not added again.
    """
    end = "\r\n" if "\r\n" in existing else "\n"
    reader = csv.DictReader(io.StringIO(existing.removeprefix("\ufeff"), newline=""))
    there, added = {_measurement(row) for row in reader}, io.StringIO()
    for row in rows:
        cells = dict(zip(COLUMNS, map(inert, row), strict=True))
        if _measurement(cells) not in there:
            line = csv.writer(added, lineterminator=end)
            line.writerow([cells.get(name, "") for name in columns])
    if added.getvalue() and not existing.endswith("\n"):
        existing += end
    return existing + added.getvalue()


def _measurement(row):
    return tuple(row[name] for name in COLUMNS[:5])


def number(text: str | None) -> float | None:
    """A number above 0 such that its products and ratios with others are numbers too, or None."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if 1e-40 < value < 1e40 else None
