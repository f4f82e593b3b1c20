"""How often the 95 % intervals contain the truth, where the truth is known.

`pytest -m slow tests/measure -s` prints the table of docs/measuring.md.
"""

import math

import numpy as np
import pytest

from jaxeff.measure import Crossing, compute_to_level, factor

SEEDS = (3, 5, 10, 20)


def simulated(rng, count, median, spread, every, skewed=False):
    """Crossings of `count` seeds whose true median is `median`, seen `every` so often."""
    # A long tail to one side has its median at 0 and a deviation of 1.
    noise = rng.exponential(size=count) - math.log(2) if skewed else rng.standard_normal(count)
    times = median * np.exp(spread * noise)
    by = np.ceil(times / every) * every
    return [Crossing(b - every, b, b, seed) for seed, b in enumerate(by)]


def coverage(count, every, runs, *, skewed=False, spread=0.1, of_factor=False):
    """The fraction of `runs` simulations whose interval contains the truth."""
    rng = np.random.default_rng(count)
    hits = 0
    for _ in range(runs):
        median = 10 * rng.uniform(0.95, 1.05)
        found = simulated(rng, count, median, spread, every, skewed)
        if of_factor:
            other = simulated(rng, count, median / 2, spread, every / 2, skewed)
            estimate, truth = factor(found, other), 2.0
        else:
            estimate, truth = compute_to_level(found), median
        hits += estimate.low <= truth <= estimate.high
        assert estimate.low <= estimate.value <= estimate.high
    return hits / runs


@pytest.mark.parametrize("count", SEEDS)
def test_the_interval_contains_the_truth_as_often_as_it_says(count):
    assert 0.92 < coverage(count, every=0.25, runs=500) < 0.98


@pytest.mark.parametrize("count", [3, 7, 10, 20])
@pytest.mark.parametrize("spread", [0.02, 0.03, 0.06])
def test_seeds_that_differ_by_less_than_a_gap_are_covered_wherever_they_cross_in_it(count, spread):
    rng = np.random.default_rng(count)
    for median in (4.1, 4.2, 4.5, 4.9):
        for of_factor in (False, True):
            hits = 0
            for _ in range(100):
                found = simulated(rng, count, median, spread, 1)
                other = simulated(rng, count, 2 * median, spread, 1)
                estimate = factor(other, found) if of_factor else compute_to_level(found)
                hits += estimate.low <= (2 if of_factor else median) <= estimate.high
            assert hits >= 90


@pytest.mark.slow
@pytest.mark.parametrize("of_factor", [False, True])
@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("every", [1, 0.25])
def test_the_table_of_coverage(every, skewed, of_factor):
    rows = {n: coverage(n, every, 3000, skewed=skewed, of_factor=of_factor) for n in SEEDS}
    print(f"\nevery {every} of 10 epochs, skewed {skewed}, factor {of_factor}:", rows)
    for covered in rows.values():
        # Gaps as wide as the spread are covered more often than promised, never less.
        assert 0.93 <= covered <= (0.98 if every < 1 else 1)
