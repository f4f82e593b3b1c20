import functools

import jax
import jax.numpy as jnp
import pytest

from jaxeff import train
from jaxeff.train import steps
from jaxeff.train.accounting import training_cost
from jaxeff.train.optimizer import sgd
from tests.train.tiny_run import TinyNet


@pytest.fixture(scope="module")
def cost_of():
    recipe = train.resolve("small", "tiny")
    return functools.partial(
        training_cost,
        TinyNet(10),
        sgd(lambda _: 0.1, recipe.momentum, recipe.weight_decay),
        image_size=16,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
    )


def test_forward_macs_are_the_hand_worked_ones(cost_of):
    # 5x5/2 to 8x8x16, 3x3/2 to 4x4x32, dense 32 to 10.
    expected = 8 * 8 * 16 * 5 * 5 * 3 + 4 * 4 * 32 * 3 * 3 * 16 + 32 * 10
    assert cost_of(batch_size=8).macs_forward_per_image == expected


def test_the_charge_is_proportional_to_the_steps(cost_of):
    cost = cost_of(batch_size=8)
    charge = cost.charge(7)
    assert charge["train_flops"] == 7 * cost.flops_per_step
    assert charge["teraflop_s_days"] == charge["train_flops"] / 8.64e16
    assert charge["paper_flops"] == 3 * cost.macs_forward_per_image * 7 * 8
    assert charge["flops_per_image"] == cost.flops_per_step / 8


def test_the_update_is_counted_once_a_step(cost_of):
    """Twice the batch costs twice as much, but for the optimizer: six operations a parameter."""
    small, large = cost_of(batch_size=8), cost_of(batch_size=16)
    fixed = 2 * small.flops_per_step - large.flops_per_step
    assert 6 * small.params <= fixed <= 6 * small.params + 1000


def test_the_count_is_jaxs_own_of_the_step_lowered_for_tpu(cost_of):
    optimizer = sgd(lambda _: 0.1, 0.9, 5e-4)
    step = steps.make_train_step(
        TinyNet(10),
        optimizer,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        label_smoothing=0.0,
        seed=0,
        axis_name=None,
    )
    state = jax.eval_shape(lambda: steps.initial_state(TinyNet(10), optimizer, 16, 0))
    batch = {
        "image": jax.ShapeDtypeStruct((8, 16, 16, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((8,), jnp.int32),
    }
    lowered = jax.jit(step).trace(state, batch).lower(lowering_platforms=("tpu",))
    assert cost_of(batch_size=8).flops_per_step == lowered.cost_analysis()["flops"]
