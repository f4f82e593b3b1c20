"""The two counts of a step are reconciled, and each is what is worked by hand."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from jax import lax

from jaxeff.compute import cost as terms
from jaxeff.compute import step_cost
from jaxeff.errors import UsageError
from tests.compute.programs import (
    CONV_0,
    CONV_1,
    DENSE,
    NET_IMAGES,
    Net,
    shape,
    training_step,
)


@pytest.fixture(scope="module")
def network_cost():
    step, args = training_step(Net(), NET_IMAGES, optax.sgd(0.1, momentum=0.9))
    return step_cost(step, *args)


def test_the_two_counts_of_a_training_step_are_fully_reconciled(network_cost):
    cost = network_cost
    assert cost.uncounted == ()
    assert cost.unexplained == 0
    assert sum(cost.breakdown.values()) == cost.xla_flops == cost.flops
    assert cost.xla_transcendentals == cost.transcendentals
    assert cost.macs == 3 * (CONV_0 + CONV_1 + DENSE) - CONV_0
    assert cost.breakdown[terms.MACS] == 2 * cost.macs


def test_padding_zeros_are_the_difference_of_the_convolutions(network_cost):
    # Conv_0 is 5 outputs from 9 inputs at stride 2 with a padding of 1 on each side: of 15
    # products along an edge, 13 meet the image. It is computed forward and for its weights.
    padded = CONV_0 - 4 * 13 * 13 * 3 * 8
    assert network_cost.breakdown[terms.PADDING] == -2 * 2 * padded


def test_the_parts_add_up_to_the_whole(network_cost):
    for parts in network_cost.by_source, network_cost.by_phase, network_cost.by_primitive:
        assert sum(parts().values(), terms.Cost()) == network_cost.total()


def test_the_table_names_modules_phases_and_the_reconciliation(network_cost):
    text = str(network_cost)
    assert text == network_cost.table()
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert rows["Net/Conv_1"][1:4] == [f"{CONV_1:,}"] * 3
    assert rows["Net/Conv_0"][1:4] == [f"{CONV_0:,}", "-", f"{CONV_0:,}"]
    assert rows["XLA's count, FLOPs"][-1] == f"{network_cost.xla_flops:,}"
    assert rows["unexplained"][-1] == "+0"


def test_batch_norm_by_hand():
    def batch_norm(x, scale, bias):
        distance = x - x.mean(0)
        variance = lax.square(distance).mean(0)
        return distance * (lax.rsqrt(variance + 1e-5) * scale) + bias

    cost = step_cost(batch_norm, shape(6, 4), shape(4), shape(4))
    mean = (24 - 4) + 4
    assert cost.flops == mean + 24 + 24 + mean + 4 + 4 + 24 + 24
    assert cost.transcendentals == 4
    assert cost.unexplained == 0


def test_softmax_by_hand():
    def softmax(x):
        exponentials = jnp.exp(x - x.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)

    cost = step_cost(softmax, shape(4, 5))
    assert cost.flops == (20 - 4) + 20 + (20 - 4) + 20
    assert cost.transcendentals == cost.xla_transcendentals == 20
    assert cost.unexplained == 0


def test_pooling_by_hand():
    x = shape(1, 4, 4, 3)
    average = step_cost(lambda x: nn.avg_pool(x, (2, 2), (2, 2)), x)
    assert average.flops == 12 * 3 + 12
    largest = step_cost(lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME"), x)
    assert largest.flops == 12 * 8
    # For each output three comparisons choose among four inputs, and one sum adds to the chosen.
    gradient = jax.grad(lambda x, y: (nn.max_pool(x, (2, 2), (2, 2)) * y).sum())
    backward = step_cost(gradient, x, shape(1, 2, 2, 3))
    assert backward.flops == 12 * 4
    for cost in average, largest, backward:
        assert cost.unexplained == 0
        assert cost.macs == 0


def test_the_count_is_exact_where_xlas_is_rounded():
    # 2^25 + 3 is no number of single precision, in which XLA adds up.
    cost = step_cost(lambda x: (x @ x)[:1, :3] + 1, shape(256, 256))
    assert cost.flops == 2**25 + 3
    assert cost.xla_flops == 2**25 + 4
    assert cost.unexplained == 1


def test_empty_arrays_cost_nothing():
    cost = step_cost(lambda x, w: (x @ w, w.sum(1), lax.sort(w)), shape(4, 0), shape(0, 5))
    assert (cost.macs, cost.flops, cost.operations, cost.unexplained) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "fn",
    [
        *(lax.cos, lax.cosh, lax.exp, lax.exp2, lax.expm1, lax.log, lax.log1p, lax.logistic),
        *(lax.rsqrt, lax.sin, lax.sinh, lax.sqrt, lax.square, lax.tan, lax.tanh),
    ],
)
def test_functions_of_complex_numbers_are_reconciled(fn):
    z = shape(4, 5, dtype=jnp.complex64)
    cost = step_cost(lambda z: fn(z + z) * z, z)
    assert cost.unexplained == 0
    assert cost.transcendentals == cost.xla_transcendentals


@pytest.mark.parametrize("fn", [lax.cummax, lax.cummin, lax.reduce_max, lax.reduce_min])
def test_the_order_of_complex_numbers_is_reconciled(fn):
    axis = {"axes": (0,)} if fn in (lax.reduce_max, lax.reduce_min) else {"axis": 0}
    assert step_cost(partial(fn, **axis), shape(4, 5, dtype=jnp.complex64)).unexplained == 0


def test_a_product_of_real_and_complex_numbers_counts_the_conversion_that_xla_sees():
    cost = step_cost(lambda x, z: x @ z, shape(4, 5), shape(5, 6, dtype=jnp.complex64))
    assert cost.macs == 4 * 5 * 6
    assert cost.flops == cost.xla_flops == 2 * cost.macs + 4 * 5
    assert cost.breakdown["element-wise"] == 4 * 5
    assert cost.unexplained == 0


def test_a_function_that_cannot_be_traced_is_one_clear_error():
    with pytest.raises(UsageError, match="cannot trace"):
        step_cost(lambda x: x @ x, shape(3, 4))
