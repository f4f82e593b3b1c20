"""Spearman's coefficient against SciPy's, and its interval on orders that are known."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxeff.measure import Crossing, rank_agreement


def _runs(median, spread=0.0, seeds=5, seed=0):
    times = median * np.exp(spread * np.random.default_rng(seed).standard_normal(seeds))
    return [Crossing(0.9 * t, 1.1 * t, 1.1 * t, i) for i, t in enumerate(times)]


def test_it_is_spearmans_coefficient_of_the_medians():
    random = np.random.default_rng(1)
    ours, theirs = random.permutation(16) + 1.0, random.permutation(16) + 1.0
    names = [f"n{i}" for i in range(16)]
    measured = {name: _runs(value) for name, value in zip(names, ours, strict=True)}
    published = dict(zip(names, theirs, strict=True)) | {"unmeasured": 3.0}
    found = rank_agreement(measured, published)
    assert found.coefficient == pytest.approx(stats.spearmanr(ours, theirs).statistic)
    assert found.networks == 16
    assert found.low <= found.coefficient <= found.high


def test_the_interval_follows_the_spread_of_the_seeds():
    published = {f"n{i}": 2.0**i for i in range(8)}
    sure = rank_agreement({n: _runs(v, 0.01) for n, v in published.items()}, published)
    assert (sure.coefficient, sure.low, sure.high) == (1.0, 1.0, 1.0)
    unsure = rank_agreement(
        {n: _runs(v, 2.0, seed=i) for i, (n, v) in enumerate(published.items())}, published
    )
    assert unsure.high - unsure.low > 0.1
    few = rank_agreement({n: _runs(v, seeds=2) for n, v in published.items()}, published)
    assert (few.coefficient, few.low, few.high) == (1.0, None, None)


def test_a_network_that_never_arrives_is_last():
    never = [Crossing(5.0, math.inf, math.inf, i) for i in range(3)]
    measured = {"a": _runs(1, seeds=3), "b": _runs(2, seeds=3), "c": never}
    assert rank_agreement(measured, {"a": 1, "b": 2, "c": 3}).coefficient == 1
    assert rank_agreement(measured, {"a": 3, "b": 2, "c": 1}).coefficient == -1
    with pytest.raises(ValueError, match="2 networks"):
        rank_agreement(measured, {"a": 1, "b": 2})


def test_where_a_draw_may_have_no_order_there_is_no_interval():
    missed = Crossing(9.0, math.inf, math.inf, 2)
    runs = {name: [*_runs(median)[:2], missed] for name, median in (("a", 1), ("b", 2), ("c", 3))}
    found = rank_agreement(runs, {"a": 1, "b": 2, "c": 3})
    assert (found.coefficient, found.low, found.high) == (1, None, None)
