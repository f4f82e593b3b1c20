"""Pooling, as PyTorch's functions of the same names do it."""

import jax
import jax.numpy as jnp


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

    def sides(length):
        if not ceil_mode:
            return padding, padding
        last = -(-(length + 2 * padding - window) // stride) * stride
        if last >= length + padding:
            last -= stride
        return padding, max(padding, last + window - length - padding)

    height, width = images.shape[1:3]
    return jax.lax.reduce_window(
        images,
        -jnp.inf,
        jax.lax.max,
        (1, window, window, 1),
        (1, stride, stride, 1),
        ((0, 0), sides(height), sides(width), (0, 0)),
    )


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
    sums = jax.lax.reduce_window(
        images.astype(jnp.promote_types(images.dtype, jnp.float32)),
        0.0,
        jax.lax.add,
        (1, window, window, 1),
        (1, stride, stride, 1),
        ((0, 0), (padding, padding), (padding, padding), (0, 0)),
    )
    return (sums / window**2).astype(images.dtype)


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
    """Averages `[N, H, W, C]` over the image to `[N, C]`."""
    return images.mean((1, 2))
