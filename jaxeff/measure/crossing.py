"""Where a learning curve meets a level, and how well that is known.

A network is measured now and then: that it met the level at one evaluation says that it got there
after the one before. The crossing is interval-censored, and a run that ends below the level is
right-censored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxeff import records
from jaxeff.records import Record

# In which unit `Crossing` counts: XLA's count, 3 x forward multiply-accumulates, or epochs.
UNITS = ("xla", "paper", "epoch")


@dataclass(frozen=True)
class Crossing:
    """The first evaluation of one run that meets a level.

    Attributes:
      after: how much was spent at the evaluation before, which did not meet it; 0 where there is
        none.
      by: how much was spent at the evaluation that did; infinite where none did, and then `after`
        is what the whole run spent.
      stays_by: how much was spent at the first evaluation from which on all meet it; infinite
        where the last does not.
      seed: of the run.
    """

    after: float
    by: float
    stays_by: float
    seed: int

    @property
    def reached(self) -> bool:
        """Whether the run got there."""
        return math.isfinite(self.by)


def crossing(
    record: Record, level: float | None = None, metric: str | None = None, unit: str = "xla"
) -> Crossing:
    """The crossing of a run.

    Args:
      record: of the run; one that diverged before its first evaluation never got there.
      level: of the metric; None takes the run's own target, and its metric. A run that stopped at
        an easier target counts as one that never got there.
      metric: key of the curve's metrics; None takes the target's.
      unit: one of `UNITS`.

    Raises:
      ValueError: there is no such unit.
    """
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r}: give one of {', '.join(UNITS)}")
    if not record.curve:
        cost = {"xla": record.compute.train_flops, "paper": record.compute.paper_flops, "epoch": 0}
        return Crossing(float(cost[unit]), math.inf, math.inf, record.seed)
    level = record.target.value if level is None else level
    metric = metric or record.target.metric
    found = records.crossing(record.curve, metric, level, record.direction(metric))
    curve = record.curve
    first = next((i for i, point in enumerate(curve) if point.step == found.step), len(curve))
    stays = next((point for point in curve if point.epoch == found.stays_from_epoch), None)
    return Crossing(
        after=_spent(record, curve[first - 1], unit) if first else 0.0,
        by=_spent(record, curve[first], unit) if found.reached else math.inf,
        stays_by=math.inf if stays is None else _spent(record, stays, unit),
        seed=record.seed,
    )


def common_stop(runs: Sequence[Record], level: float, metric: str, unit: str = "xla") -> float:
    """What it takes until the mean over the runs meets the level; infinite where it never does.

    One stopping time for all seeds, as modded-nanogpt's records have it: less noisy than the
    seeds' own crossings, which take the luckiest evaluation of each.

    Args:
      runs: of one configuration, evaluated at the same steps.
      level: of the metric.
      metric: key of the curves' metrics.
      unit: one of `UNITS`.

    Raises:
      ValueError: there is no record, they were evaluated at different steps, or they stopped at
        their target before their mean met the level.
    """
    if not runs:
        raise ValueError("there is no run")
    direction = runs[0].direction(metric)
    length = min(len(record.curve) for record in runs)
    for points in zip(*(record.curve[:length] for record in runs), strict=True):
        if len({point.step for point in points}) > 1:
            raise ValueError("the runs were evaluated at different steps")
        mean = sum(point.value(metric) for point in points) / len(points)
        if records.is_met(direction, mean, level):
            return _spent(runs[0], points[0], unit)
    if any(record.status == "reached" and len(record.curve) == length for record in runs):
        raise ValueError("a run stopped at its target before the mean met the level")
    return math.inf


def _spent(record, point, unit):
    if unit == "xla":
        return float(point.train_flops)
    if unit == "paper":
        return float(record.compute.schedule.paper_flops(point.step))
    return float(point.epoch)
