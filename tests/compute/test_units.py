import pytest

from jaxeff.compute import IMAGENET_EPOCH_IMAGES, TERAFLOP_S_DAY, paper_flops, teraflop_s_days


def test_a_teraflop_s_day_is_1e12_operations_a_second_for_a_day():
    assert TERAFLOP_S_DAY == 1e12 * 24 * 60 * 60
    assert teraflop_s_days(8.64e16) == 1
    assert teraflop_s_days(4.32e15) == pytest.approx(0.05)


def test_the_papers_alexnet_costs_3_1_teraflop_s_days():
    # Table 3: 90 epochs of 0.77e9 operations an image, printed as 266.1 (in units of 1e15).
    flops = paper_flops(0.77e9, 90 * IMAGENET_EPOCH_IMAGES)
    assert flops / 1e15 == pytest.approx(266.1, abs=0.05)
    assert teraflop_s_days(flops) == pytest.approx(3.08, abs=0.005)
