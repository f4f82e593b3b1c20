import datetime
import math

import pytest

from jaxeff.errors import UsageError
from jaxeff.report import tables, trends
from jaxeff.report.model_costs import model_costs
from jaxeff.report.trends import Point


@pytest.fixture(scope="module")
def points():
    return tables.alexnet_points("printed", model_costs())


def _point(year, compute, epochs=None):
    return Point(str(year), datetime.date(year, 1, 1), compute, epochs)


def test_the_frontier_of_the_paper(points):
    assert [point.model for point in trends.frontier(points)] == [
        "AlexNet",
        "GoogLeNet",
        "MobileNet_v1",
        "ShuffleNet_v1_1x",
        "ShuffleNet_v2_1x",
        "EfficientNet-b0",
    ]


def test_six_points_give_15_85_months_and_the_ends_15_3(points):
    best = trends.frontier(points)
    assert trends.doubling_months(best) == pytest.approx(15.85, abs=0.005)
    assert trends.end_to_end_months(best) == pytest.approx(15.32, abs=0.005)


def test_a_halving_a_year_is_12_months_whatever_the_method():
    exact = [_point(2010 + i, 2.0**-i, 5) for i in range(6)]
    for doubling in trends.doublings(exact):
        assert doubling.months == pytest.approx(12, rel=1e-3)  # Leap years.
    low, high = trends.bootstrap_interval(exact)
    assert low == pytest.approx(12, rel=1e-2)
    assert high == pytest.approx(12, rel=1e-2)
    assert all(months == pytest.approx(12, rel=1e-2) for _, months in trends.leave_one_out(exact))


def test_compute_that_rises_or_stays_has_no_doubling_time():
    assert trends.doubling_months([_point(2010, 1.0), _point(2012, 1.0)]) == math.inf
    assert trends.doubling_months([_point(2010, 1.0), _point(2012, 4.0)]) < 0
    with pytest.raises(UsageError, match="two dates"):
        trends.doubling_months([_point(2010, 1.0), _point(2010, 2.0)])
    assert trends.doublings([_point(2010, 1.0), _point(2012, 4.0)]) == []


def test_a_model_of_the_same_day_is_beaten_by_the_cheaper_one():
    best = trends.frontier([_point(2010, 2.0), _point(2010, 1.0), _point(2011, 1.0)])
    assert [point.compute for point in best] == [1.0]


def test_the_interval_holds_the_estimate_and_is_the_same_each_time(points):
    best = trends.frontier(points)
    low, high = trends.bootstrap_interval(best)
    assert low < trends.doubling_months(best) < high
    assert trends.bootstrap_interval(best) == (low, high)
    assert trends.bootstrap_interval(best[:3]) == (None, None)


def test_whole_epochs_leave_open_what_the_rounding_interval_says():
    # 90 epochs may be 89 and a bit, 4 may be 3 and a bit: the factor is between 89/4 and 90/3.
    ends = [_point(2012, 90.0, 90), _point(2019, 4.0, 4)]
    low, high = trends.rounding_interval(ends)
    span = trends.months_between(ends[0].published, ends[1].published)
    assert (low, high) == (span / math.log2(90 / 3), span / math.log2(89 / 4))
    assert low < trends.end_to_end_months(ends) < high
    # Of one epoch nothing may be left; and what 1.5 epochs take may be less than what 1 takes.
    assert trends.rounding_interval([_point(2012, 90.0, 90), _point(2019, 1.0, 1)])[0] == 0
    assert trends.rounding_interval([_point(2012, 1.5, 1.5), _point(2019, 1.0, 1)])[1] == math.inf


def test_an_interval_contains_its_estimate_where_the_draws_do_not():
    # All but the last fall by the same line; half of the draws leave out what bends it.
    points = [_point(2010 + i, 2.0**-i) for i in range(4)] + [_point(2030, 2.0**-40)]
    low, high = trends.bootstrap_interval(points)
    assert low <= trends.doubling_months(points) <= high


def test_the_next_doubling_comes_a_doubling_time_after_the_last(points):
    best = trends.frontier(points)
    following = trends.next_doubling(points)
    assert following.compute == best[-1].compute / 2
    assert following.epochs_at_same_macs == 2
    assert trends.months_between(best[-1].published, following.expected) == pytest.approx(
        trends.doubling_months(best), abs=0.05
    )


def test_moores_law_gives_11_over_seven_years():
    factor = trends.moore_factor(datetime.date(2012, 5, 28), datetime.date(2019, 5, 28))
    assert factor == pytest.approx(2**3.5, rel=1e-3)
