"""Tables on a terminal: never cut, and as wide as they have to be."""

import shutil
import sys
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def show(
    columns: Mapping[str, str], rows: Sequence[Sequence[str]], title: str | None = None
) -> None:
    """Prints a table whose first column is of names and whose others are of numbers.

    Where it is wider than the terminal, a line below says how to see it whole.

    Args:
      columns: the footer of each column by its header, empty for none; a header may have lines.
      rows: a cell for each column.
      title: stands above it.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        show_edge=False,
        show_footer=any(columns.values()),
        pad_edge=False,
        padding=0,
    )
    for number, (header, footer) in enumerate(columns.items()):
        table.add_column(header, footer, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    needed = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    if title:
        needed = max(needed, len(title))
    Console(width=needed, highlight=False).print(table)
    print()
    note_width(needed)


def note_width(needed: int) -> None:
    """Says how to see what is `needed` columns wide, where the terminal has fewer."""
    if sys.stdout.isatty() and needed > shutil.get_terminal_size().columns:
        print(f"This table has {needed} columns: widen the terminal, or add | less -S")


def hours(value: float | None) -> str:
    """Hours, below a tenth of one minutes: `1.5 min`; a dash for None."""
    if value is not None and value < 0.1:
        return f"{60 * value:.2g} min"
    return short(value)


def short(value: float | None) -> str:
    """Three digits at least: no plan takes 0.00 hours."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
