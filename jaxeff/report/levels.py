"""Compute to every accuracy and not to one alone: how a factor depends on the level.

At each level of a grid, the crossings of a configuration's runs give a median with its interval,
and those of two give a factor, by `jaxeff.measure`. A run that was stopped at its target says
nothing of the levels above what it had reached by then; they are left out.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxeff import measure
from jaxeff.measure import Crossing, Estimate
from jaxeff.report.measured import Result, ends, interval_columns
from jaxeff.report.tables import Group, Table, accuracy_of, metric_text

# The time to compare every pair of configurations grows with the square of their number.
MOST_COMPARED = 60


@dataclasses.dataclass(frozen=True)
class Profile:
    """What a configuration takes to the levels of a grid.

    Attributes:
      result: its runs, one at least.
      crossings: of them, by level; only levels of which all runs say something.
      medians: of these, by level.
    """

    result: Result
    crossings: Mapping[float, Sequence[Crossing]]
    medians: Mapping[float, Estimate]


def profile(result: Result, metric: str, marks: Sequence[float], unit: str = "xla") -> Profile:
    """What a configuration takes to each of `marks`.

    Args:
      result: with one run at least.
      metric: an accuracy, of which more is better.
      marks: its levels.
      unit: as in `jaxeff.measure`.
    """
    found = [_crossings(run, metric, marks, unit) for run in result.runs]
    crossings = {
        level: of_runs
        for level, of_runs in zip(marks, zip(*found, strict=True), strict=True)
        if all(
            crossing.reached or run.status != "reached"
            for crossing, run in zip(of_runs, result.runs, strict=True)
        )
    }
    medians = {level: measure.compute_to_level(found) for level, found in crossings.items()}
    return Profile(result, crossings, medians)


def _crossings(run, metric, marks, unit):
    """Of one run, by level. Of a long curve only the evaluations around each level are read."""
    highest = np.maximum.accumulate([point.value(metric) for point in run.curve])
    found = []
    for level, first in zip(marks, np.searchsorted(highest, marks), strict=True):
        around = dataclasses.replace(run, curve=run.curve[max(0, first - 1) : first + 1])
        found.append(measure.crossing(around, level, metric, unit))
    return found


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The configurations of a group at every level.

    Attributes:
      group: with an accuracy for target.
      marks: the levels.
      profiles: of the configurations with a run that is over, by XLA's count.
      base: of the baseline of the reader's runs; None where no run of it is over.
      shipped_base: likewise of the runs that came with the package.
    """

    group: Group
    marks: Sequence[float]
    profiles: Sequence[Profile]
    base: Profile | None
    shipped_base: Profile | None = None

    def base_of(self, other: Profile) -> Profile | None:
        """The baseline that a configuration is compared with."""
        return self.shipped_base if other.result.shipped else self.base

    def factors(self, other: Profile) -> dict[float, Estimate]:
        """How many times less than its baseline `other` takes, by level; where both got there."""
        return self._factors[id(other)]

    @functools.cached_property
    def _factors(self):
        """Of each of `others`."""
        return {id(other): self._compared(self.base_of(other), other) for other in self.others}

    def _compared(self, base, other):
        found = {}
        for level in self.marks:
            if level in base.crossings and level in other.crossings:
                factor = measure.factor(base.crossings[level], other.crossings[level])
                if 0 < factor.value < math.inf:
                    found[level] = factor
        return found

    @property
    def others(self) -> list[Profile]:
        """Those that are compared with a baseline; none without one."""
        bases = [(profile, self.base_of(profile)) for profile in self.profiles]
        return [p for p, base in bases if base is not None and base is not p]


def compare(
    group: Group,
    within: Sequence[Result],
    base: Result | None,
    shipped_base: Result | None = None,
) -> Comparison:
    """The configurations of a group at every level.

    Args:
      group: with an accuracy for target.
      within: its configurations.
      base: the baseline among them of the reader's runs.
      shipped_base: that of the runs that came with the package.
    """
    chosen = [result for result in within if result.runs]
    chosen = sorted(chosen, key=lambda r: r is not base and r is not shipped_base)[:MOST_COMPARED]
    values = [p.value(group.metric) for r in chosen for run in r.runs for p in run.curve]
    marks = grid(max(values, default=0.0), group.level, _chance(group))
    profiles = [profile(result, group.metric, marks) for result in chosen]
    by_result = {id(found.result): found for found in profiles}
    bases = by_result.get(id(base)), by_result.get(id(shipped_base))
    return Comparison(group, marks, profiles, *bases)


def _chance(group):
    """The accuracy of a network that guesses."""
    classes = json.loads(group.settings).get("num_classes")
    _, accuracy = accuracy_of(group.metric)
    return int(accuracy.removeprefix("top")) / classes if classes else 0.0


def grid(best: float, level: float, above: float = 0.0) -> list[float]:
    """Round accuracies from `above` on (itself left out) up to `best`, and `level` itself.

    At most twelve equal steps, and near the last a tenth of them: near the end of its curve, where
    levels are set, a network takes most of its compute.
    """
    step = next(s for s in (0.01, 0.02, 0.05, 0.1) if best / s <= 12 or s == 0.1)
    last = math.floor(best / step + 1e-9)
    coarse = [step * i for i in range(1, last + 1)]
    fine = [step * (last - 1 + i / 10) for i in range(1, 20)]
    marks = {round(mark, 5) for mark in (*coarse, *fine)}
    return sorted({mark for mark in marks if above + 1e-9 < mark <= best + 1e-9} | {level})


@dataclasses.dataclass(frozen=True)
class Dominance:
    """One configuration takes at most the other's median at every level that the other reached.

    Levels of which one of them says nothing, since a run was stopped before, take no part.

    Attributes:
      first: the cheaper one.
      second: the other.
      levels: number of the levels.
      level: at which the factor between them is least.
      least: that factor.
    """

    first: Profile
    second: Profile
    levels: int
    level: float
    least: Estimate


def dominance(profiles: Sequence[Profile]) -> list[Dominance]:
    """Which configuration dominates which, by medians; two with the same do not."""
    pairs = ((first, second) for first in profiles for second in profiles if first is not second)
    return [found for pair in pairs if (found := _dominance(*pair)) is not None]


def _dominance(first, second):
    ratios = {}
    for level, theirs in second.medians.items():
        if level in first.medians and math.isfinite(theirs.value):
            ratios[level] = theirs.value / first.medians[level].value
    if not ratios or min(ratios.values()) < 1 or max(ratios.values()) == 1:
        return None
    at = min(ratios, key=ratios.get)
    least = measure.factor(second.crossings[at], first.crossings[at])
    return Dominance(first, second, len(ratios), at, least)


def levels_table(comparisons: Sequence[Comparison], baseline: str) -> Table:
    """The factor at every level."""
    rows = []
    for compared in comparisons:
        for other in compared.others:
            for level, factor in compared.factors(other).items():
                pair = compared.base_of(other), other
                rows.append(
                    (
                        compared.group.data,
                        metric_text(compared.group.metric),
                        100 * level,
                        pair[0].result.name,
                        other.result.name,
                        *ends(factor),
                        *(len(one.result.runs) for one in pair),
                        *(one.medians[level].missed for one in pair),
                    )
                )
    columns = (
        "data",
        "accuracy",
        "level, %",
        "from",
        "to",
        *interval_columns("factor"),
        "runs from",
        "runs to",
        "missed from",
        "missed to",
    )
    without = [
        compared.group.label
        for compared in comparisons
        if not any(map(compared.base_of, compared.profiles))
    ]
    how = (
        "Factors are ratios of median XLA FLOPs to the level, with 95 % intervals from three seeds "
        "on. Levels are left out that chance reaches, that the median does not, or that lie above "
        f"where a run was stopped. At most {MOST_COMPARED} configurations a group are compared, "
        f"with {baseline}"
        + (f", of which no run is over for {'; '.join(without)}." if without else ".")
    )
    matrix = ("to", "level, %", "factor")
    return Table("levels", "The factor at every level", columns, tuple(rows), how, matrix)


def dominance_table(comparisons: Sequence[Comparison]) -> Table:
    """Which configuration dominates which."""
    rows = []
    for compared in comparisons:
        for found in dominance(compared.profiles):
            rows.append(
                (
                    compared.group.data,
                    found.first.result.name,
                    found.second.result.name,
                    metric_text(compared.group.metric),
                    found.levels,
                    *ends(found.least),
                    100 * found.level,
                    len(found.first.result.runs),
                    len(found.second.result.runs),
                )
            )
    columns = (
        "data",
        "configuration",
        "dominates",
        "accuracy",
        "levels",
        *interval_columns("least factor"),
        "at level, %",
        "its runs",
        "runs of the other",
    )
    how = (
        "A configuration dominates another where its median compute is at most the other's at "
        "every level that the other reached, as far as neither was stopped before. The least "
        "factor is that of the level at which they are closest: where its interval lies above 1, "
        "more than chance separates them."
    )
    title, matrix = (
        "Which configuration dominates which",
        ("configuration", "dominates", "least factor"),
    )
    return Table("dominance", title, columns, tuple(rows), how, matrix)
