"""Figure 2's claim, measured: a rate that falls smoothly beside one that falls in steps."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jaxeff.report.names import readable
from jaxeff.report.tables import Group, accuracy_of

if TYPE_CHECKING:
    from jaxeff.report.measured import Result

STEPS = "_step"
"""How the name of a recipe ends that is another one with a rate that falls in steps."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """One model under both schedules, to one level.

    Attributes:
      group: data and level, an accuracy's.
      smooth: of the recipe `paper`, say.
      steps: of the recipe `paper_step` then.
    """

    group: Group
    smooth: "Result"
    steps: "Result"

    @property
    def finding(self) -> str:
        """What the pair shows, as a sentence."""
        from jaxeff import measure
        from jaxeff.report import measured

        factor = measure.factor(self.steps.crossings(), self.smooth.crossings())
        counts = len(self.steps.runs), len(self.smooth.runs)
        return (
            f"{readable(self.smooth.key.model)} on {self.group.label}: the smooth schedule takes "
            f"{factor.value:.3g} times less than the one in steps "
            f"({measured.interval_text(factor, counts)})."
        )


def pairs(results: Mapping[Group, Sequence["Result"]]) -> list[Pair]:
    """The models that were measured under both, ImageNet's and those of the most runs first."""
    found = []
    for group, within in results.items():
        if accuracy_of(group.metric) is None:
            continue
        by_recipe = {
            (r.key.model, r.key.sources, r.shipped, r.key.recipe): r for r in within if r.runs
        }
        for (model, sources, shipped, recipe), smooth in by_recipe.items():
            steps = by_recipe.get((model, sources, shipped, recipe + STEPS))
            if steps is not None:
                found.append(Pair(group, smooth, steps))

    def order(pair):
        runs = len(pair.smooth.runs) + len(pair.steps.runs)
        return pair.group.dataset != "imagenet2012", -runs

    return sorted(found, key=order)


def accuracy_by_epoch(result: "Result", metric: str) -> list[tuple[float, float, float, float]]:
    """Epoch, median, least and greatest accuracy over the runs, at epochs that all of them have."""
    curves = [
        {round(point.epoch, 6): point.value(metric) for point in run.curve} for run in result.runs
    ]
    common = sorted(set.intersection(*map(set, curves)))
    return [
        (epoch, statistics.median(values), min(values), max(values))
        for epoch in common
        if (values := [curve[epoch] for curve in curves])
    ]
