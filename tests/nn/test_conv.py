import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeff.nn import Conv, Dense

# images [N, H, W, C], features, window, strides, padding, groups
LAYERS = {
    "pointwise": ((2, 8, 8, 12), 20, 1, 1, 0, 1),
    "pointwise grouped": ((2, 8, 8, 12), 18, 1, 1, 0, 3),
    "depthwise strided": ((2, 9, 9, 12), 12, 3, 2, 1, 12),
    "dense": ((2, 8, 8, 6), 10, 3, 1, 1, 1),
    "stem": ((2, 19, 19, 3), 10, (7, 5), (3, 2), (2, 1), 1),
    "grouped": ((2, 8, 8, 12), 18, 3, 1, 1, 3),
    "one pixel": ((2, 1, 1, 6), 10, 3, 2, 1, 1),
    "steps larger than the window": ((2, 11, 11, 4), 6, 2, 3, 0, 1),
}


def _by_hand(images, kernel, bias, strides, padding, groups):
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
                out[:, r, c, f] = (window * kernel[..., f]).sum((1, 2, 3)) + bias[f]
    return out


def _pair(value):
    return (value, value) if isinstance(value, int) else value


@pytest.mark.parametrize("name", LAYERS)
def test_convolution_equals_sums_over_the_window(name):
    shape, features, window, strides, padding, groups = LAYERS[name]
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    layer = Conv(features, window, strides, padding, groups)
    variables = layer.init(jax.random.key(0), images)
    params = variables["params"]
    expected = _by_hand(
        images, params["kernel"], params["bias"], _pair(strides), _pair(padding), groups
    )
    np.testing.assert_allclose(layer.apply(variables, images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", [Conv(6, 3, dtype=jnp.bfloat16), Dense(6, dtype=jnp.bfloat16)])
def test_parameters_stay_float32_in_bfloat16(layer):
    images = jnp.ones((2, 5, 5, 4), jnp.bfloat16)
    variables = layer.init(jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert layer.apply(variables, images).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("layer", "kernel_shape", "fan_in"),
    [(Conv(256, 3, groups=2), (3, 3, 32, 256), 3 * 3 * 32), (Dense(900), (64, 900), 64)],
)
def test_default_initialisation_is_pytorchs(layer, kernel_shape, fan_in):
    params = layer.init(jax.random.key(0), jnp.zeros((1, 8, 8, 64)))["params"]
    bound = 1 / np.sqrt(fan_in)
    assert params["kernel"].shape == kernel_shape
    for values in params.values():
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.97 * bound
        assert abs(values.mean()) < bound * 5 / np.sqrt(values.size)
    np.testing.assert_allclose(params["kernel"].std(), bound / np.sqrt(3), rtol=0.02)


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="groups=3 must divide the 8 input"):
        Conv(6, 3, groups=3).init(jax.random.key(0), jnp.zeros((1, 8, 8, 8)))
