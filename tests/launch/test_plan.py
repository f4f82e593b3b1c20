import functools
import json

import pytest

from tests.launch.commands import assert_one_line_and_exit_2, run_command

_plan = functools.partial(run_command, "plan")


def test_a_plan_follows_from_count_peak_and_utilization():
    finished = _plan(
        "--models=shufflenet_v2_x0_5",
        "--image_size=32",
        "--batch_size=8",
        "--device=v3",
        "--devices=16",
        "--utilization=0.25",
        "--epochs=2",
        "--train_images=1000",
        "--validation_images=100",
        "--price_per_chip_hour=3",
        "--images_per_second_per_core=500",
        "--format=json",
    )
    assert finished.returncode == 0, finished.stderr
    plan = json.loads(finished.stdout)
    (row,) = plan["models"]
    counted = run_command(
        "count",
        "--models=shufflenet_v2_x0_5",
        "--image_size=32",
        "--batch_size=8",
        "--format=json",
    )
    (cost,) = json.loads(counted.stdout)["models"]
    training = cost["xla_train_flops_per_image"] * 2000
    evaluation = 2 * cost["macs_forward_per_image"] * 200
    attained = 16 * 61.5e12 * 0.25
    assert row["train_flops"] == pytest.approx(training)
    assert row["hours"] == pytest.approx((training + evaluation) / attained / 3600)
    # Two devices of a TPU v3 are a chip, and chips are paid for.
    assert row["chip_hours"] == pytest.approx(8 * row["hours"])
    assert row["cost"] == pytest.approx(24 * row["hours"])
    assert row["input_images_per_second"] == pytest.approx(2000 * attained / training)
    assert row["input_cores"] == pytest.approx(row["input_images_per_second"] / 500)
    assert plan["total"]["cost"] == row["cost"]
    assert "TPU v3" in plan["assumptions"]["device_kind"]


def test_the_papers_epochs_are_the_default_and_assumptions_are_named():
    finished = _plan("--models=shufflenet_v2", "--image_size=32", "--batch_size=8")
    assert finished.returncode == 0, finished.stderr
    row = next(line for line in finished.stdout.splitlines() if "shufflenet_v2" in line)
    assert row.split()[1] == "20"
    assert "Assumed: utilization 0.3" in finished.stdout
    assert "cloud.google.com/tpu/docs/v5e" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device=v99"], ["v99", "did you mean"]),
        (["--utilization=1.5"], ["--utilization=1.5", "at most 1"]),
        (["--epochs=0"], ["--epochs=0"]),
        (["--models=resnet101"], ["resnet101", "--epochs"]),
        (["--device=t4", "--dtype=bfloat16"], ["bfloat16", "T4"]),
    ],
)
def test_what_cannot_be_planned_is_one_line(arguments, words):
    assert_one_line_and_exit_2(_plan(*arguments), *words)
