"""Tables as people see them: intervals in one cell, cross products as matrices, few digits."""

import dataclasses
import math
from collections.abc import Sequence

from jaxeff.report import tables
from jaxeff.report.names import readable
from jaxeff.report.tables import Table

_OF_MODELS = {
    "model",
    "from",
    "to",
    "than",
    "without",
    "configuration",
    "dominates",
    "original",
    "improved",
    "what to know",
}
"""Columns whose text names models."""

LONG_TEXT = 40
"""Characters from which on a cell needs a wide column."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
      text: what is seen.
      raw: what rows are sorted by.
      kind: `number`, `medium` or `long` text, or neither.
      url: where the text leads, or None.
      note: a second, smaller line.
      anchor: of the row, which others link to.
    """

    text: str
    raw: str = ""
    kind: str = ""
    url: str | None = None
    note: str = ""
    anchor: str = ""


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows under one head.

    Attributes:
      label: what all of them have in common; empty for nothing.
      columns: headings.
      rows: as many cells each.
      is_matrix: whether the columns are values of one quantity.
    """

    label: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    is_matrix: bool = False


@dataclasses.dataclass(frozen=True)
class Shown:
    """A table on the page: its name and title, how it was made, and its rows."""

    name: str
    title: str
    how: str
    count: int
    blocks: Sequence[Block]


def shown(table: Table, most: int, source_address: str | None = None) -> Shown:
    """A table on the page.

    Args:
      table: what it shows.
      most: rows; a matrix has them all.
      source_address: web address of the source, for links to commits.
    """
    blocks = _matrices(table) if table.matrix else [_block(table, most, source_address)]
    return Shown(table.name, table.title, table.how, len(table.rows), blocks)


def _block(table, most, source_address):
    columns, places = _merged(table.columns)
    rows = table.rows[:most]
    constant = {
        i
        for i in range(len(columns))
        if len(rows) > 2
        and isinstance(rows[0][places[i][0]], str)
        and len({row[places[i][0]] for row in rows}) == 1
        and columns[i] != "run"
    }
    shown = [(columns[i], rows[0][places[i][0]]) for i in sorted(constant)]
    label = "; ".join(f"{name}: {value}" for name, value in shown if value not in ("", None))
    kept = [i for i in range(len(columns)) if i not in constant]
    cells = [
        [_cell(columns[i], [row[place] for place in places[i]], source_address) for i in kept]
        for row in rows
    ]
    return Block(label and f"In every row: {label}.", [columns[i] for i in kept], cells)


def _merged(columns):
    """Headings with `X`, `X, 95 % from` and `X, to` as one, and the places of each."""
    found, places, i = [], [], 0
    while i < len(columns):
        name = columns[i]
        is_interval = columns[i + 1 : i + 3] == (f"{name}, 95 % from", f"{name}, to")
        found.append(f"{name} (95 %)" if is_interval else name)
        places.append(range(i, i + 3) if is_interval else range(i, i + 1))
        i += 3 if is_interval else 1
    return found, places


def _matrices(table):
    """A matrix for each combination of what is neither its rows nor its columns nor a number."""
    row_name, column_name, value_name = table.matrix
    at = {name: table.columns.index(name) for name in table.matrix}
    others = [
        i
        for i, name in enumerate(table.columns)
        if name not in table.matrix and all(isinstance(row[i], str) for row in table.rows)
    ]
    names, places = _merged(table.columns)
    value = next(p for p in places if p[0] == at[value_name])
    blocks = []
    key = lambda row: tuple(row[i] for i in others)  # noqa: E731
    for common in dict.fromkeys(map(key, table.rows)):
        within = [row for row in table.rows if key(row) == common]
        heads = list(dict.fromkeys(row[at[column_name]] for row in within))
        if all(isinstance(head, int | float) for head in heads):
            heads.sort()
        sides = list(dict.fromkeys(row[at[row_name]] for row in within))
        found = {
            (row[at[row_name]], row[at[column_name]]): [row[i] for i in value] for row in within
        }
        rows = [
            [
                _cell(row_name, [side]),
                *(_of_matrix(found.get((side, head))) for head in heads),
            ]
            for side in sides
        ]
        label = [
            f"{table.columns[i]}: {readable(text)}" for i, text in zip(others, common, strict=True)
        ]
        cells = names[list(places).index(value)]
        columns = [
            f"{row_name} ↓ {column_name} →",
            *(readable(head) if isinstance(head, str) else f"{head:g}" for head in heads),
        ]
        blocks.append(Block("; ".join([*label, f"cells: {cells}"]), columns, rows, True))
    return blocks


def _of_matrix(values):
    if values is None:
        return Cell("")
    value, *ends = values
    note = "" if not ends or ends[0] is None else f"{number(ends[0], 3)} to {number(ends[1], 3)}"
    return Cell(number(value, 3), raw(value), "number", note=note)


def _cell(column, values, source_address=None):
    value = values[0]
    if len(values) == 3:
        if value is None:
            return Cell("", kind="number")
        return Cell(interval(*values), raw(value), "number")
    if isinstance(value, int | float):
        return Cell(number(value, 2 if "difference" in column else 4), raw(value), "number")
    text = value or ""
    if column in _OF_MODELS:
        text = readable(text)
    kind = "long" if len(text) > LONG_TEXT else "medium" if len(text) > LONG_TEXT / 2 else ""
    url = text if text.startswith(("https://", "http://")) else None
    if column == "commit" and source_address and text:
        url = f"{source_address}/commit/{text.split()[0]}"
    return Cell(text, raw(value), kind, url, anchor=text if column == "run" else "")


def number(value: tables.Cell, digits: int = 4) -> str:
    """A number as people read it: `12,345`, `1.235 × 10¹³`, a true minus sign, ∞."""
    if value is None:
        return ""
    if isinstance(value, float) and math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, int) and abs(value) < 1e9:
        text = f"{value:,}"
    elif value and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        text = f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{digits}g}" if value else "0"
    return text.replace("-", "−")


def interval(value: float, low: float | None, high: float | None) -> str:
    """A number with its interval: `2.63 (2.02 to 3.06) × 10¹³`."""
    if low is None:
        return number(value, 3)
    if not math.isinf(value) and value >= 1e6 and not math.isinf(high):
        exponent = math.floor(math.log10(value))
        value, low, high = (f"{end / 10**exponent:.3g}" for end in (value, low, high))
        return f"{value} ({low} to {high}) × 10{str(exponent).translate(_SUPERSCRIPTS)}"
    return f"{number(value, 3)} ({number(low, 3)} to {number(high, 3)})"


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def raw(value: tables.Cell) -> str:
    """A cell as the CSV file has it."""
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
