"""Proposes the level of a data set from many runs of a reference network.

A level is worth measuring just after the knee of the reference's curve: below it every network
crosses in its first epochs, far above it on a plateau, where noise decides when (MLPerf chooses its
targets so, Mattson et al. 2020). And the reference must get there: nineteen of twenty seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxeff.errors import UsageError
from jaxeff.measure.crossing import crossing
from jaxeff.measure.interval import Estimate, compute_to_level, relative_spread
from jaxeff.records import Record, is_met

# This part of the reference's seeds has to reach a level.
REACHED = 0.95
# So many candidates before the knee are shown too.
BEFORE_KNEE = 3


@dataclass(frozen=True)
class Candidate:
    """What the reference's seeds say of one level.

    Attributes:
      level: of the metric.
      reached: number of seeds that met it at some evaluation.
      ended: number of seeds whose last evaluation meets it.
      epochs: to the level.
      spread: relative standard deviation of one run; None where it is not known.
    """

    level: float
    reached: int
    ended: int
    epochs: Estimate
    spread: float | None


@dataclass(frozen=True)
class Proposal:
    """A level and its evidence.

    Attributes:
      metric: key of the curves' metrics.
      level: proposed; None where the reference meets none after its knee with enough seeds.
      knee_epoch: of the median curve.
      knee: the median over seeds there.
      seeds: number of runs.
      candidates: levels around the knee and what each would be like, the easiest first.
    """

    metric: str
    level: float | None
    knee_epoch: float
    knee: float
    seeds: int
    candidates: Sequence[Candidate]


def propose_level(runs: Sequence[Record], metric: str, step: float = 0.01) -> Proposal:
    """The level that the reference's curves speak for.

    The knee is the point of the curve of medians over seeds that lies farthest from the straight
    line between its ends (Satopaa et al. 2011, "Kneedle"). The level is the first multiple of
    `step` that is no easier than the metric at the knee, if enough seeds reach it.

    Args:
      runs: of the reference, one a seed, each over its whole schedule, evaluated at the same steps.
      metric: key of the curves' metrics.
      step: levels are multiples of it.

    Raises:
      UsageError: there are fewer than three runs or evaluations, or they were evaluated at
        different steps or diverged.
    """
    steps = {tuple(point.step for point in run.curve) for run in runs}
    if len(steps) > 1:
        raise UsageError(
            "the reference's seeds were not all evaluated at the same steps to the end: each has "
            "to run through its schedule without diverging; give it a recipe with which it does"
        )
    if len(runs) < 3 or len(runs[0].curve) < 3:
        raise UsageError("a level needs three seeds or more, of three evaluations or more")
    direction = runs[0].direction(metric)
    sign = 1 if direction == "max" else -1
    median = np.median([[point.value(metric) for point in run.curve] for run in runs], axis=0)
    epochs = np.array([point.epoch for point in runs[0].curve])
    knee = _knee(epochs, sign * median)
    first = math.ceil(sign * median[knee] / step - 1e-9)
    best = max(sign * point.value(metric) for run in runs for point in run.curve)
    numbers = range(first - BEFORE_KNEE, max(first, math.floor(best / step + 1e-9)) + 1)
    candidates = [_candidate(runs, metric, direction, sign * n * step) for n in numbers]
    chosen = candidates[BEFORE_KNEE]
    is_reached = chosen.reached >= REACHED * len(runs)
    return Proposal(
        metric=metric,
        level=chosen.level if is_reached else None,
        knee_epoch=float(epochs[knee]),
        knee=float(median[knee]),
        seeds=len(runs),
        candidates=candidates,
    )


def _knee(x, y):
    """Index of the point farthest above the straight line from the first to the last."""
    y = np.maximum.accumulate(y)
    line = y[0] + (y[-1] - y[0]) * (x - x[0]) / (x[-1] - x[0])
    return int(np.argmax(y - line))


def _candidate(runs, metric, direction, level):
    level = round(level, 12)
    found = [crossing(run, level, metric, "epoch") for run in runs]
    return Candidate(
        level=level,
        reached=sum(one.reached for one in found),
        ended=sum(is_met(direction, run.curve[-1].value(metric), level) for run in runs),
        epochs=compute_to_level(found),
        spread=relative_spread(found),
    )
