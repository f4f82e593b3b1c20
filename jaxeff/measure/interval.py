"""Compute to a level from several seeds, and factors between two of them, with 95 % intervals.

The estimate is the **median** over seeds, a run that never gets there counting as infinite
(AlgoPerf, Dahl et al. 2023; MLPerf). A crossing is known to lie between two evaluations; crossings
that share such a gap are spread evenly over it, which is where Turnbull's estimator for
interval-censored data (1976) with a uniform density in each gap puts its mass. On the logarithms of
these, seven seeds or fewer give Student's interval, which takes the crossings for log-normal; eight
or more give the interval between order statistics with Hettmansperger and Sheather's interpolation
(1986), which takes them for nothing. Where runs differ by less than a gap, neither says where in
the gap they cross: an interval is never narrower than what the gaps leave open.
`tests/measure/test_coverage.py` holds how often each contains the truth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from jaxeff.measure.crossing import Crossing

CONFIDENCE = 0.95
# Fewer seeds give no interval.
FEWEST_SEEDS = 3
# From here on order statistics alone bound the median at `CONFIDENCE`, and better than Student's t.
FEWEST_FOR_ORDER_STATISTICS = 8


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
      value: the estimate; infinite where at least half of the runs never got there.
      low: of the interval; None where there are too few seeds for one.
      high: likewise; infinite where the runs do not bound it.
      seeds: number of runs.
      missed: how many of them never got there.
    """

    value: float
    low: float | None
    high: float | None
    seeds: int
    missed: int = 0

    @property
    def relative_error(self) -> float | None:
        """Half of the interval on a logarithmic scale: 0.1 where it is a tenth either way."""
        if self.low is None or self.high is None:
            return None
        if self.low <= 0 or not math.isfinite(self.high):
            return None
        return math.exp(math.log(self.high / self.low) / 2) - 1


def compute_to_level(crossings: Sequence[Crossing]) -> Estimate:
    """What it takes one configuration to get to a level: the median over its seeds.

    Args:
      crossings: of its runs, one a seed.

    Returns:
      The estimate, which lies half a gap between evaluations before what the runs are charged. The
      interval contains the medians of both ends of the gaps. With a run that never got there its
      low end takes the run to have crossed right after its end, and its high end never to cross;
      that is infinite where so many miss, by the binomial distribution, that half of all seeds may.

    Raises:
      ValueError: there is no run.
    """
    if not crossings:
        raise ValueError("there is no run")
    count, missed = len(crossings), sum(not c.reached for c in crossings)
    times = _spread(crossings)
    value = float(np.median(times)) if missed * 2 < count else math.inf
    if count < FEWEST_SEEDS:
        return Estimate(value, None, None, count, missed)
    ends = [
        time if math.isfinite(time) else c.after for time, c in zip(times, crossings, strict=True)
    ]
    low, high = _interval(np.log(np.maximum(ends, 1e-300)))
    if missed:
        bounded = _most_misses(missed, count) < 0.5
        high = _interval(np.log(times))[1] if bounded else math.inf
    low, high = math.exp(low), math.exp(high) if math.isfinite(high) else math.inf
    earliest, latest = _open(crossings)
    return Estimate(value, min(low, earliest, value), max(high, latest, value), count, missed)


def factor(reference: Sequence[Crossing], other: Sequence[Crossing]) -> Estimate:
    """How many times less than `reference` the other configuration takes: a ratio of medians.

    On a logarithmic scale, few seeds give Welch's interval (1947) of a difference. Otherwise, and
    where runs missed, the widths of both intervals are added in squares, end by end (Zou and
    Donner's MOVER, 2008).

    Args:
      reference: crossings of the one.
      other: crossings of the other.

    Returns:
      The estimate; `seeds` is the smaller number of runs. NaN where neither is known to get there.
      Where one of the medians is infinite, so is the factor or its inverse, and the finite end of
      the interval is the ratio of the ends of both.
    """
    a, b = compute_to_level(reference), compute_to_level(other)
    seeds, missed = min(a.seeds, b.seeds), a.missed + b.missed
    value = _ratio(a.value, b.value)
    if a.low is None or a.high is None or b.low is None or b.high is None or math.isnan(value):
        return Estimate(value, None, None, seeds, missed)
    if math.isinf(a.value):
        return Estimate(value, a.low / b.high, math.inf, seeds, missed)
    if math.isinf(b.value):
        return Estimate(value, 0.0, a.high / b.low if b.low else math.inf, seeds, missed)
    if not missed and seeds < FEWEST_FOR_ORDER_STATISTICS:
        logarithms = np.log(_spread(reference)), np.log(_spread(other))
        welch = stats.ttest_ind(*logarithms, equal_var=False).confidence_interval(CONFIDENCE)
        low, high = math.exp(welch.low), math.exp(welch.high)
    else:
        low = value * math.exp(-math.hypot(_width(a.value, a.low), _width(b.high, b.value)))
        high = value * math.exp(math.hypot(_width(a.high, a.value), _width(b.value, b.low)))
    (after, by), (other_after, other_by) = _open(reference), _open(other)
    low, high = min(low, after / other_by), max(high, _ratio(by, other_after))
    return Estimate(value, min(low, value), max(high, value), seeds, missed)


def paired_factor(reference: Sequence[Crossing], other: Sequence[Crossing]) -> Estimate:
    """As `factor`, from the ratios of runs with the same seed: where seeds mean the same to both.

    Args:
      reference: crossings of the one.
      other: crossings of the other; seeds that only one has are left out.

    Raises:
      ValueError: they have no seed in common.
    """
    ours, theirs = _by_seed(reference), _by_seed(other)
    common = sorted(set(ours) & set(theirs))
    if not common:
        raise ValueError("the two have no seed in common")
    ratios = [_ratio(ours[seed], theirs[seed]) for seed in common]
    missed = sum(not math.isfinite(ours[s]) or not math.isfinite(theirs[s]) for s in common)
    value = float(np.median(ratios))
    if len(common) < FEWEST_SEEDS or missed or not value > 0:
        return Estimate(value, None, None, len(common), missed)
    low, high = map(float, np.exp(_interval(np.log(ratios))))
    of_seed = [{one.seed: one for one in each} for each in (reference, other)]
    pairs = [(of_seed[0][seed], of_seed[1][seed]) for seed in common]
    least = float(np.median([a.after / b.by for a, b in pairs]))
    most = float(np.median([_ratio(a.by, b.after) for a, b in pairs]))
    return Estimate(value, min(low, least, value), max(high, most, value), len(common))


def relative_spread(crossings: Sequence[Crossing]) -> float | None:
    """The standard deviation of one run's logarithm: 0.1 where runs differ by a tenth.

    None where fewer than two got there. Runs that share a gap count as spread evenly over it.
    """
    times = [time for time in _spread(crossings) if math.isfinite(time)]
    return float(np.log(times).std(ddof=1)) if len(times) > 1 else None


def gap_error(crossings: Sequence[Crossing]) -> float:
    """What evaluations that far apart leave open of the median, either way, whatever the seeds.

    As `Estimate.relative_error`; infinite where the median's gap begins at 0 or has no end.
    """
    earliest, latest = _open(crossings)
    bounded = earliest > 0 and math.isfinite(latest)
    return math.sqrt(latest / earliest) - 1 if bounded else math.inf


def seeds_needed(spread: float, precision: float) -> int:
    """How many seeds make the interval of a median `precision` wide either way.

    Args:
      spread: of one run, as `relative_spread` has it.
      precision: wanted, such as 0.1.

    Raises:
      ValueError: a number is not above 0.
    """
    if not (spread > 0 and precision > 0):
        raise ValueError(f"spread {spread} and precision {precision}: give numbers above 0")
    wanted = math.log1p(precision)
    for count in range(FEWEST_SEEDS, 10_000):
        if stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * spread / math.sqrt(count) <= wanted:
            return count
    return 10_000


def _spread(crossings):
    """A time for each run: those of one gap evenly over it, infinite for those that missed."""
    times = np.full(len(crossings), math.inf)
    gaps = {}
    for number, one in enumerate(crossings):
        if one.reached:
            gaps.setdefault((one.after, one.by), []).append(number)
    for (after, by), numbers in gaps.items():
        places = (np.arange(len(numbers)) + 0.5) / len(numbers)
        times[numbers] = after + (by - after) * places
    return times


def _open(crossings):
    """The least and the most that the median may be by the gaps alone."""
    after, by = ([getattr(one, end) for one in crossings] for end in ("after", "by"))
    missed = sum(math.isinf(end) for end in by)
    return float(np.median(after)), float(np.median(by)) if missed * 2 < len(by) else math.inf


def _interval(logarithms):
    """The interval of the median of numbers, on their own scale."""
    sorted_numbers, count = np.sort(logarithms), len(logarithms)
    if count < FEWEST_FOR_ORDER_STATISTICS:
        half = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * stats.sem(sorted_numbers)
        return sorted_numbers.mean() - half, sorted_numbers.mean() + half
    ranks = np.arange(1, count // 2 + 1)
    coverage = 1 - 2 * stats.binom.cdf(ranks - 1, count, 0.5)
    rank = int(ranks[coverage >= CONFIDENCE][-1])
    outer, inner = coverage[rank - 1], coverage[rank] if rank < len(coverage) else 0.0
    part = (outer - CONFIDENCE) / (outer - inner)
    weight = (count - rank) * part / (rank + (count - 2 * rank) * part)
    low = (1 - weight) * sorted_numbers[rank - 1] + weight * sorted_numbers[rank]
    high = math.inf  # Of an infinite number and a finite one.
    if math.isfinite(sorted_numbers[-rank]):
        high = (1 - weight) * sorted_numbers[-rank] + weight * sorted_numbers[-rank - 1]
    return low, high


def _most_misses(missed, count):
    """Upper end of Clopper and Pearson's 95 % interval of the probability of a miss."""
    if missed == count:
        return 1.0
    return stats.beta.ppf((1 + CONFIDENCE) / 2, missed + 1, count - missed)


def _by_seed(crossings):
    times = _spread(crossings)
    return {one.seed: float(time) for one, time in zip(crossings, times, strict=True)}


def _ratio(a, b):
    if math.isinf(a) and math.isinf(b):
        return math.nan
    if math.isinf(b):
        return 0.0
    return a / b if b else math.inf


def _width(larger, smaller):
    """The distance of two numbers on a logarithmic scale."""
    if larger == smaller:
        return 0.0
    return math.inf if math.isinf(larger) or smaller == 0 else math.log(larger / smaller)
