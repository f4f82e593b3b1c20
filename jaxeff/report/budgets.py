"""Budgets beside crossings: how much of each factor was the schedule."""

import math
from collections.abc import Mapping, Sequence

from jaxeff import measure
from jaxeff.measure import Budget
from jaxeff.records import Record
from jaxeff.report.measured import Result, ends, interval_columns
from jaxeff.report.tables import (
    BASELINE,
    NOT_OVER,
    Configuration,
    Group,
    Table,
    configuration,
    group_of,
    is_baseline,
)


def table(
    searched: Sequence[Record],
    found: Mapping[Group, Sequence[Result]],
    baseline: str = BASELINE,
    shipped: Sequence[Record] = (),
) -> Table:
    """The shortest annealed schedule of each configuration whose lengths were searched.

    Args:
      searched: the reader's runs for which `measure.is_of_search` holds.
      found: `measured.results` of the other runs.
      baseline: name of the model against which factors are.
      shipped: runs of a search that came with the package.
    """
    rows = [*_rows(searched, found, baseline, False), *_rows(shipped, found, baseline, True)]
    columns = (
        "data and level",
        "model",
        "measured",
        "recipe",
        *interval_columns("times less, by budget"),
        *interval_columns("times less, by crossing"),
        "of the latter, schedule",
        "than",
        *interval_columns("budget, XLA FLOPs"),
        *interval_columns("budget, epochs"),
        "crossing over budget",
        "seeds",
        "never got there",
        "epochs that end at the level",
        "the search took, FLOPs",
    )
    how = (
        "A budget is the shortest schedule, annealed to its end, whose last evaluation is at the "
        "level in at least half of the seeds; intervals are of 95 %. Where a run in a longer "
        "schedule first crosses the level depends on how long that schedule is: the crossing over "
        "the budget says how much compute that cost, and the ratio of both factors how much of the "
        "factor it was."
    )
    return Table("budgets", "The shortest schedule to the level", columns, tuple(rows), how)


def _rows(searched, found, baseline, shipped):
    """Of runs of one origin."""
    rows = []
    for group, within in _budgets(searched).items():
        crossed = {
            _any_length(result.key): result
            for result in found.get(group, ())
            if result.runs and result.shipped == shipped
        }
        base = _baseline(within, baseline)
        # Both factors are from one configuration, so that their ratio is the schedule's.
        reference = crossed.get(base) if base is not None else None
        for key, budget in within.items():
            factor = schedule = whole = None
            if base is not None and key != base:
                factor = measure.factor(within[base].crossings, budget.crossings)
            result = crossed.get(key)
            if result is not None:
                schedule = _over(result.estimate().value, budget.train_flops.value)
                if factor is not None and reference is not None:
                    whole = measure.factor(reference.crossings(), result.crossings())
            rows.append(
                (
                    group.label,
                    key.model,
                    "with jaxeff" if shipped else "yours",
                    key.recipe,
                    *ends(factor),
                    *ends(whole),
                    None if whole is None else _over(whole.value, factor.value),
                    base and base.model,
                    *ends(budget.train_flops),
                    *ends(budget.epochs),
                    schedule,
                    budget.epochs.seeds,
                    budget.epochs.missed,
                    ", ".join(f"{length:g}: {met} of {n}" for length, met, n in budget.lengths),
                    budget.spent_flops,
                )
            )
    return rows


def _budgets(searched) -> dict[Group, dict[Configuration, Budget]]:
    runs: dict[Group, dict[Configuration, list[Record]]] = {}
    for record in searched:
        if record.status not in NOT_OVER:
            within = runs.setdefault(group_of(record), {})
            within.setdefault(_any_length(configuration(record)), []).append(record)
    return {
        group: {key: measure.budget(found) for key, found in within.items()}
        for group, within in runs.items()
    }


def _any_length(key):
    # Schedules hold their length.
    return key._replace(epochs=0.0, settings="")


def _baseline(within, baseline):
    its = {key: b.train_flops.value for key, b in within.items() if is_baseline(key, baseline)}
    return min(its, key=its.get, default=None)


def _over(a, b):
    ratio = a / b if b and math.isfinite(b) else math.nan
    return ratio if math.isfinite(ratio) else None
