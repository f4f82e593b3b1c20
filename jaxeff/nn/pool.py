"""Pooling in the form that each backend runs fastest."""

import functools

import jax
import jax.numpy as jnp

from jaxeff.nn import forms
from jaxeff.nn.apart import apart
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
        cpu=_max_of_shifted_views(images.shape[1:3], window, stride, _rims(images.shape, **form)),
        native=functools.partial(_native_max_pool, **form),
    )


def _native_max_pool(images, *, window, stride, padding, ceil_mode=False):
    return jax.lax.reduce_window(
        images,
        -jnp.inf,
        jax.lax.max,
        (1, window, window, 1),
        (1, stride, stride, 1),
        _rims(images.shape, window, stride, padding, ceil_mode),
    )


@functools.cache
def _max_of_shifted_views(size, window, stride, rims):
    """Max pooling that remembers which pixel of the window was the largest.

    The gradient is then put together by residue of the pixels' positions, each from the windows
    that can have chosen them, without a sum of `window ** 2` pictures that are mostly zero.
    """

    index_dtype = jnp.uint8 if window**2 <= 256 else jnp.int32

    def views(images):
        padded = jnp.pad(images, rims, constant_values=-jnp.inf)
        return shifted_views(padded, (window,) * 2, (stride,) * 2)

    @jax.custom_vjp
    def pool(images):
        return functools.reduce(lambda a, b: jnp.where(_exceeds(b, a), b, a), views(images))

    def forward(images):
        largest, *others = views(images)
        chosen = jnp.zeros(largest.shape, index_dtype)
        for position, view in enumerate(others, 1):
            better = _exceeds(view, largest)
            largest = jnp.where(better, view, largest)
            chosen = jnp.where(better, index_dtype(position), chosen)
        return largest, chosen

    def backward(chosen, gradient):
        def spread(chosen, gradient):
            def to_tap(position):
                return jnp.where(chosen == position, gradient, jnp.zeros((), gradient.dtype))

            return _to_pixels(to_tap, gradient.shape, size, window, stride, rims)

        return (apart(spread, chosen, gradient, after=gradient),)

    pool.defvjp(forward, backward)
    return pool


def _to_pixels(to_tap, pooled_shape, size, window, stride, rims):
    """Adds up, for each pixel, what the windows over it send to it.

    Args:
      to_tap: takes a position in the window, counted row by row, and returns what each window sends
        there, of `pooled_shape`.
      pooled_shape: `[N, H', W', C]`, of the result of pooling.
      size: `(H, W)` of the images.
      window: side of the window.
      stride: step.
      rims: padding before and after each of the four axes.

    Returns:
      `[N, H, W, C]`.
    """
    batch, *pooled_size, channels = pooled_shape
    lengths = [-(-(size[axis] + sum(rims[1 + axis])) // stride) for axis in (0, 1)]

    def part(first_row, first_column):
        total = None
        for row in range(first_row, window, stride):
            for column in range(first_column, window, stride):
                back = [
                    (tap // stride, length - pooled - tap // stride, 0)
                    for tap, length, pooled in zip((row, column), lengths, pooled_size, strict=True)
                ]
                sent = to_tap(row * window + column)
                zero = jnp.zeros((), sent.dtype)
                sent = jax.lax.pad(sent, zero, ((0, 0, 0), *back, (0, 0, 0)))
                total = sent if total is None else total + sent
        # A step beyond the window leaves pixels out.
        if total is None:
            total = jnp.zeros((batch, *lengths, channels), to_tap(0).dtype)
        return total

    # [N, rows, residue, columns, residue, C]
    parts = jnp.stack([jnp.stack([part(i, j) for j in range(stride)], 3) for i in range(stride)], 2)
    whole = parts.reshape(batch, *(length * stride for length in lengths), channels)
    top, left = rims[1][0], rims[2][0]
    return whole[:, top : top + size[0], left : left + size[1]]


def _exceeds(view, largest):
    """Of equal values the first counts, which alone gets the gradient, as natively."""
    return (view > largest) | jnp.isnan(view)


def _rims(shape, window, stride, padding, ceil_mode):
    """Pixels of padding before and after each of the four axes."""

    def rim(length):
        if not ceil_mode:
            return padding, padding
        last = -(-(length + 2 * padding - window) // stride) * stride
        if last >= length + padding:
            last -= stride
        return padding, max(padding, last + window - length - padding)

    return (0, 0), rim(shape[1]), rim(shape[2]), (0, 0)


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
        cpu=_sum_of_shifted_views(images.shape[1:3], **form),
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


@functools.cache
def _sum_of_shifted_views(size, window, stride, padding):
    """Sum pooling whose gradient is put together as that of max pooling."""
    rims = ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0))

    @jax.custom_vjp
    def pool(images):
        return sum(shifted_views(images, (window,) * 2, (stride,) * 2, (padding,) * 2))

    def backward(_, gradient):
        def spread(gradient):
            return _to_pixels(lambda _: gradient, gradient.shape, size, window, stride, rims)

        return (apart(spread, gradient, after=gradient),)

    pool.defvjp(lambda images: (pool(images), None), backward)
    return pool


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
