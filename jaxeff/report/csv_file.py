"""Tables as CSV: a header of `#` lines that says what they are, names of columns, rows."""

import csv
import datetime
import io

from jaxeff.cells import inert
from jaxeff.report import quotation
from jaxeff.report.tables import Table


def csv_text(table: Table, day: datetime.date, most: int | None = None) -> str:
    """A table as CSV, with all digits of its numbers, under `quotation.header`.

    Args:
      table: what is written.
      day: on which its numbers were made.
      most: rows; None for all of them.
    """
    how = table.how
    if most is not None and len(table.rows) > most:
        how += f" The first {most} of {len(table.rows)} rows."
    text = io.StringIO()
    text.writelines(f"{line}\n" for line in quotation.header(table.title, how, day))
    for row in (table.columns, *table.rows[:most]):
        cells = [inert(cell) for cell in row]
        # pandas takes the rest of a line for a comment behind a # that stands in no quotes.
        has_hash = any("#" in cell for cell in cells if isinstance(cell, str))
        quoting = csv.QUOTE_NONNUMERIC if has_hash else csv.QUOTE_MINIMAL
        csv.writer(text, lineterminator="\n", quoting=quoting).writerow(cells)
    return text.getvalue()
