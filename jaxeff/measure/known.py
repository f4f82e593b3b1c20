"""What was measured with several seeds, and comes with the package: `known.csv`.

The file is `factors.csv` as `launch/sweep.py` wrote it; docs/measuring.md has the command.

    python -m jaxeff.measure.known

prints it as README's table.
"""

import csv
import functools
import importlib.resources
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """How much one run of a kind differs from another of another seed.

    Attributes:
      relative: standard deviation of the logarithm of a run's compute to the level: 0.11 where runs
        differ by 11 %.
      seeds: number of runs that tell it.
      level: that they went to, such as `accuracy:0.98`.
    """

    relative: float
    seeds: int
    level: str

    def text(self) -> str:
        """For people: `± 11 % (standard deviation of 5 seeds, to accuracy:0.98)`."""
        return f"± {self.relative:.0%} (standard deviation of {self.seeds} seeds, to {self.level})"


@functools.cache
def known_rows() -> Sequence[Mapping[str, str]]:
    """The rows of `known.csv`, by the columns of `measure.table.COLUMNS`."""
    file = importlib.resources.files("jaxeff.measure") / "known.csv"
    return tuple(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def known_spread(model: str, dataset: str) -> Spread | None:
    """The spread of runs of a model on a data set, both by name; None where it is not known."""
    for row in known_rows():
        alike = (row["model"], row["dataset"]) == (model, dataset)
        if alike and row["spread_of_one_run"]:
            arrived = len(row["seeds"].split()) - int(row["missed"])
            return Spread(float(row["spread_of_one_run"]), arrived, row["level"])
    return None


def as_markdown() -> str:
    """The rows as README's table: every number with its seeds, interval and level."""
    lines = [
        "| model | level | seeds | epoch | XLA count, FLOPs | times less than the reference | "
        "shortest schedule, epochs | times less |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in known_rows():
        seeds, missed = len(row["seeds"].split()), int(row["missed"])
        of_seeds = f"{seeds}, {missed} missed" if missed else f"{seeds}"
        is_reference = row["configuration"] == row["reference"]
        numbers = [_with_interval(row, name) for name in ("epochs", "train_flops")]
        factor, budget, budget_factor = (
            _with_interval(row, name) for name in ("factor", "budget_epochs", "budget_factor")
        )
        if is_reference:
            factor = budget_factor = "the reference"
        cells = [row["model"], row["level"], of_seeds, *numbers, factor, budget, budget_factor]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _with_interval(row, name):
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if not value:
        return ""
    if not low:
        return f"{_number(value)} (no interval)"
    return f"{_number(value)} ({_number(low)} to {_number(high)})"


def _number(text):
    number = float(text)
    return "never" if math.isinf(number) else f"{number:.3g}"


if __name__ == "__main__":
    print(as_markdown())
