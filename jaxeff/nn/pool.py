"""Pooling in the form that each backend runs fastest."""

import functools

import jax
import jax.numpy as jnp

from jaxeff.nn.conv import shifted_views


def max_pool(images: jax.Array, window: int, stride: int, padding: int = 0) -> jax.Array:
    """The largest value under a square window, as PyTorch's `max_pool2d`.

    Args:
      images: `[N, H, W, C]`, floating point.
      window: side of the window in pixels.
      stride: step in pixels.
      padding: pixels of minus infinity on each side.

    Returns:
      `[N, H', W', C]` with `H' = (H + 2 * padding - window) // stride + 1`.
    """
    form = {"window": window, "stride": stride, "padding": padding}
    return jax.lax.platform_dependent(
        images,
        cpu=functools.partial(_max_of_shifted_views, **form),
        default=functools.partial(_native_max_pool, **form),
    )


def _native_max_pool(images, *, window, stride, padding):
    return jax.lax.reduce_window(
        images,
        -jnp.inf,
        jax.lax.max,
        (1, window, window, 1),
        (1, stride, stride, 1),
        ((0, 0), (padding, padding), (padding, padding), (0, 0)),
    )


def _max_of_shifted_views(images, *, window, stride, padding):
    views = shifted_views(images, (window,) * 2, (stride,) * 2, (padding,) * 2, fill=-jnp.inf)
    return functools.reduce(jnp.maximum, views)


def adaptive_average_pool(images: jax.Array, size: int) -> jax.Array:
    """Averages to `size` by `size`, as PyTorch's `AdaptiveAvgPool2d`.

    Output row `i` averages the input rows from `floor(i * H / size)` up to
    `ceil((i + 1) * H / size)`; columns likewise. Inputs smaller than `size` are repeated.

    Args:
      images: `[N, H, W, C]`.
      size: rows and columns of the result.

    Returns:
      `[N, size, size, C]`.
    """
    return _adaptive_average(_adaptive_average(images, size, axis=1), size, axis=2)


def _adaptive_average(images, size, axis):
    length = images.shape[axis]
    if length == size:
        return images
    spans = [(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]
    means = [
        jax.lax.slice_in_dim(images, start, stop, axis=axis).mean(axis, keepdims=True)
        for start, stop in spans
    ]
    return jnp.concatenate(means, axis)


def global_average_pool(images: jax.Array) -> jax.Array:
    """Averages `[N, H, W, C]` over the picture to `[N, C]`."""
    return images.mean((1, 2))
