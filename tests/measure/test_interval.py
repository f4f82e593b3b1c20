import math

import numpy as np
import pytest
from scipy import stats

from jaxeff.measure import (
    Crossing,
    compute_to_level,
    factor,
    gap_error,
    paired_factor,
    relative_spread,
    seeds_needed,
)


def at(*times, after=None):
    """Crossings known to within a millionth; None never crossed, within 100."""
    return [
        Crossing(100.0, math.inf, math.inf, seed)
        if time is None
        else Crossing(time * (1 - 1e-6) if after is None else after, time, time, seed)
        for seed, time in enumerate(times)
    ]


def test_the_estimate_is_the_median():
    assert compute_to_level(at(1, 2, 9)).value == pytest.approx(2, rel=1e-5)
    assert compute_to_level(at(1, 3)).value == pytest.approx(2, rel=1e-5)


def test_few_seeds_have_students_interval_on_a_logarithmic_scale():
    found = compute_to_level(at(1, 2, 4))
    ends = stats.t.interval(0.95, 2, math.log(2), stats.sem(np.log([1, 2, 4])))
    assert (found.low, found.high) == pytest.approx(tuple(np.exp(ends)), rel=1e-5)


def test_many_seeds_have_the_interval_between_order_statistics():
    # Hettmansperger and Sheather (1986): for 8, ranks 1 and 8 cover 0.9922, 2 and 7 cover 0.9297.
    part = (0.9921875 - 0.95) / (0.9921875 - 0.9296875)
    weight = 7 * part / (1 + 6 * part)
    found = compute_to_level(at(*np.exp(np.arange(8.0))))
    assert math.log(found.low) == pytest.approx(weight, abs=1e-5)
    assert math.log(found.high) == pytest.approx(7 - weight, abs=1e-5)


def test_one_or_two_seeds_have_none():
    for times in ((3,), (3, 4)):
        found = compute_to_level(at(*times))
        assert (found.low, found.high, found.seeds) == (None, None, len(times))


def test_seeds_that_cross_at_one_evaluation_still_have_an_interval():
    found = compute_to_level(at(10, 10, 10, after=9))
    assert found.value == pytest.approx(9.5)
    assert 8.5 < found.low < 9.3
    assert 9.7 < found.high < 10.7


def test_a_run_that_never_gets_there_counts_as_infinite():
    found = compute_to_level(at(10, 11, 12, 13, None))
    assert found.missed == 1
    assert found.value == pytest.approx(12, rel=1e-5)
    assert found.high == math.inf  # Two of five might as well have been three.
    assert found.low < 12
    many = compute_to_level(at(*range(10, 29), None))
    assert many.missed == 1
    assert math.isfinite(many.high)


def test_where_most_never_get_there_the_median_is_infinite():
    found = compute_to_level(at(10, None, None))
    assert (found.value, found.high) == (math.inf, math.inf)
    assert found.low < 100
    none = compute_to_level(at(None, None, None))
    assert (none.value, none.missed, none.low) == (math.inf, 3, pytest.approx(100))


def test_a_factor_is_a_ratio_of_medians_with_both_errors():
    a, b = at(8, 10, 12.5), at(1.6, 2, 2.5)
    found = factor(a, b)
    assert found.value == pytest.approx(5, rel=1e-5)
    # Welch: equal deviations, four degrees of freedom.
    error = stats.sem(np.log([8, 10, 12.5]))
    half = stats.t.ppf(0.975, 4) * math.hypot(error, error)
    assert math.log(found.high / 5) == pytest.approx(half, rel=1e-3)
    back = factor(b, a)
    assert back.value * found.value == pytest.approx(1)
    assert back.low * found.high == pytest.approx(1)


def test_a_factor_of_many_seeds_adds_both_widths():
    a = at(*np.exp(np.arange(8.0)))
    one, found = compute_to_level(a), factor(a, a)
    width = math.hypot(math.log(one.high / one.value), math.log(one.value / one.low))
    assert math.log(found.high) == pytest.approx(width)


def test_a_factor_to_what_never_gets_there():
    assert factor(at(None, None, None), at(1, 2, 3)).value == math.inf
    assert factor(at(1, 2, 3), at(None, None, None)).value == 0
    assert math.isnan(factor(at(None, None), at(None, None)).value)


def test_an_infinite_factor_is_bounded_by_what_the_runs_spent():
    never, thrice = at(None, None, None), at(10, 10, 10)
    # 100 was spent in vain, and three crossings within a millionth of 10 say 10.
    found = factor(never, thrice)
    assert (found.value, found.high, found.missed) == (math.inf, math.inf, 3)
    assert found.low == pytest.approx(10, rel=1e-3)
    back = factor(thrice, never)
    assert (back.value, back.low) == (0, 0)
    assert back.high == pytest.approx(0.1, rel=1e-3)
    # One of three got there: half of all may, and nothing bounds the other side either.
    assert factor(never, at(10, 10, None)).low == 0


def test_pairs_of_one_seed_leave_out_what_both_share():
    """The seeds differ tenfold, and the ratio never by more than a hundredth."""
    a, b = at(10, 100, 1000, 50), at(5, 50.2, 498, 25.1)
    paired, unpaired = paired_factor(a, b), factor(a, b)
    assert paired.value == pytest.approx(2, rel=0.01)
    assert paired.high / paired.low < 1.03
    assert unpaired.high / unpaired.low > 100


def test_pairs_need_a_seed_in_common():
    with pytest.raises(ValueError, match="no seed in common"):
        paired_factor([Crossing(1, 2, 2, 0)], [Crossing(1, 2, 2, 1)])
    with pytest.raises(ValueError, match="there is no run"):
        compute_to_level([])


def test_the_seeds_that_a_precision_needs():
    spread = relative_spread(at(*np.exp(0.1 * np.array([-1, 0, 1]))))
    assert spread == pytest.approx(0.1, rel=1e-3)
    count = seeds_needed(0.1, 0.1)
    assert 2.57 * 0.1 / math.sqrt(6) > math.log(1.1) > 2.45 * 0.1 / math.sqrt(7)
    assert count == 7
    assert seeds_needed(0.01, 0.5) == 3
    with pytest.raises(ValueError, match="above 0"):
        seeds_needed(0.0, 0.1)


def in_gap(after, by, count):
    return [Crossing(after, by, by, seed) for seed in range(count)]


@pytest.mark.parametrize("count", [3, 5, 7, 8, 20, 100])
def test_no_number_of_seeds_tells_where_in_a_gap_they_cross(count):
    alike, earlier = in_gap(5.0, 6.0, count), in_gap(2.0, 3.0, count)
    found, ratio = compute_to_level(alike), factor(alike, earlier)
    assert found.low <= 5 < found.value < 6 <= found.high
    assert ratio.low <= 5 / 3 < ratio.value < 6 / 2 <= ratio.high
    pairs = paired_factor(earlier, earlier)
    assert pairs.low <= 2 / 3 < pairs.value == 1 < 3 / 2 <= pairs.high
    assert gap_error(alike) == pytest.approx(math.sqrt(6 / 5) - 1)
    assert found.relative_error >= gap_error(alike)


def test_a_gap_that_begins_at_nothing_is_open_below():
    first = in_gap(0.0, 1.0, 5)
    assert compute_to_level(first).low == 0
    assert factor(in_gap(2.0, 3.0, 5), first).high == math.inf
    assert gap_error(first) == math.inf == gap_error(at(None, None, None))


def test_a_miss_bounds_nothing_above_wherever_it_ended():
    reached = [Crossing(t - 1e-3, t, t, seed) for seed, t in enumerate(range(10, 25))]

    def with_misses(ended):
        return reached + [Crossing(ended, math.inf, math.inf, 15 + i) for i in range(5)]

    early, late = (compute_to_level(with_misses(ended)) for ended in (1.0, 30.0))
    assert early.high == late.high > 20 > early.value == late.value
    assert early.low < late.low
