"""Reads records, and writes the report's files."""

import csv
import glob
import io
import os
import pathlib
from collections.abc import Sequence

from jaxeff import records
from jaxeff.atomic import write_atomically
from jaxeff.errors import UsageError
from jaxeff.report import audit, exchange, figures, page
from jaxeff.report.analysis import Analysis
from jaxeff.report.tables import BASELINE, Table

LARGEST_RECORD_BYTES = 20_000_000
"""The size of a record of 50 000 evaluations; no record of a run is larger."""


def find_records(patterns: Sequence[str]) -> tuple[list[pathlib.Path], list[str]]:
    """Finds the files that match, each once and in order, and the patterns that match none.

    A pattern that names a folder stands for every `record.json` in it, at any depth.
    """
    found, found_none = {}, []
    for pattern in patterns:
        path = os.path.expanduser(pattern)
        if os.path.isdir(path):
            path = os.path.join(glob.escape(path), "**", "record.json")
        matches = sorted(glob.glob(path, recursive=True))
        files = [pathlib.Path(match) for match in matches if os.path.isfile(match)]
        if not files:
            found_none.append(pattern)
        found |= {path.resolve(): path for path in files}
    return list(found.values()), found_none


def read_records(
    paths: Sequence[pathlib.Path], progress=iter
) -> tuple[list[records.Record], list[str]]:
    """Reads valid records, and says why each other file is none or was read before.

    Args:
      paths: files.
      progress: wraps the iteration, to show it.
    """
    valid, refused, seen = [], [], {}
    for path in progress(paths):
        try:
            size = path.stat().st_size
            if size > LARGEST_RECORD_BYTES:
                raise UsageError(
                    f"{path}: {size / 1e6:,.0f} MB, and a record has at most "
                    f"{LARGEST_RECORD_BYTES / 1e6:.0f}"
                )
            record = records.read(path)
            key = (record.run_id, record.created, record.seed, len(record.curve))
            if seen.setdefault(key, path) is not path:
                raise UsageError(f"{path}: the same run as {seen[key]}")
        except (OSError, UsageError) as error:
            refused.append(" ".join(str(error).split()))
        else:
            valid.append(record)
    return valid, refused


def write(analysis: Analysis, out: str | os.PathLike) -> None:
    """Writes all files of the report under `out`, each whole or not at all.

    Raises:
      UsageError: the folder cannot be written.
    """
    out = pathlib.Path(out)
    # Everything is made before the first file is replaced, so that a failure leaves the old report.
    files = {"audit.md": audit.markdown(analysis.audit, analysis.factors())}
    files |= {f"tables/{table.name}.csv": csv_text(table) for table in analysis.tables}
    for name, figure in figures.draw(analysis).items():
        files[f"figures/{name}.png"], files[f"figures/{name}.svg"] = figures.render(figure)
    files["index.html"] = page.render(analysis)
    for name, content in files.items():
        _write(out / name, content)


def write_exchange(
    valid: Sequence[records.Record], path: str | os.PathLike, baseline: str = BASELINE
) -> pathlib.Path:
    """Writes `path` in the published columns and the analysis beside it; returns the latter's path.

    Factors are against the model `baseline`, where its level is no published one.

    Raises:
      UsageError: the file cannot be written.
    """
    path = pathlib.Path(path)
    rows, analysis = exchange.export(valid, baseline)
    beside = path.with_suffix(".md")
    _write(path, rows)
    _write(beside, analysis)
    return beside


def csv_text(table: Table) -> str:
    """A table as CSV, with all digits of its numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([[exchange.inert(cell) for cell in row] for row in table.rows])
    return text.getvalue()


def _write(path, content):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
