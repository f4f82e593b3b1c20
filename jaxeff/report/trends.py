"""How fast the compute to a level falls: frontier, doubling times and their uncertainty.

A doubling time is the time in which the compute to the same result halves (efficiency doubles).
Source of the method: Hernandez & Brown, arXiv:2005.04305, section 4.1.
"""

import dataclasses
import datetime
import math
from collections.abc import Sequence

import numpy as np

from jaxeff.errors import UsageError

DAYS_A_MONTH = 365.25 / 12
MOORE_MONTHS = 24.0
"""Doubling time of transistors at a price (Moore's law), as the paper takes it."""

BOOTSTRAP_DRAWS = 10_000
BOOTSTRAP_SEED = 0


@dataclasses.dataclass(frozen=True)
class Point:
    """Compute that a model took to a level.

    Attributes:
      model: the model's name, as readers see it.
      published: date on which the architecture was published.
      compute: operations, in one convention.
      epochs: epochs until the level was met, None where that is not known.
      macs: forward multiply-accumulates of an image, None where they are not known.
      source: where the number is from.
    """

    model: str
    published: datetime.date
    compute: float
    epochs: float | None = None
    macs: float | None = None
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Doubling:
    """A doubling time in months, the ends of its 95 % interval, and what it rests on."""

    method: str
    months: float
    low: float | None
    high: float | None
    points: int
    how: str


def months_between(start: datetime.date, end: datetime.date) -> float:
    """Months of 365.25 / 12 days."""
    return (end - start).days / DAYS_A_MONTH


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that took less compute than every one published before or on the same day."""
    best, found = math.inf, []
    for point in sorted(points, key=lambda point: (point.published, point.compute)):
        if point.compute < best:
            best = point.compute
            found.append(point)
    return found


def doubling_months(points: Sequence[Point]) -> float:
    """Least squares of log2(compute) on the date: months in which compute halves.

    Infinite where compute does not change, negative where it rises.

    Raises:
      UsageError: fewer than two dates.
    """
    months, halvings = _logarithms(points)
    if len(set(months)) < 2:
        raise UsageError("a doubling time needs models of at least two dates")
    slope = np.polyfit(months, halvings, 1)[0]
    return math.inf if slope == 0 else float(-1 / slope)


def end_to_end_months(points: Sequence[Point]) -> float:
    """Months in which compute halves, from the first and the last point alone."""
    first, last = points[0], points[-1]
    halvings = math.log2(first.compute / last.compute)
    span = months_between(first.published, last.published)
    return math.inf if halvings == 0 else span / halvings


def bootstrap_interval(points: Sequence[Point]) -> tuple[float, float] | tuple[None, None]:
    """95 % percentile interval of `doubling_months`, points drawn with replacement.

    `BOOTSTRAP_DRAWS` draws from a fixed seed; draws of fewer than three distinct dates are left
    out, since a line through two is no fit. Fewer than four points give (None, None). Quantiles are
    taken of the slopes, which stay meaningful through zero, and then turned into times; the slope
    of the points themselves lies within, at an end if need be.
    """
    if len(points) < 4:
        return None, None
    months, halvings = _logarithms(points)
    slopes, _ = _bootstrapped_lines(months, halvings)
    own = np.polyfit(months, halvings, 1)[0]
    steep, flat = np.quantile(slopes, [0.025, 0.975])
    steep, flat = min(steep, own), max(flat, own)
    return float(-1 / steep), float(-1 / flat) if flat < 0 else math.inf


def _bootstrapped_lines(months, halvings):
    """Slopes and intercepts of the lines through points that were drawn with replacement."""
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = generator.integers(len(months), size=(BOOTSTRAP_DRAWS, len(months)))
    x, y = months[drawn], halvings[drawn]
    distinct = (np.diff(np.sort(x, axis=1), axis=1) > 0).sum(axis=1) >= 2
    x, y = x[distinct], y[distinct]
    centre = x.mean(axis=1, keepdims=True)
    x = x - centre
    slopes = (x * y).sum(axis=1) / (x * x).sum(axis=1)
    return slopes, y.mean(axis=1) - slopes * centre[:, 0]


@dataclasses.dataclass(frozen=True)
class Line:
    """The fitted line of a frontier.

    Attributes:
      dates: from the first model to the last.
      compute: operations on the line.
      low: ends of the pointwise 95 % interval of the line, of the same bootstrap as that of
        `bootstrap_interval`; it is where the line may lie, not where models may.
      high: likewise.
    """

    dates: Sequence[datetime.date]
    compute: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def fitted_line(points: Sequence[Point], number: int = 13) -> Line | None:
    """Least squares of log2(compute) on the date, at `number` dates; None for fewer than 4 points.

    Args:
      points: of a frontier.
      number: of dates, at equal distances.
    """
    if len(points) < 4:
        return None
    months, halvings = _logarithms(points)
    at = np.linspace(0, months.max(), number)
    slopes, intercepts = _bootstrapped_lines(months, halvings)
    line = np.polyval(np.polyfit(months, halvings, 1), at)
    low, high = np.quantile(slopes[:, None] * at + intercepts[:, None], [0.025, 0.975], axis=0)
    low, high = np.minimum(low, line), np.maximum(high, line)
    start = min(point.published for point in points)
    dates = [start + datetime.timedelta(days=round(m * DAYS_A_MONTH)) for m in at]
    return Line(dates, *((2.0**values).tolist() for values in (line, low, high)))


def rounding_interval(points: Sequence[Point]) -> tuple[float, float] | tuple[None, None]:
    """Least and greatest `end_to_end_months` that whole epochs leave open.

    An evaluation once an epoch says only that the level was met within the last epoch, and what is
    charged up to its end may be up to one epoch too much, for the first model and for the last.
    """
    first, last = points[0], points[-1]
    if first.epochs is None or last.epochs is None:
        return None, None
    span = months_between(first.published, last.published)
    ratio = first.compute / last.compute
    fewest = ratio * (first.epochs - 1) / first.epochs
    most = ratio * last.epochs / (last.epochs - 1) if last.epochs > 1 else math.inf
    return span / math.log2(most), span / math.log2(fewest) if fewest > 1 else math.inf


def doublings(points: Sequence[Point]) -> list[Doubling]:
    """Doubling times by three methods; none where the frontier has fewer than two dates."""
    best = frontier(points)
    if len({point.published for point in best}) < 2:
        return []
    fitted = f"least squares of log2(compute) on date; pairs bootstrap, {BOOTSTRAP_DRAWS:,} draws"
    found = [
        Doubling(
            "frontier", doubling_months(best), *bootstrap_interval(best), len(best),
            f"models that were the best of their time: {fitted}",
        ),
        Doubling(
            "end to end", end_to_end_months(best), *rounding_interval(best), 2,
            f"{best[0].model} to {best[-1].model}; the interval is that of whole epochs",
        ),
    ]  # fmt: skip
    months = doubling_months(points)
    if months > 0 and math.isfinite(months):
        found.append(
            Doubling("every model", months, *bootstrap_interval(points), len(points), fitted)
        )
    return found


def leave_one_out(points: Sequence[Point]) -> list[tuple[str, float]]:
    """The doubling time of the frontier that is left without each of its models in turn."""
    without = []
    for left_out in frontier(points):
        rest = frontier([point for point in points if point is not left_out])
        if len({point.published for point in rest}) >= 2:
            without.append((left_out.model, doubling_months(rest)))
    return without


def moore_factor(start: datetime.date, end: datetime.date, months: float = MOORE_MONTHS) -> float:
    """Growth between two dates by Moore's law."""
    return 2 ** (months_between(start, end) / months)


@dataclasses.dataclass(frozen=True)
class NextDoubling:
    """What would halve the frontier's compute once more, at the fitted rate."""

    expected: datetime.date
    compute: float
    epochs_at_same_macs: float | None
    macs_at_same_epochs: float | None


def next_doubling(points: Sequence[Point]) -> NextDoubling:
    """The next doubling after the last point of the frontier."""
    best = frontier(points)
    last, days = best[-1], doubling_months(best) * DAYS_A_MONTH
    return NextDoubling(
        last.published + datetime.timedelta(days=round(days)),
        last.compute / 2,
        None if last.epochs is None else last.epochs / 2,
        None if last.macs is None else last.macs / 2,
    )


def _logarithms(points):
    start = min(point.published for point in points)
    months = np.array([months_between(start, point.published) for point in points])
    return months, np.log2([point.compute for point in points])
