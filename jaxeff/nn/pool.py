"""Pooling in the form that each backend runs fastest."""

import functools

import jax
import jax.numpy as jnp

from jaxeff.nn import forms
from jaxeff.nn.conv import shifted_views


def max_pool(
    images: jax.Array, window: int, stride: int, padding: int = 0, ceil_mode: bool = False
) -> jax.Array:
    """The largest value under a square window, as PyTorch's `max_pool2d`.

    Args:
      images: `[N, H, W, C]`, floating point.
      window: side of the window in pixels.
      stride: step in pixels.
      padding: pixels of minus infinity on each side.
      ceil_mode: a last window that reaches beyond the padding counts too, if it starts on the image
        or on the padding before it.

    Returns:
      `[N, H', W', C]` with `H' = (H + 2 * padding - window) // stride + 1`, or one more with
      `ceil_mode` where the division leaves a rest.
    """
    form = {"window": window, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    return forms.by_platform(
        images,
        cpu=functools.partial(_max_of_shifted_views, **form),
        native=functools.partial(_native_max_pool, **form),
    )


def _native_max_pool(images, *, window, stride, padding, ceil_mode=False):
    return jax.lax.reduce_window(
        images,
        -jnp.inf,
        jax.lax.max,
        (1, window, window, 1),
        (1, stride, stride, 1),
        _rims(images, window, stride, padding, ceil_mode),
    )


def _max_of_shifted_views(images, *, window, stride, padding, ceil_mode):
    rims = _rims(images, window, stride, padding, ceil_mode)
    padded = jnp.pad(images, rims, constant_values=-jnp.inf)
    return functools.reduce(_first_of_largest, shifted_views(padded, (window,) * 2, (stride,) * 2))


def _first_of_largest(largest, view):
    """The larger value, and of equal ones the first, which alone gets the gradient, as natively."""
    return jnp.where((view > largest) | jnp.isnan(view), view, largest)


def _rims(images, window, stride, padding, ceil_mode):
    """Pixels of padding before and after each of the four axes."""

    def rim(length):
        if not ceil_mode:
            return padding, padding
        last = -(-(length + 2 * padding - window) // stride) * stride
        if last >= length + padding:
            last -= stride
        return padding, max(padding, last + window - length - padding)

    return (0, 0), rim(images.shape[1]), rim(images.shape[2]), (0, 0)


def average_pool(images: jax.Array, window: int, stride: int, padding: int = 0) -> jax.Array:
    """The mean under a square window, as PyTorch's `avg_pool2d`.

    Padding zeros count as pixels of the window (`count_include_pad`). Sums are float32 at least.

    Args:
      images: `[N, H, W, C]`, floating point.
      window: side of the window in pixels.
      stride: step in pixels.
      padding: pixels of zero on each side.

    Returns:
      `[N, H', W', C]` with `H' = (H + 2 * padding - window) // stride + 1`, of the dtype of
      `images`.
    """
    form = {"window": window, "stride": stride, "padding": padding}
    sums = forms.by_platform(
        images.astype(jnp.promote_types(images.dtype, jnp.float32)),
        cpu=functools.partial(_sum_of_shifted_views, **form),
        native=functools.partial(_native_sum_pool, **form),
    )
    return (sums / window**2).astype(images.dtype)


def _native_sum_pool(images, *, window, stride, padding):
    return jax.lax.reduce_window(
        images,
        0.0,
        jax.lax.add,
        (1, window, window, 1),
        (1, stride, stride, 1),
        ((0, 0), (padding, padding), (padding, padding), (0, 0)),
    )


def _sum_of_shifted_views(images, *, window, stride, padding):
    return sum(shifted_views(images, (window,) * 2, (stride,) * 2, (padding,) * 2))


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
