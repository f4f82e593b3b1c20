import pytest

from jaxeff.report import levels
from tests.records.example import GROWING, run

SLOW = [(10.0, 0.2), (20.0, 0.5), (40.0, 0.7)]
FAST = [(5.0, 0.4), (10.0, 0.6), (20.0, 0.8)]
CROSSING = [(8.0, 0.1), (12.0, 0.9)]


def test_whole_and_interpolated_crossings_by_hand():
    assert levels.crossing(SLOW, 0.5) == levels.interpolated_crossing(SLOW, 0.5) == 20
    assert levels.crossing(SLOW, 0.6) == 40
    assert levels.interpolated_crossing(SLOW, 0.6) == pytest.approx(30)
    assert levels.crossing(SLOW, 0.71) is None is levels.interpolated_crossing(SLOW, 0.71)
    assert levels.interpolated_crossing(SLOW, 0.1) == 10  # Nothing was measured before.


def test_a_curve_that_falls_again_crosses_where_it_first_does():
    assert levels.crossing([(1, 0.6), (2, 0.4), (3, 0.7)], 0.5) == 1


def test_factors_by_level():
    low, high, beyond = levels.sensitivity(SLOW, FAST, [0.4, 0.6, 0.75])
    assert (low.factor, high.factor) == (20 / 5, 40 / 10)
    assert low.interpolated_factor == pytest.approx((10 + 10 * 2 / 3) / 5)
    assert beyond.factor is None
    assert beyond.second == 20


def test_dominance_needs_every_level():
    assert levels.dominates(FAST, SLOW)
    assert not levels.dominates(SLOW, FAST)
    assert not levels.dominates(CROSSING, FAST)
    assert not levels.dominates(FAST, CROSSING)
    assert levels.dominance({"slow": SLOW, "fast": FAST, "same": list(FAST)}) == {
        "slow": [],
        "fast": ["slow"],
        "same": ["slow"],
    }


def test_both_conventions_of_a_record():
    record = run(top1=(0.4, 0.6), macs=95)
    assert levels.curve(record, "top1") == [(60_000, 0.4), (120_000, 0.6)]
    assert levels.curve(record, "top1", "paper") == [(3 * 95 * 100, 0.4), (3 * 95 * 200, 0.6)]


def test_a_curve_over_a_change_of_batch_and_image_size_by_hand():
    record = run(top1=(0.4, 0.6), segments=GROWING)
    # 10 steps of 6000 FLOPs, then 10 of 18 000; 100 images of 95 MACs, then 200 of 150.
    assert levels.curve(record, "top1") == [(60_000, 0.4), (240_000, 0.6)]
    paper = [(3 * 95 * 100, 0.4), (3 * (95 * 100 + 150 * 200), 0.6)]
    assert levels.curve(record, "top1", "paper") == paper
    (level,) = levels.sensitivity(levels.curve(record, "top1"), [(30_000, 0.5)], [0.5])
    assert level.factor == 8
    # Half-way between the evaluations' accuracies is half-way between their compute.
    assert level.interpolated_factor == 5


def test_the_grid_is_round_and_ends_at_the_best():
    assert levels.grid([SLOW, FAST]) == pytest.approx([i / 10 for i in range(1, 9)])
    assert levels.grid([[(1.0, 0.05)]]) == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])
    assert levels.grid([]) == []
