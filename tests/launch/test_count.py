import csv
import functools
import io
import json

import pytest

from tests.launch.commands import assert_one_line_and_exit_2, run_quickly

_count = functools.partial(run_quickly, "count")


def test_json_holds_both_counts_beside_the_papers_number():
    finished = _count("--models=shufflenet_v2", "--format=json")
    assert finished.returncode == 0, finished.stderr
    (row,) = json.loads(finished.stdout)["models"]
    assert row["params"] == 2_278_604
    assert row["macs_forward_per_image"] == 144_907_992
    assert row["paper_macs_forward_per_image"] == 0.14e9
    assert row["xla_over_6_macs"] == pytest.approx(
        row["xla_train_flops_per_image"] / 6 / 144_907_992
    )
    assert 1.0 < row["xla_over_6_macs"] < 1.1
    assert row["compute_exact_macs"] == 3 * 144_907_992 * 20 * 1.28e6


@pytest.mark.slow
def test_csv_has_a_line_for_each_model():
    finished = _count("--models=shufflenet_v2_x0_5,alexnet", "--image_size=64", "--format=csv")
    rows = list(csv.DictReader(io.StringIO(finished.stdout)))
    assert [row["model"] for row in rows] == ["shufflenet_v2_x0_5", "alexnet"]
    assert rows[1]["paper_compute"] == ""


def test_breakdown_lists_the_layers_and_explains_the_difference():
    finished = _count(
        "--models=shufflenet_v2_x0_5", "--image_size=64", "--breakdown", "--batch_size=8"
    )
    assert finished.returncode == 0, finished.stderr
    assert "ShuffleNetV2/stage2.0/branch1.0" in finished.stdout
    assert "2 × multiply-accumulates" in finished.stdout
    assert "unexplained" in finished.stdout


def test_unknown_models_are_one_line_and_exit_2():
    assert_one_line_and_exit_2(
        run_quickly("count", "--models=alexnet,resnt50"), "unknown model 'resnt50'"
    )
    assert_one_line_and_exit_2(run_quickly("count", "--models="), "--models is empty")


NNX_STEP = """
import jax.numpy as jnp
import optax
from flax import nnx

def step(model, optimizer, x):
    grads = nnx.grad(lambda model: jnp.square(model(x)).mean())(model)
    optimizer.update(model, grads)

def step_arguments():
    model = nnx.Linear(32, 16, rngs=nnx.Rngs(0))
    return model, nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param), jnp.ones((8, 32))

def forward(x, scale):
    return scale * (x @ x)

def forward_arguments():
    return {"x": jnp.ones((4, 4)), "scale": 2.0}

def alone():
    pass
"""


def test_a_users_function_is_counted_with_the_arguments_that_its_file_makes(tmp_path):
    file = tmp_path / "mystep.py"
    file.write_text(NNX_STEP)
    finished = run_quickly("count", f"--fn={file}:step")
    assert finished.returncode == 0, finished.stderr
    # 8 x 32 x 16 forward, and once more for the gradient to the weights.
    assert "4,096" in finished.stdout
    assert "+16,384" in finished.stdout
    forward = run_quickly("count", f"--fn={file}:forward")
    assert "64" in forward.stdout.split(), forward.stderr


WHILE_STEP = """
import jax.numpy as jnp
from jax import lax

def step(x):
    return lax.while_loop(lambda c: c.sum() < 9, lambda c: c @ c, x)

def step_arguments():
    return (jnp.ones((4, 4)),)
"""


def test_a_users_file_says_how_often_its_while_loops_run(tmp_path):
    file = tmp_path / "mystep.py"
    file.write_text(WHILE_STEP + "step_trip_counts = {'while': 7}\n")
    finished = run_quickly("count", f"--fn={file}:step")
    assert "448" in finished.stdout.split(), finished.stderr
    file.write_text(WHILE_STEP + "step_trip_counts = {'none': 7}\n")
    assert_one_line_and_exit_2(run_quickly("count", f"--fn={file}:step"), "none", "while")
    file.write_text(WHILE_STEP + "step_trip_counts = 7\n")
    assert_one_line_and_exit_2(run_quickly("count", f"--fn={file}:step"), "no dict")
    for ignored in ("--models=alexnet", "--format=json", "--batch_size=8", "--breakdown"):
        refused = run_quickly("count", f"--fn={file}:step", ignored)
        assert_one_line_and_exit_2(refused, ignored.partition("=")[0], "beside --fn")


def test_a_users_file_without_what_it_needs_is_one_line(tmp_path):
    file = tmp_path / "mystep.py"
    file.write_text(NNX_STEP)
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    for place, words in (
        (f"{file}:alone", "alone_arguments()"),
        (f"{file}:missing", "missing_arguments()"),
        (f"{broken}:f", "ZeroDivisionError"),
        (f"{tmp_path / 'none.py'}:f", "there is no file"),
        ("mystep", "give FILE.py:FUNCTION"),
    ):
        assert_one_line_and_exit_2(run_quickly("count", f"--fn={place}"), words)
