"""Compute to every accuracy and not to one alone: what learning curves say about a factor.

A curve is a list of `(compute, accuracy)` with rising compute, as `curve` gives it for a record.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from jaxeff.records import Record

Curve = Sequence[tuple[float, float]]

# Conventions in which `curve` gives the compute.
CONVENTIONS = ("xla", "paper")


def curve(record: Record, metric: str, convention: str = "xla") -> list[tuple[float, float]]:
    """Compute and validation accuracy of a record's evaluations.

    Args:
      record: a run.
      metric: `top1` or `top5`.
      convention: `xla`, or `paper` (3 x forward multiply-accumulates x images, each image at what
        it cost when it was trained on).
    """
    if convention == "xla":
        return [(point.train_flops, point.value(metric)) for point in record.curve]
    schedule = record.compute.schedule
    return [(schedule.paper_flops(point.step), point.value(metric)) for point in record.curve]


def crossing(points: Curve, level: float) -> float | None:
    """Compute up to the first evaluation at or above `level`; None where there is none."""
    return next((compute for compute, accuracy in points if accuracy >= level), None)


def interpolated_crossing(points: Curve, level: float) -> float | None:
    """Compute at which the straight line between evaluations first meets `level`.

    Where the first evaluation is already above, this is its compute: nothing was measured before.
    """
    before = None
    for compute, accuracy in points:
        if accuracy >= level:
            if before is None:
                return compute
            x, y = before
            return x + (compute - x) * (level - y) / (accuracy - y)
        before = compute, accuracy
    return None


@dataclasses.dataclass(frozen=True)
class Level:
    """What two models took to one accuracy; None where a model never reached it."""

    level: float
    first: float | None
    second: float | None
    factor: float | None
    interpolated_factor: float | None


def sensitivity(first: Curve, second: Curve, levels: Sequence[float]) -> list[Level]:
    """How many times less compute `second` took than `first`, level by level."""
    rows = []
    for level in levels:
        whole = crossing(first, level), crossing(second, level)
        between = interpolated_crossing(first, level), interpolated_crossing(second, level)
        rows.append(Level(level, *whole, _ratio(*whole), _ratio(*between)))
    return rows


def dominates(first: Curve, second: Curve) -> bool:
    """Whether `first` reaches everything that `second` reaches, each for at most its compute."""
    reached = sorted({accuracy for _, accuracy in second})
    if not first or not reached:
        return False
    return all(
        (mine := crossing(first, level)) is not None and mine <= crossing(second, level)
        for level in reached
    )


def dominance(curves: Mapping[str, Curve]) -> dict[str, list[str]]:
    """For each name, the names whose curves it dominates."""
    return {
        name: [
            other
            for other, beaten in curves.items()
            if other != name and dominates(points, beaten) and not dominates(beaten, points)
        ]
        for name, points in curves.items()
    }


def grid(curves: Sequence[Curve], count: int = 12) -> list[float]:
    """At most `count` round accuracies, up to the best that any curve reaches."""
    best = max((accuracy for points in curves for _, accuracy in points), default=0.0)
    step = next(s for s in (0.01, 0.02, 0.05, 0.1) if best / s <= count or s == 0.1)
    return [round(step * i, 4) for i in range(1, math.floor(best / step + 1e-9) + 1)]


def _ratio(first, second):
    return None if first is None or second is None else first / second
