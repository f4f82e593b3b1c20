"""Multiply-accumulates against numbers worked by hand, and XLA's against a count of positions."""

import itertools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxeff.compute import count_activations, count_macs, step_cost, xla_flops
from jaxeff.errors import UsageError
from tests.compute.programs import shape


def convolution(strides=(1, 1), padding="VALID", lhs_dilation=None, rhs_dilation=None, groups=1):
    def apply(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            ("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    return apply


# Of an input [2, 9, 8, 4]: keywords, kernel, multiply-accumulates.
CONVOLUTIONS = {
    "plain": ({}, (3, 3, 4, 8), 2 * (7 * 6) * 9 * 4 * 8),
    "pointwise": ({}, (1, 1, 4, 8), 2 * (9 * 8) * 1 * 4 * 8),
    "same": ({"padding": "SAME"}, (3, 3, 4, 8), 2 * (9 * 8) * 9 * 4 * 8),
    "strided": ({"strides": (2, 2), "padding": "SAME"}, (3, 3, 4, 8), 2 * (5 * 4) * 9 * 4 * 8),
    "strided, uneven padding": (
        {"strides": (2, 3), "padding": ((1, 2), (0, 3))},
        (5, 3, 4, 8),
        2 * (4 * 3) * 15 * 4 * 8,
    ),
    "strided, a remainder": ({"strides": (4, 4)}, (2, 2, 4, 8), 2 * (2 * 2) * 4 * 4 * 8),
    "more padding than kernel": ({"padding": ((4, 4), (4, 4))}, (3, 3, 4, 8), 2 * 15 * 14 * 9 * 32),
    "dilated": ({"rhs_dilation": (2, 1), "padding": "SAME"}, (3, 3, 4, 8), 2 * 72 * 9 * 4 * 8),
    "dilated and strided": (
        {"rhs_dilation": (2, 2), "strides": (2, 2), "padding": ((2, 2), (2, 2))},
        (3, 3, 4, 8),
        2 * (5 * 4) * 9 * 4 * 8,
    ),
    "groups": ({"groups": 2, "padding": "SAME"}, (3, 3, 2, 8), 2 * 72 * 9 * 2 * 8),
    "groups, strided": (
        {"groups": 2, "strides": (2, 2), "padding": ((1, 1), (1, 1))},
        (3, 3, 2, 6),
        2 * (5 * 4) * 9 * 2 * 6,
    ),
    "depthwise": ({"groups": 4, "padding": "SAME"}, (3, 3, 1, 4), 2 * 72 * 9 * 1 * 4),
    "depthwise, two a channel, strided": (
        {"groups": 4, "strides": (2, 1), "padding": "SAME"},
        (5, 3, 1, 8),
        2 * (5 * 8) * 15 * 1 * 8,
    ),
    # A transposed convolution spreads each of its inputs over the kernel.
    "transposed": (
        {"lhs_dilation": (2, 2), "padding": ((2, 2), (1, 2))},
        (3, 3, 4, 8),
        2 * (9 * 8) * 9 * 4 * 8,
    ),
}


def valid_products(kwargs, kernel):
    """Products of an input [2, 9, 8, 4] and a kernel that meet no padding and no hole."""
    strides = kwargs.get("strides", (1, 1))
    spread = kwargs.get("lhs_dilation", (1, 1))
    dilation = kwargs.get("rhs_dilation", (1, 1))
    out = jax.eval_shape(convolution(**kwargs), shape(2, 9, 8, 4), shape(*kernel)).shape
    padding = kwargs.get("padding", "VALID")
    if isinstance(padding, str):
        span = [(size - 1) * gap + 1 for size, gap in zip(kernel[:2], dilation, strict=True)]
        padding = lax.padtype_to_pads((9, 8), span, strides, padding)
    count = 0
    for row, column, i, j in itertools.product(*map(range, (*out[1:3], *kernel[:2]))):
        y = row * strides[0] + i * dilation[0] - padding[0][0]
        x = column * strides[1] + j * dilation[1] - padding[1][0]
        inside = 0 <= y <= 8 * spread[0] and 0 <= x <= 7 * spread[1]
        count += inside and y % spread[0] == 0 and x % spread[1] == 0
    return 2 * count * kernel[2] * kernel[3]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_counts_its_padding_in_macs_and_not_in_xla(name):
    kwargs, kernel, macs = CONVOLUTIONS[name]
    args = shape(2, 9, 8, 4), shape(*kernel)
    assert count_macs(convolution(**kwargs), *args) == macs
    assert xla_flops(convolution(**kwargs), *args) == 2 * valid_products(kwargs, kernel)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("operand", [0, 1])
def test_each_gradient_of_a_convolution_costs_what_the_convolution_costs(name, operand):
    kwargs, kernel, macs = CONVOLUTIONS[name]
    out = jax.eval_shape(convolution(**kwargs), shape(2, 9, 8, 4), shape(*kernel))

    def loss(x, kernel, weight):
        return (convolution(**kwargs)(x, kernel) * weight).sum()

    args = shape(2, 9, 8, 4), shape(*kernel), out
    cost = step_cost(jax.grad(loss, operand), *args)
    assert cost.macs == count_macs(jax.grad(loss, operand), *args) == macs
    assert cost.xla_flops == 2 * valid_products(kwargs, kernel)
    assert cost.unexplained == 0
    phase = ("gradient to inputs", "gradient to weights")[operand]
    assert cost.by_phase()[phase].macs == macs


def test_a_dense_layer():
    args = shape(5, 3), shape(3, 4)
    assert count_macs(jnp.matmul, *args) == 5 * 3 * 4

    def loss(x, kernel):
        return jnp.tanh(x @ kernel).sum()

    assert count_macs(jax.grad(loss, 1), *args) == 2 * 60
    assert count_macs(jax.grad(loss, (0, 1)), *args) == 3 * 60


def test_batched_products_count_every_batch():
    assert count_macs(jnp.matmul, shape(7, 5, 3), shape(7, 3, 4)) == 7 * 60
    assert count_macs(jax.vmap(jnp.dot, (0, None)), shape(7, 3), shape(3, 4)) == 7 * 3 * 4
    per_example = jax.vmap(jax.grad(lambda w, x: jnp.tanh(x @ w).sum()), (None, 0))
    assert count_macs(per_example, shape(3, 4), shape(7, 3)) == 2 * 7 * 3 * 4


def test_per_example_gradients_of_a_convolution():
    def loss(kernel, x):
        return jnp.tanh(convolution((2, 2), "SAME")(x[None], kernel)).sum()

    per_example = jax.vmap(jax.grad(loss), (None, 0))
    forward = 5 * (4 * 4) * 9 * 4 * 8
    assert count_macs(per_example, shape(3, 3, 4, 8), shape(5, 8, 8, 4)) == 2 * forward


# Padding, strides and dilation of a convolution of [2, 4, 9, 8] with [8, 4, 3, 3], and the
# operations of its value and both gradients by `torch.utils.flop_counter` of PyTorch 2.14.
COUNTED_BY_PYTORCH = {
    "strided": ({"stride": 2, "padding": 1}, 69_120),
    "plain": ({"stride": 1, "padding": 0}, 145_152),
    "dilated": ({"stride": 1, "padding": 2, "dilation": 2}, 248_832),
}


@pytest.mark.parametrize("name", COUNTED_BY_PYTORCH)
def test_pytorchs_counter_agrees(name):
    options, flops = COUNTED_BY_PYTORCH[name]

    def loss(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (options["stride"],) * 2,
            ((options["padding"],) * 2,) * 2,
            rhs_dilation=(options.get("dilation", 1),) * 2,
        ).sum()

    value_and_gradients = jax.value_and_grad(loss, (0, 1))
    assert 2 * count_macs(value_and_gradients, shape(2, 4, 9, 8), shape(8, 4, 3, 3)) == flops


@pytest.mark.slow  # importing PyTorch takes seconds: pytest -m slow tests/compute/test_macs.py
@pytest.mark.parametrize("name", COUNTED_BY_PYTORCH)
def test_pytorch_still_counts_so(name):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    options, flops = COUNTED_BY_PYTORCH[name]
    x = torch.zeros((2, 4, 9, 8), requires_grad=True)
    kernel = torch.zeros((8, 4, 3, 3), requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.conv2d(x, kernel, **options).sum().backward()
    assert counter.get_total_flops() == flops


def test_activations_are_what_convolutions_and_products_write():
    def network(images, kernel, weights):
        x = jnp.tanh(convolution((2, 2), "SAME")(images, kernel))
        return lax.scan(lambda c, w: (jnp.sin(c @ w), None), x.mean((1, 2)), weights)[0]

    args = shape(2, 9, 8, 4), shape(3, 3, 4, 8), shape(5, 8, 8)
    assert count_activations(network, *args) == 2 * 5 * 4 * 8 + 5 * 2 * 8


def test_arguments_that_do_not_fit_are_an_error():
    with pytest.raises(UsageError, match="cannot trace"):
        count_macs(jnp.matmul, shape(4, 3), shape(4, 3))


def test_a_symmetric_product_counts_both_halves():
    cost = step_cost(lax.linalg.symmetric_product, shape(3, 8, 5), shape(3, 8, 8))
    assert (cost.macs, cost.unexplained) == (3 * 8 * 8 * 5, 0)


def test_a_product_with_scales_counts_as_one_without():
    values, scales = jnp.float8_e4m3fn, jnp.float8_e8m0fnu
    operands = (shape(4, 64, dtype=values), shape(64, 6, dtype=values))
    blocks = (shape(4, 2, dtype=scales), shape(2, 6, dtype=scales))

    def scaled(a, b, of_a, of_b):
        return lax.scaled_dot(
            a, b, lhs_scale=of_a, rhs_scale=of_b, preferred_element_type=jnp.float32
        )

    cost = step_cost(scaled, *operands, *blocks)
    assert (cost.macs, cost.operations, cost.unexplained) == (4 * 64 * 6, 2 * 4 * 64 * 6, 0)


def test_ragged_products_write_activations():
    ragged = shape(60, 40), shape(2, 40, 50), shape(2, dtype=jnp.int32)
    assert count_activations(lax.ragged_dot, *ragged) == 60 * 50
