"""Forward, backward and update are told apart, against multiply-accumulates worked by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from jax import lax

from jaxeff.compute import step_cost
from tests.compute.programs import (
    CONV_0,
    CONV_1,
    DENSE,
    NET_IMAGES,
    Net,
    macs_by_phase,
    shape,
    training_step,
)


@pytest.fixture(scope="module")
def network_cost():
    step, args = training_step(Net(), NET_IMAGES, optax.sgd(0.1, momentum=0.9))
    return step_cost(step, *args)


def test_each_module_has_a_forward_pass_and_two_gradients(network_cost):
    macs = {
        (line.source, line.phase): line.cost.macs for line in network_cost.lines if line.cost.macs
    }
    assert macs == {
        ("Net/Conv_0", "forward"): CONV_0,
        ("Net/Conv_0", "gradient to weights"): CONV_0,
        ("Net/Conv_1", "forward"): CONV_1,
        ("Net/Conv_1", "gradient to inputs"): CONV_1,
        ("Net/Conv_1", "gradient to weights"): CONV_1,
        ("Net/Dense_0", "forward"): DENSE,
        ("Net/Dense_0", "gradient to inputs"): DENSE,
        ("Net/Dense_0", "gradient to weights"): DENSE,
    }


def test_the_first_convolutions_input_gradient_is_not_computed(network_cost):
    phases = {line.phase for line in network_cost.lines if line.source == "Net/Conv_0"}
    assert "gradient to inputs" not in phases


def test_the_update_is_two_products_and_two_sums_a_parameter(network_cost):
    parameters = 9 * 3 * 8 + 2 * 8 + 9 * 8 * 16 + 16 + 16 * 10 + 10
    assert network_cost.by_phase()["update"].flops == 4 * parameters


def test_an_attentions_products_of_activations_have_no_weight_gradient():
    class Attention(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.MultiHeadDotProductAttention(2)(nn.Dense(8)(x)))

    variables = jax.eval_shape(Attention().init, jax.random.key(0), shape(3, 5, 8))
    cost = step_cost(
        jax.grad(lambda v, x: Attention().apply(v, x).sum()), variables, shape(3, 5, 8)
    )
    products = 2 * 3 * 2 * 5 * 5 * 4
    dense = 3 * 5 * 8 * 8
    assert macs_by_phase(cost)["gradient to weights"] == 5 * dense + 3 * 5 * 8
    # The first layer has no input gradient, each product of activations has two.
    assert macs_by_phase(cost)["gradient to inputs"] == 4 * dense + 3 * 5 * 8 + 2 * products
    assert cost.unexplained == 0


def test_of_two_final_gradients_the_right_operands_is_to_weights():
    gradients = jax.grad(lambda x, w: jnp.tanh(x @ w).sum(), (0, 1))
    lines = step_cost(gradients, shape(5, 3), shape(3, 4)).lines
    products = [line for line in lines if line.cost.macs]
    assert {line.phase: line.times for line in products} == {
        "forward": 1,
        "gradient to inputs": 1,
        "gradient to weights": 1,
    }


def test_a_recurrent_networks_gradients_are_told_apart():
    def loss(w, x):
        return lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=10)[0].sum()

    assert macs_by_phase(step_cost(jax.grad(loss), shape(4, 4), shape(5, 4))) == {
        "forward": 800,
        "gradient to inputs": 800,
        "gradient to weights": 800,
    }


def test_rematerialisation_is_a_phase_of_its_own():
    def loss(w, x):
        return jnp.sin(jnp.sin(x @ w) @ w).sum()

    cost = step_cost(jax.value_and_grad(jax.checkpoint(loss)), shape(4, 4), shape(5, 4))
    assert macs_by_phase(cost) == {
        "forward": 160,
        "forward, rematerialised": 160,
        "gradient to inputs": 80,
        "gradient to weights": 160,
    }
    assert cost.unexplained == 0


def test_a_rematerialised_scan_of_modules():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.tanh(nn.Dense(8)(x)), None

    stack = nn.scan(
        nn.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=5
    )()
    variables = jax.eval_shape(stack.init, jax.random.key(0), shape(3, 8), None)
    step = jax.value_and_grad(lambda v, x: stack.apply(v, x, None)[0].sum())
    cost = step_cost(step, variables, shape(3, 8))
    assert macs_by_phase(cost) == {
        "forward": 5 * 192,
        "forward, rematerialised": 5 * 192,
        "gradient to inputs": 5 * 192,
        "gradient to weights": 5 * 192,
    }
    assert cost.unexplained == 0


def test_a_cotangent_that_is_an_argument_begins_a_backward_pass():
    def conv(w, x):
        return lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    w, x, g = shape(3, 3, 4, 8), shape(2, 14, 14, 4), shape(2, 14, 14, 8)
    cost = step_cost(lambda w, x, g: jax.vjp(conv, w, x)[1](g), w, x, g)
    forward = 2 * 14 * 14 * 9 * 4 * 8
    assert macs_by_phase(cost) == {"gradient to inputs": forward, "gradient to weights": forward}


def test_phases_that_are_guessed_are_noted_and_only_those(network_cost):
    def loss(w, x):
        return jnp.tanh(jnp.tanh(x @ w) @ w).sum()

    args = shape(4, 4), shape(5, 4)
    penalty = jax.grad(lambda w, x: (jax.grad(loss, 1)(w, x) ** 2).sum())
    (note,) = step_cost(penalty, *args).notes
    assert "derivatives of derivatives" in note
    (note,) = step_cost(jax.grad(lambda x, w: jnp.tanh(x @ w).sum(), (0, 1)), *args[::-1]).notes
    assert "both of whose operands" in note

    def stage(w, x, g):
        return jax.vjp(jax.checkpoint(lambda w, x: jnp.tanh(jnp.tanh(x @ w) @ w)), w, x)[1](g)

    (note,) = step_cost(stage, *args, shape(5, 4)).notes
    assert "cotangent is an argument" in note
    for certain in jax.grad(loss), jax.value_and_grad(jax.checkpoint(loss)):
        assert step_cost(certain, *args).notes == ()
    assert network_cost.notes == ()


def test_the_gradients_of_sharded_weights_are_to_weights():
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    parts = jax.sharding.PartitionSpec("d")

    def step(params, x):
        def loss(params):
            first, second = (lax.all_gather(w, "d", axis=0, tiled=True) for w in params)
            return jnp.mean((jnp.tanh(x @ first) @ second) ** 2)

        return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))

    sharded = jax.shard_map(
        step, mesh=mesh, in_specs=((parts, parts), parts), out_specs=(parts,) * 2
    )
    cost = step_cost(sharded, (shape(8, 16), shape(16, 8)), shape(4, 8))
    one = 4 * 8 * 16
    macs = macs_by_phase(cost)
    assert macs["forward"] == 2 * one
    assert macs["gradient to inputs"] == one
    assert macs["gradient to weights"] == 2 * one
