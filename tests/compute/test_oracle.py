"""The counts of random programs, compared with those of an interpreter that executes them."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from jax import lax

from jaxeff.compute import step_cost
from tests.compute import oracle

quickly = partial(settings, deadline=None, derandomize=True)
at_length = settings(max_examples=500, deadline=None)


def array(shape, dtype=np.float32):
    """Random numbers, none of them near zero, where derivatives are steep."""
    generator = np.random.default_rng(list(shape))
    parts = [
        generator.uniform(0.3, 1.3, shape) * generator.choice([-1, 1], shape) for _ in range(2)
    ]
    is_complex = np.issubdtype(dtype, np.complexfloating)
    return (parts[0] + 1j * parts[1] if is_complex else parts[0]).astype(dtype)


def executed(fn, *args, layers=()):
    """What the oracle counts, once its results are seen to be JAX's."""
    count = oracle.execute(fn, *args, layers=layers)
    expected = jax.tree.leaves(jax.jit(fn)(*args))
    for theirs, ours in zip(expected, count.results, strict=True):
        scale = max(1.0, float(np.max(np.abs(theirs), initial=0)))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * scale)
    return count


def the_counts_agree(fn, *args, layers=(), **options):
    """Compares both counts; `n log2 n` may be rounded."""
    if not all(pairs for pairs, _ in layers):
        # A layer whose taps meet nothing but padding cannot be told from another one.
        reject()
    count, cost = executed(fn, *args, layers=layers), step_cost(fn, *args, **options)
    assert cost.uncounted == ()
    assert cost.macs == count.macs
    assert cost.operations == pytest.approx(count.operations, rel=1e-6, abs=1)
    return count


@pytest.mark.parametrize(
    ("fn", "shape", "macs", "operations"),
    [
        (lambda x: x @ x.T, (3, 4), 36, 72),
        (lambda x: jnp.tanh(x) + x, (3, 4), 0, 24),
        (lambda x: x.sum(1), (3, 4), 0, 9),
        (lambda x: lax.cumsum(x, 1), (3, 4), 0, 9),
        (lambda x: jnp.sort(x, 1), (3, 8), 0, 3 * 8 * 3),
        (jnp.fft.rfft, (16,), 0, 2.5 * 16 * 4),
        (lambda x: lax.scan(lambda c, x: (c + x, c * c), 0.0, x), (5,), 0, 10),
        (lambda x: (x.sum(), x.max())[0], (5,), 0, 4),
    ],
)
def test_the_oracle_counts_what_a_hand_counts(fn, shape, macs, operations):
    count = executed(fn, array(shape))
    assert (count.macs, count.operations) == (macs, operations)


@pytest.mark.parametrize(
    ("transposed", "padding", "strides", "x", "w", "macs"),
    [
        (False, "SAME", [1, 1], (2, 5, 6, 3), (3, 3, 3, 4), 2 * 30 * 9 * 3 * 4),
        (False, "VALID", [2, 1], (2, 5, 6, 3), (3, 3, 3, 4), 2 * 8 * 9 * 3 * 4),
        (True, "VALID", [1, 1], (1, 1, 1, 32), (3, 3, 32, 1), 288),
        (True, "SAME", [2, 2], (2, 3, 3, 4), (3, 3, 4, 2), 2 * 9 * 9 * 4 * 2),
    ],
)
def test_the_oracle_counts_a_layer_as_a_hand_counts_it(transposed, padding, strides, x, w, macs):
    layer = {
        "channels": "last",
        "transposed": transposed,
        "padding": padding,
        "strides": strides,
        "dilation": [1, 1],
        "groups": 1,
    }
    assert oracle.layer(partial(convolution, layer=layer), array(x), array(w))[1] == macs


# Convolutions


def convolution(x, w, layer):
    axes = "DHW"[-(x.ndim - 2) :]
    numbers = {
        "last": (f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        "first": (f"NC{axes}", f"OI{axes}", f"NC{axes}"),
    }[layer["channels"]]
    if layer["transposed"]:
        return lax.conv_transpose(
            x, w, layer["strides"], layer["padding"], layer["dilation"], numbers
        )
    return lax.conv_general_dilated(
        x,
        w,
        layer["strides"],
        layer["padding"],
        rhs_dilation=layer["dilation"],
        dimension_numbers=numbers,
        feature_group_count=layer["groups"],
    )


@st.composite
def drawn_layers(draw, input_shape=None, layouts=("last", "last", "first")):
    """A convolution, and the shapes of its input and its kernel."""
    rank = len(input_shape) - 2 if input_shape else draw(st.sampled_from([1, 2, 2, 2]))
    per_axis = partial(st.lists, min_size=rank, max_size=rank)
    transposed = draw(st.sampled_from([False, False, False, True]))
    if input_shape:
        batch, *size, inputs = input_shape
        groups = 1
    else:
        batch, size = draw(st.integers(1, 3)), draw(per_axis(st.integers(1, 6)))
        groups = 1 if transposed else draw(st.integers(1, 3))
        inputs = groups * draw(st.integers(1, 2))
    kernel = draw(per_axis(st.integers(1, 3)))
    outputs = groups * draw(st.integers(1, 3))
    channels = draw(st.sampled_from(layouts))
    dilation = draw(per_axis(st.sampled_from([1, 1, 2])))
    # Padding that no tap reaches across has no accepted count.
    most = [min(2, (k - 1) * d) for k, d in zip(kernel, dilation, strict=True)]
    ends = [st.tuples(st.integers(0, end), st.integers(0, end)) for end in most]
    if not transposed:
        # With (-1, 1) jaxlib 0.10.2 reads beyond the image on a CPU, and computes something else.
        ends = [end | st.just((-1, 0)) for end in ends]
    layer = {
        "channels": channels,
        "transposed": transposed,
        "strides": draw(per_axis(st.integers(1, 3))),
        "padding": draw(st.sampled_from(["SAME", "VALID"]) | st.tuples(*ends).map(list)),
        "dilation": dilation,
        "groups": groups,
    }
    x, w = (batch, *size, inputs), (*kernel, inputs // groups, outputs)
    try:
        shape = jax.eval_shape(
            partial(convolution, layer=layer | {"channels": "last"}), array(x), array(w)
        ).shape
    except (TypeError, ValueError):  # the kernel is larger than the padded input
        shape = (0,)
    assume(0 < math.prod(shape) < 200)
    if channels == "first":
        x, w = (batch, inputs, *size), (outputs, inputs // groups, *kernel)
    return layer, x, w


def squared(tree):
    return jax.tree.map(jnp.square, tree)


def inner(tree, other):
    return sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), tree, other)))


def penalty(tree):
    return sum(leaf.sum() for leaf in jax.tree.leaves(squared(tree)))


def forward(f, loss, x, w, g):
    return f(x, w)


def gradient_to_input(f, loss, x, w, g):
    return jax.grad(loss)(x, w)


def gradient_to_kernel(f, loss, x, w, g):
    return jax.grad(loss, 1)(x, w)


def both_gradients(f, loss, x, w, g):
    return jax.value_and_grad(loss, (0, 1))(x, w)


def vjp(f, loss, x, w, g):
    return jax.vjp(f, x, w)[1](g)


def vjp_to_kernel(f, loss, x, w, g):
    return jax.vjp(partial(f, x), w)[1](g)


def vjp_to_input(f, loss, x, w, g):
    return jax.vjp(lambda x: f(x, w), x)[1](g)


def jvp(f, loss, x, w, g):
    return jax.jvp(f, (x, w), (squared(x), squared(w)))


def jvp_of_vjp(f, loss, x, w, g):
    return jax.jvp(partial(vjp, f, loss), (x, w, g), squared((x, w, g)))


def vjp_of_vjp(f, loss, x, w, g):
    return jax.vjp(partial(vjp, f, loss), x, w, g)[1](squared((x, w)))


def forward_over_reverse(f, loss, x, w, g):
    return jax.jvp(jax.grad(loss, (0, 1)), (x, w), squared((x, w)))


def reverse_over_reverse(f, loss, x, w, g):
    def along(x, w):
        return inner(jax.grad(loss, (0, 1))(x, w), squared((x, w)))

    return jax.grad(along, (0, 1))(x, w)


def reverse_over_forward(f, loss, x, w, g):
    return jax.grad(lambda x, w: jax.jvp(loss, (x, w), squared((x, w)))[1], (0, 1))(x, w)


def gradient_penalty(f, loss, x, w, g):
    return jax.grad(lambda w: penalty(jax.grad(loss)(x, w)))(w)


def penalty_of_both(f, loss, x, w, g):
    return jax.grad(lambda x, w: penalty(jax.grad(loss, (0, 1))(x, w)), (0, 1))(x, w)


def meta_learning(f, loss, x, w, g):
    def adapted(w):
        return loss(x, jax.tree.map(jnp.subtract, w, jax.grad(loss, 1)(x, w)))

    return jax.grad(adapted)(w)


def third_derivative(f, loss, x, w, g):
    def second(x, w):
        return penalty(jax.grad(lambda x: penalty(jax.grad(loss, 1)(x, w)))(x))

    return jax.grad(second, 1)(x, w)


def derivative_of_the_penalty(f, loss, x, w, g):
    gradients = jax.grad(lambda x, w: penalty(jax.grad(loss)(x, w)), (0, 1))
    return jax.jvp(gradients, (x, w), squared((x, w)))


def rematerialised(f, loss, x, w, g):
    return penalty_of_both(f, jax.checkpoint(loss), x, w, g)


def per_example(f, loss, x, w, g):
    return jax.vmap(lambda x: jax.grad(loss, (0, 1))(x[None], w))(x)


# The number of convolutions of each program, of a single layer with `tanh` behind it; None where
# the oracle alone knows it.
PROGRAMS = {
    forward: 1,
    gradient_to_input: 2,
    gradient_to_kernel: 2,
    both_gradients: 3,
    vjp: 2,
    vjp_to_kernel: 1,
    vjp_to_input: 1,
    jvp: 3,
    jvp_of_vjp: 6,
    vjp_of_vjp: 4,
    forward_over_reverse: 9,
    reverse_over_reverse: 9,
    reverse_over_forward: 9,
    gradient_penalty: 5,
    penalty_of_both: 9,
    meta_learning: None,
    third_derivative: None,
    derivative_of_the_penalty: None,
    rematerialised: None,
    per_example: 3,
}
programs = st.sampled_from(list(PROGRAMS))
activations = st.sampled_from([jnp.tanh, jnp.sin])


def one_layer(drawn, program, activation):
    layer, x, w = drawn
    f = partial(convolution, layer=layer)
    x, w = array(x), array(w)
    fn = partial(program, f, lambda x, w: activation(f(x, w)).sum())
    g = array(jax.eval_shape(f, x, w).shape)
    return fn, (x, w, g), [oracle.layer(f, x, w)]


def convolutions_are_counted(drawn, program, activation):
    fn, args, layers = one_layer(drawn, program, activation)
    count = the_counts_agree(fn, *args, layers=layers)
    assert PROGRAMS[program] in (None, count.convolutions)


@quickly(max_examples=60)
@given(drawn_layers(), programs, activations)
def test_convolutions_and_their_derivatives(drawn, program, activation):
    convolutions_are_counted(drawn, program, activation)


@pytest.mark.slow
@at_length
@given(drawn_layers(), programs, activations)
def test_many_convolutions_and_their_derivatives(drawn, program, activation):
    convolutions_are_counted(drawn, program, activation)


@st.composite
def drawn_networks(draw):
    """Two convolutions, the second one of the first one's outputs."""
    first, x, w = draw(drawn_layers(layouts=["last"]))
    between = jax.eval_shape(partial(convolution, layer=first), array(x), array(w)).shape
    second, _, v = draw(drawn_layers(between, ["last"]))
    return (first, second), x, (w, v)


def two_layers(drawn, program, activation):
    (first, second), x, kernels = drawn
    x, kernels = array(x), tuple(map(array, kernels))

    def f(x, kernels):
        hidden = activation(convolution(x, kernels[0], first))
        return convolution(hidden, kernels[1], second)

    hidden = np.asarray(jax.eval_shape(partial(convolution, layer=first), x, kernels[0]).shape)
    layers = [
        oracle.layer(partial(convolution, layer=first), x, kernels[0]),
        oracle.layer(partial(convolution, layer=second), array(hidden), kernels[1]),
    ]
    assume(layers[0][0] != layers[1][0])
    g = array(jax.eval_shape(f, x, kernels).shape)
    fn = partial(program, f, lambda x, w: activation(f(x, w)).sum())
    return fn, (x, kernels, g), layers


def networks_are_counted(drawn, program, activation):
    fn, args, layers = two_layers(drawn, program, activation)
    the_counts_agree(fn, *args, layers=layers)


@quickly(max_examples=24)
@given(drawn_networks(), programs, activations)
def test_networks_of_two_convolutions(drawn, program, activation):
    networks_are_counted(drawn, program, activation)


@pytest.mark.slow
@at_length
@given(drawn_networks(), programs, activations)
def test_many_networks_of_two_convolutions(drawn, program, activation):
    networks_are_counted(drawn, program, activation)


def several_kernels(drawn, program, on_each):
    """A program vmapped over kernels, and over inputs too, as ensembles are."""
    layer, x, w = drawn
    f = partial(convolution, layer=layer)
    x, w = array((2, *x) if on_each else x), array((2, *w))
    axes = (0 if on_each else None, 0)
    g = array(jax.eval_shape(jax.vmap(f, axes), x, w).shape)
    fn = jax.vmap(partial(program, f, lambda x, w: jnp.tanh(f(x, w)).sum()), (*axes, 0))
    return fn, (x, w, g), [oracle.layer(jax.vmap(f, axes), x, w)]


def a_loop(drawn, program, length):
    """A program of a convolution whose outputs are its inputs again, several times."""
    layer, x, w = drawn
    layer = layer | {"transposed": False, "padding": "SAME", "strides": [1] * (len(x) - 2)}
    layer = layer | {"channels": "last", "groups": 1}
    f = partial(convolution, layer=layer)
    x, w = array(x), array((length, *w[:-2], x[-1], x[-1]))

    def looped(x, w):
        return lax.scan(lambda x, w: (jnp.tanh(f(x, w)), None), x, w)[0]

    fn = partial(program, looped, lambda x, w: looped(x, w).sum())
    return fn, (x, w, array(x.shape)), [oracle.layer(f, x, w[0])]


def repeated_convolutions_are_counted(drawn, program, repetition):
    fn, args, layers = repetition(drawn, program)
    the_counts_agree(fn, *args, layers=layers)


repetitions = st.sampled_from(
    [
        partial(several_kernels, on_each=False),
        partial(several_kernels, on_each=True),
        partial(a_loop, length=2),
        partial(a_loop, length=3),
    ]
)


@quickly(max_examples=24)
@given(drawn_layers(), programs, repetitions)
def test_convolutions_in_vmaps_and_scans(drawn, program, repetition):
    assume(program is not per_example)
    repeated_convolutions_are_counted(drawn, program, repetition)


@pytest.mark.slow
@at_length
@given(drawn_layers(), programs, repetitions)
def test_many_convolutions_in_vmaps_and_scans(drawn, program, repetition):
    assume(program is not per_example)
    repeated_convolutions_are_counted(drawn, program, repetition)


# Products


@st.composite
def drawn_products(draw):
    """An einsum of two operands, with the sizes of its axes."""
    letters = "abcde"
    sizes = {letter: draw(st.integers(1, 3)) for letter in letters}
    left, right = (
        "".join(draw(st.lists(st.sampled_from(letters), min_size=1, max_size=4, unique=True)))
        for _ in range(2)
    )
    both = sorted(set(left + right))
    out = "".join(draw(st.lists(st.sampled_from(both), max_size=4, unique=True)))
    shapes = [tuple(sizes[letter] for letter in term) for term in (left, right)]
    return f"{left},{right}->{out}", *shapes


def products_are_counted(drawn, program):
    equation, x, w = drawn
    f = partial(jnp.einsum, equation)
    x, w = array(x), array(w)
    fn = partial(program, f, lambda x, w: jnp.tanh(f(x, w)).sum())
    the_counts_agree(fn, x, w, array(jax.eval_shape(f, x, w).shape))


@quickly(max_examples=48)
@given(drawn_products(), programs)
def test_products_and_their_derivatives(drawn, program):
    assume(program is not per_example)
    products_are_counted(drawn, program)


@pytest.mark.slow
@at_length
@given(drawn_products(), programs)
def test_many_products_and_their_derivatives(drawn, program):
    assume(program is not per_example)
    products_are_counted(drawn, program)


def test_complex_products_take_four_multiplications_and_four_additions():
    x, w = array((3, 4), np.complex64), array((4, 5), np.complex64)
    count = the_counts_agree(jnp.matmul, x, w)
    assert count.operations == 8 * 3 * 4 * 5


def test_complex_convolutions_take_four_multiplications_and_four_additions():
    layer = {
        "channels": "last",
        "transposed": False,
        "strides": [2],
        "padding": "SAME",
        "dilation": [1],
        "groups": 1,
    }
    f = partial(convolution, layer=layer)
    x, w = array((2, 6, 2), np.complex64), array((3, 2, 4), np.complex64)
    count = the_counts_agree(f, x, w, layers=[oracle.layer(f, x, w)])
    assert count.operations == 8 * 2 * 3 * 3 * 2 * 4


# Control flow


@jax.custom_jvp
def softer(x):
    return jnp.tanh(x) * x


@softer.defjvp
def _softer_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return softer(x), jnp.cos(x) * dx


@jax.custom_vjp
def clipped(x):
    return jnp.sin(x)


clipped.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


def in_turn(first, second):
    return lambda x, w: second(first(x, w), w)


def scanned(body, other, length=3):
    def fn(x, w):
        end, sums = lax.scan(lambda c, w: (body(c, w), c.sum()), x, jnp.stack([w] * length))
        return end * sums.sum()

    return fn


def looped(body, other):
    return lambda x, w: lax.fori_loop(0, 2, lambda i, c: body(c, w), x)


def chosen(body, other):
    """One branch has all that the other one has, so that either measure calls it the dearer."""
    return lambda x, w: lax.cond(x.sum() > w.sum(), body, in_turn(body, other), x, w)


def switched(body, other):
    branches = [in_turn(in_turn(body, other), body), body, in_turn(body, other)]

    def fn(x, w):
        which = (x.sum() > 0).astype(int) + (w.sum() > 0)
        return lax.switch(which, branches, x, w)

    return fn


def vmapped(body, other):
    return lambda x, w: jax.vmap(body, (0, None))(jnp.stack([x, other(x, w)]), w).sum(0)


def differentiated(body, other):
    return lambda x, w: jax.grad(lambda x: body(x, w).sum())(other(x, w))


def checkpointed(body, other):
    return jax.grad(lambda x, w: jax.checkpoint(body)(jnp.sin(x), w).sum())


def jitted(body, other):
    return lambda x, w: jax.jit(body)(x, w) - other(x, w)


STEPS = {
    "product": lambda x, w: x @ w,
    "transposed product": lambda x, w: w.T @ x,
    "tanh": lambda x, w: jnp.tanh(x),
    "sum of the rows": lambda x, w: x - w.sum(0),
    "custom jvp": lambda x, w: softer(x),
    "custom vjp": lambda x, w: clipped(x),
}
WRAPPERS = [
    in_turn,
    scanned,
    looped,
    chosen,
    switched,
    vmapped,
    differentiated,
    checkpointed,
    jitted,
]
steps = st.recursive(
    st.sampled_from(sorted(STEPS)),
    lambda inner: st.tuples(st.sampled_from(WRAPPERS), inner, inner),
    max_leaves=5,
)


def built(step):
    if isinstance(step, str):
        return STEPS[step]
    wrapper, first, second = step
    return wrapper(built(first), built(second))


def control_flow_is_counted(step):
    the_counts_agree(built(step), array((2, 2)), array((2, 2)) / 2)


@quickly(max_examples=72)
@given(steps)
def test_loops_and_branches_and_transformations(step):
    control_flow_is_counted(step)


@pytest.mark.slow
@at_length
@given(steps)
def test_many_loops_and_branches_and_transformations(step):
    control_flow_is_counted(step)


def test_a_while_loop_counts_the_trips_that_it_makes():
    def fn(x, w, trips):
        def body(carry):
            return jnp.tanh(carry[0] @ w), carry[1] + 1

        with jax.named_scope("solver"):
            return lax.while_loop(lambda carry: carry[1] < trips, body, (x, 0))[0]

    x, w = array((2, 3)), array((3, 3))
    count = the_counts_agree(fn, x, w, 5, trip_counts={"solver/while": 5})
    assert count.macs == 5 * 2 * 3 * 3


# Sums, windows, sorts, transforms

RUNNING = [lax.cumsum, lax.cumprod, lax.cummax, lax.cummin, lax.cumlogsumexp]
SUMS = [jnp.sum, jnp.prod, jnp.max, jnp.min]
NORMS = [jnp.mean, jax.nn.logsumexp, jax.nn.softmax, jnp.var]


@st.composite
def drawn_reductions(draw):
    """A function along an axis of an array, and the shape of the array."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    axis = draw(st.integers(0, len(shape) - 1))
    name = draw(
        st.sampled_from(["running", "sum", "sum of all", "norm", "scan", "sort", "argsort"])
    )
    if name == "running":
        reverse = draw(st.booleans())
        return partial(draw(st.sampled_from(RUNNING)), axis=axis, reverse=reverse), shape
    if name in ("sort", "argsort"):
        length = draw(st.sampled_from([2, 4, 8]))
        shape = (*shape[:axis], length, *shape[axis + 1 :])
        return partial({"sort": jnp.sort, "argsort": jnp.argsort}[name], axis=axis), shape
    if name == "scan":
        return partial(lax.associative_scan, jnp.add, axis=axis), shape
    if name == "sum of all":
        return draw(st.sampled_from(SUMS)), shape
    return partial(draw(st.sampled_from(SUMS if name == "sum" else NORMS)), axis=axis), shape


def reductions_are_counted(drawn):
    fn, shape = drawn
    the_counts_agree(fn, array(shape))


@quickly(max_examples=48)
@given(drawn_reductions())
def test_sums_and_running_sums_and_sorts(drawn):
    reductions_are_counted(drawn)


@pytest.mark.slow
@at_length
@given(drawn_reductions())
def test_many_sums_and_running_sums_and_sorts(drawn):
    reductions_are_counted(drawn)


def pooled(x, layer):
    neutral, combine = layer["of"]
    return lax.reduce_window(
        x,
        neutral,
        combine,
        layer["window"],
        layer["strides"],
        layer["padding"],
        window_dilation=layer["dilation"],
    )


@st.composite
def drawn_windows(draw):
    rank = draw(st.integers(1, 3))
    per_axis = partial(st.lists, min_size=rank, max_size=rank)
    shape = draw(per_axis(st.integers(1, 6)))
    layer = {
        "of": draw(st.sampled_from([(0.0, lax.add), (-np.inf, lax.max), (np.inf, lax.min)])),
        "window": draw(per_axis(st.integers(1, 3))),
        "strides": draw(per_axis(st.integers(1, 3))),
        "dilation": draw(per_axis(st.sampled_from([1, 1, 2]))),
        "padding": draw(st.sampled_from(["SAME", "VALID"])),
    }
    reach = [(k - 1) * d + 1 for k, d in zip(layer["window"], layer["dilation"], strict=True)]
    assume(layer["padding"] == "SAME" or all(r <= n for r, n in zip(reach, shape, strict=True)))
    return layer, tuple(shape)


def windows_are_counted(drawn, with_gradient):
    layer, shape = drawn
    fn, x = partial(pooled, layer=layer), array(shape)
    if not with_gradient:
        the_counts_agree(fn, x)
        return
    # The gradient of a sum is a sum over windows with holes, which have no accepted count, and
    # dilated windows of a maximum have no gradient.
    assume(layer["of"][1] is not lax.add and set(layer["dilation"]) == {1})
    the_counts_agree(lambda x, g: jax.vjp(fn, x)[1](g), x, array(jax.eval_shape(fn, x).shape))


@quickly(max_examples=48)
@given(drawn_windows(), st.booleans())
def test_windows_and_their_gradients(drawn, with_gradient):
    windows_are_counted(drawn, with_gradient)


@pytest.mark.slow
@at_length
@given(drawn_windows(), st.booleans())
def test_many_windows_and_their_gradients(drawn, with_gradient):
    windows_are_counted(drawn, with_gradient)


TRANSFORMS = {
    "fft": (jnp.fft.fft, jnp.fft.fft2, jnp.fft.fftn),
    "ifft": (jnp.fft.ifft, jnp.fft.ifft2, jnp.fft.ifftn),
    "rfft": (jnp.fft.rfft, jnp.fft.rfft2, jnp.fft.rfftn),
    "irfft": (jnp.fft.irfft, jnp.fft.irfft2, jnp.fft.irfftn),
}


@st.composite
def drawn_transforms(draw):
    axes = draw(st.integers(1, 3))
    name = draw(st.sampled_from(sorted(TRANSFORMS)))
    sizes = [2, 4, 8] if name == "irfft" else [2, 3, 4, 6, 8]
    lengths = draw(st.lists(st.sampled_from(sizes), min_size=axes, max_size=axes))
    batch = draw(st.lists(st.integers(1, 3), max_size=1)) if axes < 3 else []
    return name, axes, (*batch, *lengths)


def transforms_are_counted(drawn):
    name, axes, shape = drawn
    fn = TRANSFORMS[name][axes - 1]
    dtype = np.float32 if name == "rfft" else np.complex64
    the_counts_agree(fn, array(shape, dtype))


@quickly(max_examples=36)
@given(drawn_transforms())
def test_transforms(drawn):
    transforms_are_counted(drawn)


@pytest.mark.slow
@at_length
@given(drawn_transforms())
def test_many_transforms(drawn):
    transforms_are_counted(drawn)
