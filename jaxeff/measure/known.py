"""What was measured with several seeds, and comes with the package.

The records are `jaxeff.records.shipped`; the level of a data set, with the reference's evidence for
it, is a file in `levels/`, as `launch/sweep.py --find_level` wrote it.
"""

import functools
import importlib.resources
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxeff import records
from jaxeff.errors import UsageError
from jaxeff.measure.budget import budget, is_of_search
from jaxeff.measure.interval import Estimate
from jaxeff.measure.table import Row, factor_text, table, text
from jaxeff.records import Record


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
def known_levels() -> Mapping[str, Mapping[str, Any]]:
    """By data set: `metric`, `level`, and the evidence for it."""
    folder = importlib.resources.files("jaxeff.measure") / "levels"
    found = [json.loads(file.read_text(encoding="utf-8")) for file in folder.iterdir()]
    return {level["dataset"]: level for level in found}


@functools.cache
def known_rows() -> Sequence[Row]:
    """A row for each network of each data set, that which takes most first."""
    return rows_of(records.shipped(), known_levels())


def rows_to(metric: str, level: float) -> Sequence[Row]:
    """As `known_rows`, of the same runs, to another level: of the data sets whose runs went to it.

    Raises:
      UsageError: none did.
    """
    at = {
        name: {**found, "metric": metric, "level": level} for name, found in known_levels().items()
    }
    runs = {
        name: run
        for name, run in records.shipped().items()
        if run.dataset.name in at
        and run.target.metric == metric
        and records.is_met(run.direction(metric), run.target.value, level)
    }
    if not runs:
        went = {
            (run.dataset.name, f"{run.target.metric}:{run.target.value:g}")
            for run in records.shipped().values()
            if not is_of_search(run)
        }
        raise UsageError(
            f"no runs that come with the package went to {metric}:{level:g}, but "
            + ", ".join(f"those on {dataset} to {target}" for dataset, target in sorted(went))
        )
    return rows_of(runs, at)


def rows_of(runs: Mapping[str, Record], levels: Mapping[str, Mapping[str, Any]]) -> Sequence[Row]:
    """A row for each network of each data set, the largest first, to that data set's level.

    A row is called by its network alone where its recipe is the reference's, and otherwise by both:
    `resnet18, paper`.

    Args:
      runs: by name; those of one network and recipe on one data set differ by their seed alone, or
        were made to find its budget.
      levels: by data set, `metric`, `level` and `reference`; without one, runs are measured to
        their own target and have no factors.
    """
    datasets: dict[str, list[Record]] = {}
    for run in sorted(runs.values(), key=lambda run: -run.dataset.train_examples):
        datasets.setdefault(run.dataset.name, []).append(run)
    rows = []
    for dataset, within in datasets.items():
        known = levels.get(dataset, {})
        level, metric = known.get("level"), known.get("metric")
        # A search says nothing of another level than its own.
        to = level, metric
        crossed: dict[str, list[Record]] = {}
        searched: dict[str, list[Record]] = {}
        for name, run in _named(within, known.get("reference")):
            crossed.setdefault(name, [])
            if not is_of_search(run):
                crossed[name].append(run)
            elif not known or (run.target.value, run.target.metric) == to:
                searched.setdefault(name, []).append(run)
        budgets = {name: budget(found) for name, found in searched.items()}
        rows += table(crossed, known.get("reference"), level, metric, budgets)
    return rows


def _named(runs, reference):
    """Each run with the name of its row."""
    of_reference = {run.recipe["name"] for run in runs if run.model.name == reference}
    for run in runs:
        network, recipe = run.model.name, run.recipe["name"]
        is_alike = not of_reference or recipe in of_reference
        yield network if is_alike else f"{network}, {recipe}", run


def known_spread(record: Record) -> Spread | None:
    """The spread of runs like this one, which differ from it by seed, level and precision alone.

    None where it is not known, as for another recipe, rate or length of schedule.
    """
    for row in known_rows():
        if row.spread is not None and _kind(row.records[0]) == _kind(record):
            arrived = row.train_flops.seeds - row.train_flops.missed
            return Spread(row.spread, arrived, f"{row.metric}:{row.level:g}")
    return None


def _kind(record):
    # Optimizer and schedule are told by the recipe's name; how they are described may change.
    left_out = {"optimizer", "schedule", "eval_every", "dtype"}
    settings = sorted(record.recipe.keys() - left_out)
    model = record.model
    return (
        (model.name, model.args, model.source),
        record.dataset.fingerprint,
        record.task,
        [(setting, record.recipe[setting]) for setting in settings],
    )


def as_markdown(rows: Sequence[Row]) -> str:
    """A table for each data set and level: every number with its seeds and interval.

    The columns of shortest schedules are left out where none is known.
    """
    panels = itertools.groupby(rows, key=_of_table)
    return "\n\n".join(_table(list(panel)) for _, panel in panels)


def _of_table(row):
    first = row.records[0]
    return first.dataset.name, first.task["image_size"], row.metric, row.level


def _table(rows):
    dataset, image_size, metric, level = _of_table(rows[0])
    with_budgets = any(row.budget for row in rows)
    columns = ["network", "seeds", "epoch", "XLA count, FLOPs", "times less than the reference"]
    if with_budgets:
        columns += ["shortest schedule, epochs", "times less"]
    lines = [
        f"{dataset} at {image_size} px, to {metric}:{level:g}:",
        "",
        f"| {' | '.join(columns)} |",
        f"| {' | '.join('---' for _ in columns)} |",
    ]
    for row in rows:
        seeds, missed = row.train_flops.seeds, row.train_flops.missed
        is_reference, arrived = row.name == row.reference, math.isfinite(row.train_flops.value)
        cells = [
            row.name,
            f"{seeds}, {missed} missed" if missed else f"{seeds}",
            text(row.epochs),
            text(row.train_flops),
            "the reference" if is_reference else _factor(row.factor if arrived else None),
        ]
        if with_budgets:
            cells += [
                text(row.budget.epochs) if row.budget else "",
                "the reference" if is_reference and row.budget else _factor(row.budget_factor),
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _factor(estimate: Estimate | None):
    return "" if estimate is None or math.isnan(estimate.value) else factor_text(estimate)
