import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeff import nn
from jaxeff.nn import Conv, conv2d
from jaxeff.nn.native_conv import native_conv

pytestmark = pytest.mark.usefixtures("with_and_without_onednn")

# images [N, H, W, C], kernel [kh, kw, C / groups, F], strides, padding, groups
SHAPES = {
    "pointwise": ((2, 8, 8, 12), (1, 1, 12, 20), (1, 1), (0, 0), 1),
    "pointwise strided": ((2, 9, 9, 12), (1, 1, 12, 20), (2, 2), (0, 0), 1),
    "pointwise grouped": ((2, 8, 8, 12), (1, 1, 4, 18), (1, 1), (0, 0), 3),
    "depthwise": ((2, 8, 8, 12), (3, 3, 1, 12), (1, 1), (1, 1), 12),
    "depthwise strided": ((2, 9, 9, 12), (3, 3, 1, 12), (2, 2), (1, 1), 12),
    "dense": ((2, 8, 8, 6), (3, 3, 6, 10), (1, 1), (1, 1), 1),
    "stem": ((2, 19, 19, 3), (7, 5, 3, 10), (3, 2), (2, 1), 1),
    "grouped": ((2, 8, 8, 12), (3, 3, 4, 18), (1, 1), (1, 1), 3),
    "dense, large picture": ((1, 40, 40, 3), (3, 3, 3, 4), (2, 2), (1, 1), 1),
    "dense strided": ((2, 9, 8, 6), (3, 3, 6, 10), (2, 2), (1, 1), 1),
    "depthwise strided to one pixel": ((2, 2, 2, 128), (3, 3, 1, 128), (2, 2), (1, 1), 128),
    "one pixel": ((2, 1, 1, 6), (3, 3, 6, 10), (2, 2), (1, 1), 1),
    "pixels beyond the last window": ((2, 10, 11, 4), (3, 3, 1, 4), (3, 3), (0, 0), 4),
    "steps larger than the window": ((2, 11, 11, 4), (2, 2, 4, 6), (3, 3), (0, 0), 1),
}


def _arguments(name):
    images_shape, kernel_shape, strides, padding, groups = SHAPES[name]
    rng = np.random.default_rng(0)
    images = rng.standard_normal(images_shape).astype(np.float32)
    kernel = rng.standard_normal(kernel_shape).astype(np.float32)
    return images, kernel, {"strides": strides, "padding": padding, "groups": groups}


def _by_hand(images, kernel, *, strides, padding, groups):
    """Cross-correlation as nested sums over the window, in float64."""
    padded = np.pad(images, ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0))).astype(float)
    kh, kw, channels, features = kernel.shape
    rows = (padded.shape[1] - kh) // strides[0] + 1
    columns = (padded.shape[2] - kw) // strides[1] + 1
    out = np.zeros((len(images), rows, columns, features))
    for f in range(features):
        first = f // (features // groups) * channels
        for r in range(rows):
            for c in range(columns):
                top, left = r * strides[0], c * strides[1]
                window = padded[:, top : top + kh, left : left + kw, first : first + channels]
                out[:, r, c, f] = (window * kernel[..., f]).sum((1, 2, 3))
    return out


@pytest.mark.parametrize("name", SHAPES)
def test_convolution_equals_sums_over_the_window(name):
    images, kernel, form = _arguments(name)
    np.testing.assert_allclose(
        conv2d(images, kernel, **form), _by_hand(images, kernel, **form), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_equal_those_of_the_native_form(name):
    images, kernel, form = _arguments(name)

    def loss(convolve, images, kernel):
        return jnp.sin(convolve(images, kernel, **form)).sum()

    ours = jax.grad(functools.partial(loss, conv2d), (0, 1))(images, kernel)
    native = jax.grad(functools.partial(loss, native_conv), (0, 1))(images, kernel)
    for got, expected in zip(ours, native, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_bfloat16_rounds_values_and_gradients_and_no_more(name):
    images, kernel, form = _arguments(name)
    images, kernel = (jnp.asarray(array, jnp.bfloat16) for array in (images, kernel))

    def value_and_gradients(*arrays):
        value, back = jax.vjp(functools.partial(conv2d, **form), *arrays)
        return value, *back(jnp.ones_like(value))

    narrow = jax.jit(value_and_gradients)(images, kernel)
    wide = _native_value_and_gradients(images, kernel, form)
    for got, expected in zip(narrow, wide, strict=True):
        assert got.dtype == jnp.bfloat16
        error = np.abs(np.asarray(got, np.float32) - expected).max()
        assert error <= 0.02 * np.abs(expected).max()


def _native_value_and_gradients(images, kernel, form):
    convolve = functools.partial(native_conv, **form)
    value, back = jax.vjp(convolve, images.astype(jnp.float32), kernel.astype(jnp.float32))
    return value, *back(jnp.ones_like(value))


@pytest.mark.parametrize("name", SHAPES)
def test_the_cpu_form_does_not_move_the_canonical_count(name):
    images, kernel, form = _arguments(name)

    def flops(convolve):
        step = jax.grad(lambda images, kernel: convolve(images, kernel, **form).sum(), (0, 1))
        lowered = jax.jit(step).trace(images, kernel).lower(lowering_platforms=("tpu",))
        return lowered.cost_analysis()["flops"]

    assert flops(conv2d) == flops(native_conv)


def test_default_initialisation_is_pytorchs():
    layer = Conv(256, 3, groups=2)
    params = layer.init(jax.random.key(0), jnp.zeros((1, 8, 8, 64)))["params"]
    bound = 1 / np.sqrt(3 * 3 * 32)
    assert params["kernel"].shape == (3, 3, 32, 256)
    for values in params.values():
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.97 * bound
        assert abs(values.mean()) < bound * 5 / np.sqrt(values.size)
    np.testing.assert_allclose(params["kernel"].std(), bound / np.sqrt(3), rtol=0.02)


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="groups=3 must divide the 8 input"):
        Conv(6, 3, groups=3).init(jax.random.key(0), jnp.zeros((1, 8, 8, 8)))


def test_the_native_form_is_taken_inside_any_other_choice():
    images, kernel, form = _arguments("depthwise")

    def program():
        return str(jax.make_jaxpr(lambda *arrays: conv2d(*arrays, **form))(images, kernel))

    with nn.native_forms():
        native = program()
    with nn.forms_of_backend():
        of_cpu = program()
        with nn.native_forms():
            assert program() == native
    assert of_cpu != native
