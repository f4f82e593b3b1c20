"""Convolutions that XLA's CPU backend computes slowly: grouped ones, and windows beyond the image.

A gradient of a convolution is a convolution with other dimension numbers, so each kernel first
brings its operands into one order: images `[N, H, W, C]`, kernels `[kh, kw, C, F]`.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxeff.cpu import onednn

# Each pixel of the result is a matrix product of its own, to be compiled.
MOST_PIXELS = 64


def choose_grouped(lhs, rhs, **params):
    """oneDNN for convolutions with groups: forward, to the images and to the kernel."""
    groups = max(params["feature_group_count"], params["batch_group_count"])
    if groups == 1 or not _is_two_dimensional(lhs, rhs, params) or not onednn.supports(lhs.dtype):
        return None
    return functools.partial(_in_usual_order, _grouped)


def choose_beyond_image(lhs, rhs, **params):
    """Matrix products for dense convolutions whose window is larger than the image.

    Such is a 3x3 window on 2x2 pixels, with padding around them. XLA's CPU backend has no fast
    convolution for it.
    """
    groups = max(params["feature_group_count"], params["batch_group_count"])
    if groups > 1 or not _is_two_dimensional(lhs, rhs, params):
        return None
    lhs_spec, rhs_spec, _ = params["dimension_numbers"]
    images = [lhs.shape[axis] for axis in lhs_spec[2:]]
    windows = [rhs.shape[axis] for axis in rhs_spec[2:]]
    if all(window <= image for image, window in zip(images, windows, strict=True)):
        return None
    if math.prod(_result_size(images, windows, params)) > MOST_PIXELS:
        return None
    return functools.partial(_in_usual_order, _products_by_pixel)


def _result_size(images, windows, params):
    """Rows and columns of the result."""
    settings = zip(
        images,
        windows,
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        strict=True,
    )
    return [
        ((size - 1) * image_step + sum(sides) - (window - 1) * window_step) // stride + 1
        for size, window, stride, sides, image_step, window_step in settings
    ]


def _is_two_dimensional(lhs, rhs, params):
    """Whether both operands are batches of images, of one floating-point dtype, as the result."""
    return (
        lhs.ndim == 4
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
        and params["preferred_element_type"] in (None, lhs.dtype)
    )


def _in_usual_order(convolve, lhs, rhs, *, dimension_numbers, **params):
    """`convolve` on images `[N, H, W, C]` and a kernel `[kh, kw, C, F]`."""
    (batch, channel, *rows_columns), (out, into, *window), (*out_spec,) = dimension_numbers
    images = lhs.transpose(batch, *rows_columns, channel)
    outputs = convolve(images, rhs.transpose(*window, into, out), **params)
    order = (out_spec[0], *out_spec[2:], out_spec[1])
    return outputs.transpose(np.argsort(order))


def _grouped(
    images,
    kernel,
    *,
    window_strides,
    padding,
    lhs_dilation,
    rhs_dilation,
    feature_group_count,
    batch_group_count,
    **_,
):
    """A convolution with groups of channels or, in the gradient to a kernel, of the batch."""
    if batch_group_count > 1:
        group_batch = images.shape[0] // batch_group_count
        images = images.reshape(batch_group_count, group_batch, *images.shape[1:])
        if _is_contraction(images, kernel, padding, window_strides, lhs_dilation, rhs_dilation):
            kernel = kernel.reshape(*kernel.shape[:3], batch_group_count, -1)
            outputs = jnp.einsum("gnhwc,hwcgf->ngf", images, kernel)
            return outputs.reshape(group_batch, 1, 1, -1)
        images = images.transpose(1, 2, 3, 0, 4)
    else:
        images = images.reshape(*images.shape[:3], feature_group_count, -1)
    # Now images [N, H, W, groups, C] and kernel [kh, kw, C, F].
    groups, channels = images.shape[3:]
    images, padding = _dilated(images, padding, lhs_dilation)
    kernel, _ = _dilated(kernel, ((0, 0), (0, 0)), rhs_dilation, first=0)
    convolve = functools.partial(onednn.convolution, strides=window_strides, padding=padding)
    flat = images.shape[:3]
    if batch_group_count > 1 and group_batch == 1 and kernel.shape[3] == groups:
        # oneDNN is fast where each channel is a group of its own: of a depthwise kernel's gradient
        # every image, which is a channel here, is one, and they are added up.
        outputs = convolve(
            images.swapaxes(3, 4).reshape(*flat, -1),
            kernel.reshape(*kernel.shape[:2], 1, -1),
            groups=groups * channels,
        )
        return outputs.reshape(*outputs.shape[:3], channels, groups).sum(3)
    return convolve(images.reshape(*flat, -1), kernel, groups=groups)


def _is_contraction(images, kernel, padding, *steps):
    """Whether the one window covers the whole image: the gradient to a 1x1 kernel."""
    return (
        images.shape[2:4] == kernel.shape[:2]
        and all(pixels == 0 for sides in padding for pixels in sides)
        and all(step == 1 for pair in steps for step in pair)
    )


def _dilated(array, padding, dilation, first=1):
    """`array` with zeros between its pixels, cut where padding is negative, and what is left of it.

    Args:
      array: rows and columns are the axes `first` and `first + 1`.
      padding: before and after, of rows and columns.
      dilation: pixels from one to the next, of rows and columns.
      first: an axis.
    """
    settings = [(0, 0, 0)] * array.ndim
    for axis in (0, 1):
        cut = [min(pixels, 0) for pixels in padding[axis]]
        settings[first + axis] = (*cut, dilation[axis] - 1)
    left = [[max(pixels, 0) for pixels in sides] for sides in padding]
    return jax.lax.pad(array, jnp.zeros((), array.dtype), settings), left


def _products_by_pixel(
    images, kernel, *, window_strides, padding, lhs_dilation, rhs_dilation, precision, **_
):
    """One matrix product for each pixel of the result, of what its window sees of the image."""
    reach = []
    for axis in (0, 1):
        size, window = images.shape[1 + axis], kernel.shape[axis]
        space = (size - 1) * lhs_dilation[axis] + 1 + sum(padding[axis])
        count = (space - (window - 1) * rhs_dilation[axis] - 1) // window_strides[axis] + 1
        starts = [i * window_strides[axis] - padding[axis][0] for i in range(count)]
        reach.append(
            [_met(start, size, window, lhs_dilation[axis], rhs_dilation[axis]) for start in starts]
        )
    batch, features = images.shape[0], kernel.shape[3]

    def pixel(row, column):
        (pixel_rows, tap_rows), (pixel_columns, tap_columns) = row, column
        seen = images[:, pixel_rows][:, :, pixel_columns].reshape(batch, -1)
        taps = kernel[tap_rows][:, tap_columns].reshape(-1, features)
        return jnp.matmul(seen, taps, precision=precision)

    rows = [jnp.stack([pixel(row, column) for column in reach[1]], 1) for row in reach[0]]
    return jnp.stack(rows, 1)


def _met(start, size, window, image_step, window_step):
    """The pixels of a line that a window from `start` on meets, and its taps that meet them.

    Both as slices. Pixel `i` lies at `i * image_step`, tap `t` at `start + t * window_step`.
    """
    pairs = [
        (position // image_step, tap)
        for tap in range(window)
        if (position := start + tap * window_step) % image_step == 0
        and 0 <= position <= (size - 1) * image_step
    ]
    return tuple(_as_slice([pair[side] for pair in pairs]) for side in (0, 1))


def _as_slice(numbers):
    """The slice that takes these evenly spaced numbers."""
    if not numbers:
        return slice(0, 0)
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    return slice(numbers[0], numbers[-1] + 1, step)
