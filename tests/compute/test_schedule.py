import pytest

from jaxeff.compute import CostSchedule, Segment

SMALL = Segment(0, flops_per_step=100, macs_forward_per_example=7, batch_size=4)
LARGE = Segment(10, flops_per_step=300, macs_forward_per_example=20, batch_size=8)


def test_totals_are_sums_over_the_segments():
    schedule = CostSchedule((SMALL, LARGE))
    assert [schedule.train_flops(step) for step in (0, 9, 10, 12)] == [0, 900, 1000, 1600]
    assert [schedule.examples(step) for step in (0, 9, 10, 12)] == [0, 36, 40, 56]
    assert schedule.paper_flops(12) == 3 * (7 * 40 + 20 * 16)


def test_the_step_of_a_charge_is_found_in_any_segment():
    schedule = CostSchedule((SMALL, LARGE))
    for step in (0, 3, 10, 11, 25):
        assert schedule.step_of(schedule.train_flops(step)) == step
    assert schedule.step_of(1150) == 10.5


def test_the_next_step_is_of_the_segment_that_begins_there():
    schedule = CostSchedule((SMALL, LARGE))
    assert [schedule.segment_at(step) for step in (0, 9, 10)] == [SMALL, SMALL, LARGE]


@pytest.mark.parametrize("segments", [(), (LARGE,), (SMALL, SMALL), (SMALL, LARGE, LARGE)])
def test_segments_begin_at_0_and_rise(segments):
    with pytest.raises(ValueError, match="rising steps from 0"):
        CostSchedule(segments)
