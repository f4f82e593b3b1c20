"""A convolution costs the same whatever it is the derivative of, up to the third order.

The right numbers are worked by hand, as so many convolutions of one forward pass each, and by
PyTorch's counter for the steps that PyTorch can express.
"""

import math

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxeff.compute import count_macs, step_cost
from jaxeff.compute.convolutions import convolution_macs
from jaxeff.compute.operations import operations
from tests.compute.programs import shape

NHWC = ("NHWC", "HWIO", "NHWC")
W, X, G = shape(3, 3, 4, 8), shape(2, 14, 14, 4), shape(2, 14, 14, 8)
FORWARD = 2 * 14 * 14 * 9 * 4 * 8


def conv(w, x):
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC)


def critic(w, x):
    return jnp.tanh(conv(w, x)).sum()


def r1_penalty(w, x):
    return (jax.grad(critic, 1)(w, x) ** 2).sum()


def wgan_gp(w, real, fake, mixed):
    slope = jnp.sqrt((jax.grad(critic, 1)(w, mixed) ** 2).sum((1, 2, 3)))
    return critic(w, fake) - critic(w, real) + ((slope - 1) ** 2).sum()


def sliced_score_matching(w, x, v):
    """The energy's curvature along `v`, which an energy-based model minimises."""
    _, curvature = jax.jvp(lambda x: jax.grad(critic, 1)(w, x), (x,), (v,))
    return (v * curvature).sum()


def after_an_inner_update(w, support, query):
    return critic(w - 0.1 * jax.grad(critic)(w, support), query)


# What is counted, its arguments, and how many convolutions it takes.
STEPS = {
    # conv; gradient to the image; of that gradient's square to the kernel twice (as its operand,
    # and through tanh), and to the cotangent.
    "R1 penalty": (jax.grad(r1_penalty), (W, X), 5),
    # That, and for each of two losses a conv and a gradient to the kernel.
    "WGAN-GP": (jax.grad(wgan_gp), (W, X, X, X), 9),
    # conv and gradient to the kernel, and the tangent of both.
    "Hessian-vector product": (
        lambda w, x, v: jax.jvp(lambda w: jax.grad(critic)(w, x), (w,), (v,))[1],
        (W, X, W),
        3,
    ),
    # conv of x and v; conv of v for the cotangent; three gradients to the kernel.
    "score matching, third derivative": (jax.grad(sliced_score_matching), (W, X, X), 6),
    # Two inside; conv and gradient outside; the gradient to the inner gradient's cotangent, and
    # through tanh to the kernel.
    "meta-learning": (jax.grad(after_an_inner_update), (W, X, X), 6),
    "pipeline stage, cotangent as an argument": (
        lambda w, x, g: jax.vjp(conv, w, x)[1](g),
        (W, X, G),
        2,
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_higher_derivative_is_so_many_convolutions(name):
    step, args, convolutions = STEPS[name]
    cost = step_cost(step, *args)
    assert cost.macs == count_macs(step, *args) == convolutions * FORWARD
    assert cost.unexplained == 0


@pytest.mark.slow  # PyTorch takes seconds to import
def test_pytorchs_counter_agrees_on_second_derivatives():
    torch = pytest.importorskip("torch")
    from torch.nn.functional import conv2d
    from torch.utils.flop_counter import FlopCounterMode

    def torch_critic(w, x):
        return torch.tanh(conv2d(x, w, padding=1)).sum()

    def gradient(y, x):
        return torch.autograd.grad(y, x, create_graph=True)[0]

    w = torch.zeros((8, 4, 3, 3), requires_grad=True)
    x, other, third = (torch.zeros((2, 4, 14, 14)) for _ in range(3))
    mixed = x.clone().requires_grad_()

    def penalty(x):
        return (gradient(torch_critic(w, x), x) ** 2).sum()

    def meta_learning():
        return torch_critic(w - 0.1 * gradient(torch_critic(w, x), w), other)

    steps = {
        "R1 penalty": lambda: gradient(penalty(mixed), w),
        "WGAN-GP": lambda: gradient(
            torch_critic(w, other) - torch_critic(w, third) + penalty(mixed), w
        ),
        "meta-learning": lambda: gradient(meta_learning(), w),
    }
    # PyTorch also computes the inner update's derivative to the image, which nobody asks for.
    unasked = {"R1 penalty": 0, "WGAN-GP": 0, "meta-learning": 1}
    for name, step in steps.items():
        with FlopCounterMode(display=False) as counter:
            step()
        convolutions = STEPS[name][2] + unasked[name]
        assert counter.get_total_flops() == 2 * convolutions * FORWARD, name


LAYOUTS = [NHWC, ("NCHW", "OIHW", "NCHW"), ("NHWC", "OHWI", "NHWC"), ("CHWN", "HWIO", "CHWN")]
# Keywords, kernel positions, positions that count beside them, of images [7, 6].
KINDS = {
    "padded less than a kernel": ({"padding": [(1, 1), (0, 1)]}, (5, 4), 5 * 4),
    "padded more than a kernel": ({"padding": [(4, 5), (3, 3)]}, (3, 2), 14 * 11),
    "kernel larger than the image": ({"padding": [(4, 4), (5, 5)]}, (9, 11), 7 * 6),
    "strided": ({"window_strides": (2, 3), "padding": [(1, 1), (0, 1)]}, (3, 2), 4 * 2),
    "dilated": ({"rhs_dilation": (2, 1), "padding": [(2, 2), (1, 1)]}, (3, 3), 7 * 6),
    "grouped": ({"feature_group_count": 2, "padding": [(1, 1), (1, 1)]}, (3, 3), 7 * 6),
    "transposed": ({"lhs_dilation": (2, 1), "padding": [(2, 1), (2, 2)]}, (3, 3), 7 * 6),
    "transposed, stride 1": ({"padding": [(2, 2), (1, 1)]}, (3, 2), 7 * 6),
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout[0] + layout[1])
@pytest.mark.parametrize("kind", KINDS)
def test_every_derivative_costs_what_the_convolution_costs(kind, layout):
    keywords, taps, positions = KINDS[kind]
    keywords = {"window_strides": (1, 1), "dimension_numbers": layout} | keywords
    in_group = 4 // keywords.get("feature_group_count", 1)
    sizes = {"N": 2, "C": 4, "H": 7, "W": 6}
    kernel_sizes = {"O": 6, "I": in_group, "H": taps[0], "W": taps[1]}
    x = shape(*(sizes[dim] for dim in layout[0]))
    w = shape(*(kernel_sizes[dim] for dim in layout[1]))
    forward = 2 * 6 * in_group * math.prod(taps) * positions

    def loss(*operands):
        return jnp.tanh(lax.conv_general_dilated(*operands, **keywords)).sum()

    def penalty(operand, *operands):
        return (jax.grad(loss, operand)(*operands) ** 2).sum()

    def third(first, second, *operands):
        return (jax.grad(penalty, second)(first, *operands) ** 3).sum()

    convolutions = 0
    for first in (0, 1):
        for second in (1, 2):
            for operand in (2, 3):
                gradient = jax.jit(jax.grad(third, operand), static_argnums=(0, 1))
                program = operations(gradient.trace(first, second, x, w).jaxpr)
                for operation in program.operations:
                    if operation.primitive == "conv_general_dilated":
                        assert convolution_macs(operation.eqn) == forward, operation.eqn
                        convolutions += 1
    assert convolutions > 60


@pytest.mark.parametrize(
    ("strides", "padding"),
    [
        ((1, 1), "VALID"),
        ((1, 1), "SAME"),
        ((2, 2), "VALID"),
        ((2, 2), "SAME"),
        ((2, 2), [(1, 1), (0, 1)]),
        ((2, 1), "VALID"),
    ],
)
@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_a_transposed_convolution_spreads_every_input_over_the_kernel(
    strides, padding, transpose_kernel
):
    def transposed(x, w):
        return lax.conv_transpose(
            x, w, strides, padding, dimension_numbers=NHWC, transpose_kernel=transpose_kernel
        )

    x, w = shape(2, 5, 6, 4), shape(3, 3, *((8, 4) if transpose_kernel else (4, 8)))
    macs = 2 * (5 * 6) * 9 * 4 * 8
    assert count_macs(transposed, x, w) == macs
    gradients = jax.grad(lambda x, w: (transposed(x, w) ** 2).sum(), (0, 1))
    assert count_macs(gradients, x, w) == 3 * macs


def test_the_reading_of_a_convolution_padded_by_a_whole_kernel_is_noted():
    def transposed(x, w):
        return lax.conv_transpose(x, w, (1, 1), "VALID")

    cost = step_cost(transposed, shape(1, 1, 1, 32), shape(3, 3, 32, 1))
    assert cost.macs == 288
    (note,) = cost.notes
    assert "288" in note
    assert "2,592" in note
    # Where only one reading is possible there is no note: the gradient of an unpadded convolution.
    unpadded = jax.grad(lambda x, w: (lax.conv(x, w, (1, 1), "VALID") ** 2).sum(), (0, 1))
    assert step_cost(unpadded, shape(2, 4, 9, 9), shape(8, 4, 3, 3)).notes == ()
