"""Multiply-accumulates against numbers worked by hand, and XLA's against a count of positions."""

import itertools
import math

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxeff.compute import count_macs, step_cost, xla_flops
from jaxeff.errors import UsageError


def shape(*dims, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype)


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


@pytest.mark.parametrize("length", [1, 2, 1000])
@pytest.mark.parametrize("unroll", [1, 3])
def test_a_scan_counts_as_often_as_it_runs(length, unroll):
    def loop(x):
        return lax.scan(lambda c, _: (c @ c, None), x, None, length=length, unroll=unroll)[0]

    assert count_macs(loop, shape(4, 4)) == length * 64


def test_loops_within_loops_multiply():
    def loop(x):
        return lax.fori_loop(0, 5, lambda i, c: lax.fori_loop(0, 7, lambda j, d: d @ d, c), x)

    assert count_macs(loop, shape(4, 4)) == 35 * 64


def test_the_gradient_of_a_scan_counts_every_pass():
    def loss(w, x):
        return lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=10)[0].sum()

    assert count_macs(jax.grad(loss), shape(4, 4), shape(4, 4)) == 10 * 64 * 3


def test_rematerialised_products_count_as_often_as_they_are_computed():
    def loss(w, x):
        return jnp.sin(jnp.sin(x @ w) @ w).sum()

    args = shape(4, 4), shape(5, 4)
    plain = count_macs(jax.value_and_grad(loss), *args)
    assert plain == (2 + 1 + 2) * 80  # forward; gradient to the one inner input; to weights
    assert count_macs(jax.value_and_grad(jax.checkpoint(loss)), *args) == plain + 2 * 80


def test_custom_derivatives_count_what_they_compute():
    @jax.custom_vjp
    def product(x, w):
        return x @ w

    product.defvjp(
        lambda x, w: (x @ w, (x, w)),
        lambda saved, ct: (ct @ saved[1].T, saved[0].T @ ct),
    )
    args = shape(5, 3), shape(3, 4)
    assert count_macs(product, *args) == 60
    assert count_macs(jax.value_and_grad(lambda *a: product(*a).sum(), (0, 1)), *args) == 180

    @jax.custom_jvp
    def square(x):
        return x @ x

    square.defjvp(lambda x, t: (square(x[0]), 2 * t[0] @ x[0]))
    assert count_macs(square, shape(4, 4)) == 64
    assert count_macs(lambda x, t: jax.jvp(square, (x,), (t,)), shape(4, 4), shape(4, 4)) == 128


def test_unused_products_do_not_count():
    assert count_macs(lambda x: (x @ x, x * 2)[1], shape(4, 4)) == 0
    # The value is not asked for, and the loss of a bilinear form is not needed for its gradient.
    assert count_macs(jax.grad(lambda w, x: (x @ w).sum()), shape(3, 4), shape(5, 3)) == 60


def test_a_cond_counts_its_dearest_branch():
    def either(choose, x):
        return lax.cond(choose, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert count_macs(either, shape(dtype=bool), shape(4, 4)) == 128


@pytest.mark.parametrize("branch", ["cpu", "cuda"])
def test_the_branch_of_a_tpu_counts_even_if_another_is_dearer(branch):
    def either(x):
        return lax.platform_dependent(
            x, **{branch: lambda x: x @ x @ x @ x}, default=lambda x: x @ x
        )

    assert count_macs(either, shape(4, 4)) == 64
    assert count_macs(jax.jit(jax.grad(lambda x: either(x).sum())), shape(4, 4)) == 128

    def named(x):
        return lax.platform_dependent(
            x, **{branch: lambda x: x @ x @ x}, tpu=lambda x: x @ x, default=lambda x: x
        )

    assert count_macs(named, shape(4, 4)) == 64


def test_what_cannot_be_counted_is_an_error_and_no_number():
    def until(x):
        return lax.while_loop(lambda c: c.sum() < 10, lambda c: c @ c, x)

    with pytest.raises(UsageError, match="while loop of unknown length"):
        count_macs(until, shape(4, 4))
    with pytest.raises(UsageError, match="pure_callback"):
        count_macs(lambda x: jax.pure_callback(lambda x: x, x, x), shape(4, 4))
    with pytest.raises(UsageError, match="cannot trace"):
        count_macs(jnp.matmul, shape(4, 3), shape(4, 3))


def test_pytorchs_counter_agrees():
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    cases = [
        ((2, 4, 9, 8), (8, 4, 3, 3), {"stride": 2, "padding": 1}),
        ((2, 4, 9, 8), (8, 4, 3, 3), {"stride": 1, "padding": 0}),
        ((2, 4, 9, 8), (8, 4, 3, 3), {"stride": 1, "padding": 2, "dilation": 2}),
    ]
    for x_shape, kernel_shape, kwargs in cases:
        x = torch.zeros(x_shape, requires_grad=True)
        kernel = torch.zeros(kernel_shape, requires_grad=True)
        with FlopCounterMode(display=False) as counter:
            torch.nn.functional.conv2d(x, kernel, **kwargs).sum().backward()

        def loss(x, kernel, kwargs=kwargs):
            return lax.conv_general_dilated(
                x,
                kernel,
                (kwargs["stride"],) * 2,
                ((kwargs["padding"],) * 2,) * 2,
                rhs_dilation=(kwargs.get("dilation", 1),) * 2,
            ).sum()

        args = shape(*x_shape), shape(*kernel_shape)
        ours = count_macs(jax.value_and_grad(loss, (0, 1)), *args)
        assert counter.get_total_flops() == 2 * ours
        assert ours % (3 * math.prod(kernel_shape)) == 0
