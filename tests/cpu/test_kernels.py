"""Each kernel computes what XLA computes, whatever the shapes, and so do all its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxeff import cpu
from jaxeff.cpu import onednn


def _both(kernels, name, function, *arguments):
    """Results of `function` with the kernel `name` and without, which lower to two programs."""
    results, programs = [], []
    for names in ((name,), ()):
        kernels(*names)
        # A function of its own each time: JAX remembers what it has compiled.
        lowered = jax.jit(lambda *arguments: function(*arguments)).lower(*arguments)
        programs.append(lowered.as_text())
        results.append(jax.tree.leaves(lowered.compile()(*arguments)))
    return results, programs[0] != programs[1]


def _assert_close(got, expected):
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.dtype == theirs.dtype
        ours, theirs = np.asarray(ours, np.float32), np.asarray(theirs, np.float32)
        scale = max(np.abs(theirs).max(), 1e-6)
        tolerance = 2e-5 if got[0].dtype == jnp.float32 else 2e-2
        np.testing.assert_allclose(ours / scale, theirs / scale, rtol=0, atol=tolerance)


def _normal(rng, shape, dtype):
    return jnp.asarray(rng.standard_normal(shape), dtype)


def _value_and_gradients(function):
    """`function`, its gradients along a fixed direction, and the derivative of those."""

    def gradients(*arrays):
        value, pull = jax.vjp(function, *arrays)
        direction = jnp.cos(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape)
        return value, *pull(direction.astype(value.dtype))

    def everything(*arrays):
        tangents = tuple(jnp.flip(array) for array in arrays)
        return jax.jvp(gradients, arrays, tangents)

    return everything


def _random_convolution(seed):
    """Operands' shapes and parameters of a convolution that `lax` accepts, with groups or not."""
    rng = np.random.default_rng(seed)
    while True:
        groups, batch_groups = (int(n) for n in rng.choice([1, 1, 2, 3, 6], 2))
        if min(groups, batch_groups) > 1:
            continue
        size, window = rng.integers(1, 8, 2), rng.integers(1, 5, 2)
        strides, lhs_dilation, rhs_dilation = (rng.choice([1, 1, 2, 3], 2) for _ in range(3))
        padding = rng.integers(-1, 4, (2, 2))
        spread = (size - 1) * lhs_dilation + 1 + padding.sum(1)
        if (spread < (window - 1) * rhs_dilation + 1).any():
            continue
        many = int(rng.choice([1, 2, 4]))
        parameters = {
            "window_strides": tuple(map(int, strides)),
            "padding": [tuple(map(int, sides)) for sides in padding],
            "lhs_dilation": tuple(map(int, lhs_dilation)),
            "rhs_dilation": tuple(map(int, rhs_dilation)),
            "feature_group_count": groups,
            "batch_group_count": batch_groups,
        }
        channels, features = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        lhs = {"N": batch_groups * many, "C": groups * channels, "H": size[0], "W": size[1]}
        rhs = {"I": channels, "O": groups * batch_groups * features, "H": window[0], "W": window[1]}
        orders = [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("CHWN", "IHWO", "HNWC")]
        order = orders[rng.integers(len(orders))]
        lhs_shape, rhs_shape = (
            [int(sizes[axis]) for axis in spec]
            for sizes, spec in ((lhs, order[0]), (rhs, order[1]))
        )
        return (lhs_shape, rhs_shape), {**parameters, "dimension_numbers": order}


CONVOLUTION_KERNELS = ("grouped_convolution", "window_beyond_image")


@pytest.mark.parametrize("name", CONVOLUTION_KERNELS)
def test_random_convolutions_and_their_derivatives_are_xlas(kernels, name):
    """Strides, dilations, groups, negative padding, three layouts; first and second derivatives."""
    if name == "grouped_convolution" and not onednn.available():
        pytest.skip("this jaxlib does not carry oneDNN, or not for this processor")
    replaced = 0
    for seed in range(16):
        shapes, parameters = _random_convolution(seed)
        rng = np.random.default_rng(seed)
        operands = [_normal(rng, shape, jnp.float32) for shape in shapes]

        def convolve(lhs, rhs, parameters=parameters):
            return lax.conv_general_dilated(lhs, rhs, **parameters)

        results, differ = _both(kernels, name, _value_and_gradients(convolve), *operands)
        _assert_close(*results)
        replaced += differ
    assert replaced >= 4, "some programs must have used the kernel"


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVOLUTION_KERNELS)
def test_three_hundred_more_random_convolutions(kernels, name):
    """`pytest -m slow tests/cpu`."""
    for seed in range(100, 400):
        shapes, parameters = _random_convolution(seed)
        rng = np.random.default_rng(seed)
        operands = [_normal(rng, shape, jnp.float32) for shape in shapes]

        def convolve(lhs, rhs, parameters=parameters):
            return lax.conv_general_dilated(lhs, rhs, **parameters)

        results, _ = _both(kernels, name, _value_and_gradients(convolve), *operands)
        _assert_close(*results)


def _depthwise(images, kernel):
    return lax.conv_general_dilated(
        images,
        kernel,
        (2, 2),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=images.shape[-1],
    )


def test_bfloat16_rounds_and_no_more(kernels):
    rng = np.random.default_rng(0)
    operands = [_normal(rng, shape, jnp.bfloat16) for shape in ((2, 9, 8, 16), (3, 3, 1, 16))]
    results, _ = _both(
        kernels, "grouped_convolution", jax.grad(lambda *a: _depthwise(*a).sum(), (0, 1)), *operands
    )
    _assert_close(*results)


@pytest.mark.parametrize("shape", [(16, 8, 8, 12), (6, 5, 7, 3), (64, 3, 2), (1, 4, 4, 2)])
def test_sums_over_all_but_the_channels_are_xlas(kernels, shape):
    array = _normal(np.random.default_rng(0), shape, jnp.float32)

    def sums(array):
        return jnp.square(array).sum(tuple(range(array.ndim - 1)))

    results, differ = _both(kernels, "channel_sum", _value_and_gradients(sums), array)
    assert differ
    _assert_close(*results)


@pytest.mark.parametrize(
    ("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 3, 0), (2, 3, 1), (3, 1, 1)]
)
def test_the_gradient_of_max_pooling_is_xlas(kernels, window, stride, padding):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 9, (2, 9, 8, 3)), jnp.float32)  # With equals in it.

    def pool(images):
        sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        return lax.reduce_window(
            images, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), sides
        )

    def gradient(images):
        value, pull = jax.vjp(pool, images)
        return pull(jnp.cos(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape))

    results, differ = _both(kernels, "max_pool_gradient", gradient, images)
    assert differ
    _assert_close(*results)


@pytest.mark.parametrize(
    "function",
    [
        lambda: lax.conv(
            jnp.ones((1, 2, 5, 5), jnp.int32), jnp.ones((3, 2, 2, 2), jnp.int32), (1, 1), "SAME"
        ),
        lambda: lax.conv_general_dilated(
            jnp.ones((1, 4, 5, 5, 5)),
            jnp.ones((4, 1, 2, 2, 2)),
            (1,) * 3,
            "SAME",
            feature_group_count=4,
        ),
        lambda: jnp.ones((4, 5, 6), jnp.int32).sum((0, 1)),
        lambda: jnp.ones((0, 5, 6)).sum((0, 1)),
        lambda: jax.vmap(_depthwise)(jnp.ones((2, 3, 8, 8, 4)), jnp.ones((2, 3, 3, 1, 4))),
    ],
)
def test_what_no_kernel_is_for_is_left_to_xla_or_computed_rightly(kernels, function):
    got = jax.jit(lambda: function())
    kernels(*cpu.NAMES)
    ours = got()
    kernels()
    np.testing.assert_allclose(ours, jax.jit(lambda: function())(), rtol=1e-5)


def test_a_count_is_lowered_for_tpu_and_sees_no_kernel(kernels):
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, 9, 8, 16), (3, 3, 1, 16))]

    def lowered(platform):
        step = jax.grad(lambda *a: _depthwise(*a).sum(), (0, 1))
        return jax.jit(step).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()

    plain = lowered("tpu")
    kernels(*cpu.NAMES)
    assert lowered("tpu") == plain
    if onednn.available():
        assert "onednn" in lowered("cpu")


def test_a_wide_result_is_not_compiled_pixel_by_pixel(kernels):
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, 1, 400, 3), (3, 3, 3, 4))]

    def convolve(images, kernel):
        return lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    kernels("window_beyond_image")
    assert "dot_general" not in jax.jit(convolve).lower(*shapes).as_text()
