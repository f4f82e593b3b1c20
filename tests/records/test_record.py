import pytest

from jaxeff import compute, records
from tests.records.example import run


@pytest.mark.parametrize(
    ("direction", "value", "met"),
    [
        ("max", 5500 / 10000, True),
        ("max", 5499 / 10000, False),
        ("min", 0.55, True),
        ("min", 0.6, False),
    ],
)
def test_a_level_is_met_at_its_value_and_beyond(direction, value, met):
    assert records.is_met(direction, value, 0.55) == met


def _point(step, value):
    return records.Point(step, step / 10, step, step, 1.0, 1.0, {"m": value})


@pytest.mark.parametrize(
    ("values", "direction", "epoch", "stays"),
    [
        ((0.1, 0.2), "max", None, None),
        ((0.1, 0.5, 0.6), "max", 2, 2),
        ((0.5, 0.4, 0.6), "max", 1, 3),
        ((0.6, 0.5, 0.4), "max", 1, None),
        ((0.9, 0.5, 0.6, 0.3), "min", 2, 4),
        ((), "max", None, None),
    ],
)
def test_a_crossing_is_the_first_evaluation_and_staying_is_from_the_last_miss_on(
    values, direction, epoch, stays
):
    curve = tuple(_point(10 * i, value) for i, value in enumerate(values, 1))
    found = records.crossing(curve, "m", 0.5, direction)
    assert (found.reached, found.epoch, found.stays_from_epoch) == (epoch is not None, epoch, stays)
    assert found.step == (epoch and 10 * epoch)


def test_a_change_of_cost_is_a_segment_and_comes_back_from_json():
    segments = (
        compute.Segment(0, 6000, 95, 10, {"image_size": 8}),
        compute.Segment(10, 9000, 150, 20, {"image_size": 10}),
    )
    schedule = compute.CostSchedule(segments)
    record = run(top1=(0.4, 0.6))
    fields = record.to_json()
    fields["compute"]["segments"] = [
        {
            "from_step": segment.from_step,
            "flops_per_step": segment.flops_per_step,
            "macs_forward_per_example": segment.macs_forward_per_example,
            "batch_size": segment.batch_size,
            "image_size": segment.changes["image_size"],
        }
        for segment in segments
    ]
    # 10 steps of each: 60 000 + 90 000 FLOPs, 100 + 200 examples, 3 x (95 x 100 + 150 x 200).
    fields["compute"] |= {
        "train_flops": 150_000,
        "teraflop_s_days": 150_000 / 8.64e16,
        "paper_flops": 118_500,
        "paper_teraflop_s_days": 118_500 / 8.64e16,
    }
    fields["curve"][1] |= {"examples": 300, "epoch": 3.0, "train_flops": 150_000}
    fields["target"] |= {"epoch": 3.0, "stays_from_epoch": 3.0}
    fields["recipe"] |= {"epochs": 3.0, "phases": [{"from_epoch": 1.0, "batch_size": 20}]}
    fields["timing"]["examples_per_second"] = 300 / fields["timing"]["train_seconds"]
    read = records.from_json(fields)
    assert read.compute.schedule == schedule
    assert read.to_json() == fields
