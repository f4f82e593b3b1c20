import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeff.compute import xla_flops
from jaxeff.nn import adaptive_average_pool, max_pool
from jaxeff.nn.pool import average_pool


def _windows(size, window, stride, padding, pooled):
    """Where each of `pooled` windows begins and ends along a side of `size`."""
    starts = [i * stride - padding for i in range(pooled)]
    return [(max(start, 0), min(start + window, size)) for start in starts]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [(9, 3, 2, 1), (8, 2, 2, 0), (9, 2, 3, 0), (19, 17, 1, 0), (8, 3, 2, 0), (6, 3, 2, 1)],
)
def test_max_pool_and_its_gradient_are_the_largest_of_each_window(
    size, window, stride, padding, ceil_mode
):
    rng = np.random.default_rng(0)
    # Higher than wide, so that one side may round up and the other not.
    images = rng.permutation(2 * (size + 1) * size * 3).reshape(2, size + 1, size, 3) - 150.0
    images = images.astype(np.float32)
    pooled, back = jax.vjp(
        lambda images: max_pool(images, window, stride, padding, ceil_mode=ceil_mode), images
    )
    weights = rng.standard_normal(pooled.shape).astype(np.float32)
    rows = _windows(size + 1, window, stride, padding, pooled.shape[1])
    columns = _windows(size, window, stride, padding, pooled.shape[2])
    expected, gradient = np.zeros(pooled.shape), np.zeros(images.shape)
    for r, (top, bottom) in enumerate(rows):
        for c, (left, right) in enumerate(columns):
            part = images[:, top:bottom, left:right].reshape(2, -1, 3)
            expected[:, r, c] = part.max(1)
            chosen = part.argmax(1)
            for n in range(2):
                for channel in range(3):
                    row, column = divmod(chosen[n, channel], right - left)
                    gradient[n, top + row, left + column, channel] += weights[n, r, c, channel]
    np.testing.assert_array_equal(pooled, expected)
    np.testing.assert_allclose(back(weights)[0], gradient, rtol=1e-5, atol=1e-6)


# Sizes as `torch.nn.functional.max_pool2d(ceil_mode=True)` gives them.
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "pooled"),
    [
        (112, 3, 2, 0, 56),
        (111, 3, 2, 0, 55),
        (7, 2, 2, 0, 4),
        (2, 3, 2, 0, 1),
        (6, 3, 2, 1, 4),
        # Rounded up, the last window would start on the padding behind the image.
        (5, 2, 3, 1, 2),
        (7, 2, 2, 1, 4),
    ],
)
def test_ceil_mode_adds_a_window_only_if_it_starts_on_the_image(
    size, window, stride, padding, pooled
):
    images = jnp.arange(1.0, size + 1).reshape(1, size, 1, 1).repeat(size, axis=2)
    result = max_pool(images, window, stride, padding, ceil_mode=True)
    assert result.shape == (1, pooled, pooled, 1)
    ends = [min(i * stride - padding + window, size) for i in range(pooled)]
    np.testing.assert_array_equal(result[0, :, 0, 0], ends)


def test_of_equal_values_the_first_gets_the_gradient():
    gradient = jax.grad(lambda images: max_pool(images, 2, 2).sum())(jnp.ones((1, 4, 4, 1)))
    np.testing.assert_array_equal(gradient[0, :, :, 0], np.tile([[1, 0], [0, 0]], (2, 2)))


def test_a_value_that_is_no_number_is_not_hidden():
    images = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1, 0].set(jnp.nan)
    assert jnp.isnan(max_pool(images, 2, 2)[0, 0, 0, 0])


def test_max_pool_padding_never_wins():
    assert (max_pool(jnp.full((1, 4, 4, 1), -5.0), 3, 2, 1) == -5).all()


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"), [(8, 2, 2, 0), (7, 2, 2, 0), (7, 3, 2, 1)]
)
def test_average_pool_and_its_gradient_are_means_of_each_window(size, window, stride, padding):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, size, size, 3), np.float32)
    pooled, back = jax.vjp(lambda images: average_pool(images, window, stride, padding), images)
    weights = rng.standard_normal(pooled.shape).astype(np.float32)
    sides = _windows(size, window, stride, padding, pooled.shape[1])
    gradient = np.zeros(images.shape)
    for r, (top, bottom) in enumerate(sides):
        for c, (left, right) in enumerate(sides):
            mean = images[:, top:bottom, left:right].sum((1, 2)) / window**2
            np.testing.assert_allclose(pooled[:, r, c], mean, rtol=1e-4, atol=1e-6)
            gradient[:, top:bottom, left:right] += weights[:, r : r + 1, c : c + 1] / window**2
    np.testing.assert_allclose(back(weights)[0], gradient, rtol=1e-5, atol=1e-6)


def test_average_pool_counts_padding_zeros_as_pixels():
    pooled = average_pool(jnp.full((1, 4, 4, 1), 9.0), 3, 2, 1)
    np.testing.assert_allclose(pooled[0, :, :, 0], [[4.0, 6.0], [6.0, 9.0]])


def test_average_pool_sums_in_float32_whatever_the_dtype():
    images = jnp.array([256.0, 1.0, 1.0, 2.0], jnp.bfloat16).reshape(1, 2, 2, 1)
    pooled = average_pool(images, 2, 2)
    assert (pooled.dtype, float(pooled[0, 0, 0, 0])) == (jnp.bfloat16, 65.0)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_the_canonical_count_is_that_of_the_native_windows(ceil_mode):
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)

    def pool(images):
        return max_pool(images, 3, 2, ceil_mode=ceil_mode)

    side = 4 if ceil_mode else 3
    assert xla_flops(pool, images) == 2 * side**2 * 3 * (9 - 1)


def test_the_canonical_count_of_an_average_is_its_additions_and_one_division():
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    assert xla_flops(lambda images: average_pool(images, 2, 2), images) == 2 * 16 * 3 * (3 + 1)


def test_adaptive_average_pool_uses_pytorchs_windows():
    rows = jnp.arange(7.0).reshape(1, 7, 1, 1).repeat(7, axis=2)
    pooled = adaptive_average_pool(rows, 3)
    # Rows 0-2, 2-4 and 4-6: floor(7 i / 3) up to ceil(7 (i + 1) / 3).
    np.testing.assert_allclose(pooled[0, :, 0, 0], [1.0, 3.0, 5.0])


def test_adaptive_average_pool_repeats_what_is_smaller():
    np.testing.assert_allclose(adaptive_average_pool(jnp.full((1, 1, 1, 2), 4.0), 6), 4.0)
    assert adaptive_average_pool(jnp.zeros((1, 1, 1, 2)), 6).shape == (1, 6, 6, 2)
