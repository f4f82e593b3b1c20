import functools

import jax
import pytest

from jaxeff import compute, data, tasks, train
from jaxeff.train import steps
from jaxeff.train.accounting import TrainingCost, training_cost
from tests.train.tiny_run import TinyNet


@pytest.fixture(scope="module")
def task():
    return tasks.ImageClassification(data.load("synthetic"), image_size=16)


@pytest.fixture(scope="module")
def cost_of(task):
    def cost(batch_size):
        return training_cost(TinyNet(10), recipe_of(batch_size), task)

    return functools.cache(cost)


def recipe_of(batch_size):
    return train.resolve("small", "tiny", train_examples=640, batch_size=batch_size)


def test_forward_macs_are_the_hand_worked_ones(cost_of):
    # 5x5/2 to 8x8x16, 3x3/2 to 4x4x32, dense 32 to 10.
    expected = 8 * 8 * 16 * 5 * 5 * 3 + 4 * 4 * 32 * 3 * 3 * 16 + 32 * 10
    assert cost_of(8).macs_forward_per_example == expected


def test_the_charge_is_proportional_to_the_steps(cost_of):
    cost = cost_of(8)
    charge = cost.charge(7)
    assert charge.train_flops == 7 * cost.flops_per_step
    assert charge.teraflop_s_days == charge.train_flops / 8.64e16
    assert charge.paper_flops == 3 * cost.macs_forward_per_example * 7 * 8
    assert charge.segments[0].changes == {"image_size": 16}


def test_the_charge_of_a_run_whose_cost_changes_is_the_sum_over_its_segments(cost_of):
    small, large = cost_of(8).schedule.segments[0], cost_of(16).schedule.segments[0]
    later = compute.Segment(
        5, large.flops_per_step, large.macs_forward_per_example, large.batch_size
    )
    charge = TrainingCost(1, compute.CostSchedule((small, later))).charge(7)
    assert charge.train_flops == 5 * small.flops_per_step + 2 * large.flops_per_step
    assert charge.paper_flops == 3 * small.macs_forward_per_example * (5 * 8 + 2 * 16)


def test_the_update_is_counted_once_a_step(cost_of):
    """Twice the batch costs twice as much, but for the optimizer: six operations a parameter."""
    small, large = cost_of(8), cost_of(16)
    fixed = 2 * small.flops_per_step - large.flops_per_step
    assert 6 * small.params <= fixed <= 6 * small.params + 1000


def test_the_count_is_jaxs_own_of_the_step_lowered_for_tpu(cost_of, task):
    tx = recipe_of(8).optimizer
    step = steps.make_train_step(TinyNet(10), tx, task)
    state = jax.eval_shape(lambda: steps.initial_state(TinyNet(10), tx, task, 0))
    lowered = jax.jit(step).trace(state, task.batch_shapes(8)).lower(lowering_platforms=("tpu",))
    assert cost_of(8).flops_per_step == lowered.cost_analysis()["flops"]
