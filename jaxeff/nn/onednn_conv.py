"""Convolution and its gradients by oneDNN, which offers convolutions forward only.

The gradient to the images is a convolution of the output's gradient with the kernel turned round;
where the window moves by more than a pixel, each residue of the pixels' positions has one of its
own, with the taps that reach it. The gradient to the kernel is a convolution too: channels become
the batch, and the output's gradient the kernel.
"""

import functools

import jax
import jax.numpy as jnp

from jaxeff.nn import onednn
from jaxeff.nn.apart import apart

Pair = tuple[int, int]


@functools.cache
def convolve(strides: Pair, padding: Pair, groups: int):
    """The function of `[N, H, W, C]` and `[kh, kw, C / groups, F]`, differentiable in reverse.

    Args:
      strides: vertical and horizontal step.
      padding: zeros on both sides, vertically and horizontally.
      groups: channel groups that do not see each other.
    """

    @jax.custom_vjp
    def function(images, kernel):
        sides = [(zeros, zeros) for zeros in padding]
        return onednn.convolution(images, kernel, strides=strides, padding=sides, groups=groups)

    def forward(images, kernel):
        return function(images, kernel), (images, kernel)

    def backward(saved, gradient):
        images, kernel = saved
        to_images = _images_gradient(images.shape, kernel, gradient, strides, padding, groups)
        arguments = (images, kernel.shape, gradient, strides, padding)
        if groups == 1:
            return to_images, _dense_kernel_gradient(*arguments)
        return to_images, _grouped_kernel_gradient(*arguments, groups)

    function.defvjp(forward, backward)
    return function


def pointwise(images: jax.Array, kernel: jax.Array, *, strides: Pair) -> jax.Array:
    """A dense 1x1 convolution of every stride-th pixel, as a matrix product."""
    images = images[:, :: strides[0], :: strides[1]]
    outputs = product(images.reshape(-1, images.shape[-1]), kernel[0, 0])
    return outputs.reshape(*images.shape[:3], -1)


@jax.custom_vjp
def product(left: jax.Array, right: jax.Array) -> jax.Array:
    """`left @ right` of two matrices, both float32 or bfloat16, differentiable in reverse."""
    return onednn.matrix_product(left, right)


def _product_forward(left, right):
    return product(left, right), (left, right)


def _product_backward(saved, gradient):
    left, right = saved
    return (
        onednn.matrix_product(gradient, right, transpose_right=True),
        onednn.matrix_product(left, gradient, transpose_left=True),
    )


product.defvjp(_product_forward, _product_backward)


def _images_gradient(shape, kernel, gradient, strides, padding, groups):
    """The gradient `[N, H, W, C]` to images of `shape`, residue by residue of their positions.

    Row `i` of the images meets tap `t` of the kernel in row `(i + padding - t) / stride` of the
    output, where that is whole. For the rows `stride * l + first` these are the taps
    `start, start + stride, ...` with the rows `l + ahead, l + ahead - 1, ...`.
    """
    # oneDNN exchanges inputs and outputs of a dense kernel at less cost than XLA does.
    turned = kernel[::-1, ::-1] if groups == 1 else _turned(kernel, groups)
    lengths = [-(-shape[1 + axis] // strides[axis]) for axis in (0, 1)]

    def reach(axis, first):
        start = (first + padding[axis]) % strides[axis]
        ahead = (first + padding[axis] - start) // strides[axis]
        taps = len(range(start, kernel.shape[axis], strides[axis]))
        after = ahead + lengths[axis] - gradient.shape[1 + axis]
        # Of the turned kernel: its last tap is the first.
        last = kernel.shape[axis] - 1 - start
        chosen = slice(last - (taps - 1) * strides[axis], last + 1, strides[axis])
        return taps, chosen, (taps - 1 - ahead, after)

    def part(first_row, first_column):
        row_taps, rows, above_below = reach(0, first_row)
        column_taps, columns, beside = reach(1, first_column)
        if not (row_taps and column_taps):
            return jnp.zeros((shape[0], *lengths, shape[3]), gradient.dtype)
        return onednn.convolution(
            gradient,
            turned[rows, columns],
            padding=(above_below, beside),
            groups=groups,
            transpose_kernel=groups == 1,
        )

    if strides == (1, 1):
        return part(0, 0)
    # [N, rows, residue, columns, residue, C]
    parts = jnp.stack(
        [jnp.stack([part(i, j) for j in range(strides[1])], 3) for i in range(strides[0])], 2
    )
    whole = parts.reshape(shape[0], lengths[0] * strides[0], lengths[1] * strides[1], shape[3])
    return whole[:, : shape[1], : shape[2]]


def _turned(kernel, groups):
    """The kernel rotated by 180 degrees, from outputs to inputs: `[kh, kw, F / groups, C]`."""
    kh, kw, channels, features = kernel.shape
    parts = kernel[::-1, ::-1].reshape(kh, kw, channels, groups, features // groups)
    return parts.transpose(0, 1, 4, 3, 2).reshape(kh, kw, features // groups, groups * channels)


def _dense_kernel_gradient(images, kernel_shape, gradient, strides, padding):
    """The gradient `[kh, kw, C, F]` by XLA, as a convolution whose batch are the channels."""
    outputs = jax.lax.conv_general_dilated(
        _transposed(images, (3, 1, 2, 0)),
        _transposed(gradient, (1, 2, 0, 3)),
        window_strides=(1, 1),
        padding=_kernel_reach(images, kernel_shape, gradient, strides, padding),
        rhs_dilation=strides,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return outputs.transpose(1, 2, 0, 3)


def _kernel_reach(images, kernel_shape, gradient, strides, padding):
    """Zeros before and after the images over which the gradient, spread by `strides`, slides."""
    spread = [(gradient.shape[1 + axis] - 1) * strides[axis] + 1 for axis in (0, 1)]
    return [
        (before, spread[axis] - 1 + kernel_shape[axis] - images.shape[1 + axis] - before)
        for axis, before in enumerate(padding)
    ]


def _transposed(array, axes):
    """`array.transpose(axes)` by itself.

    XLA's CPU backend transposes fast where it does nothing else. It would draw into the operation
    what led to the array, batch normalisation and ReLU for instance, and compute that anew, number
    by number, in three to six times the time.
    """
    return apart(lambda array: array.transpose(axes), array, after=array)


def _grouped_kernel_gradient(images, kernel_shape, gradient, strides, padding, groups):
    """The gradient `[kh, kw, C / groups, F]`, a group of channels at a time.

    That of a 1x1 kernel is a batched matrix product, which takes the images in the order that they
    have. Otherwise the output's gradient slides over the images as a kernel whose pixels lie
    `strides` apart, with zeros between them: with windows spread out by itself, oneDNN has written
    beyond its result. For one channel a group each image of the batch is a channel of its own, and
    they are added up.
    """
    kh, kw, group_channels, features = kernel_shape
    if (kh, kw, *strides, *padding) == (1, 1, 1, 1, 0, 0):
        rows = images.reshape(-1, groups, group_channels)
        gradients = gradient.reshape(-1, groups, features // groups)
        return jnp.einsum("ngc,ngf->cgf", rows, gradients).reshape(kernel_shape)
    sides = _kernel_reach(images, kernel_shape, gradient, strides, padding)
    zeros = [(0, 0, stride - 1) for stride in strides]
    gradient = jax.lax.pad(gradient, jnp.zeros((), gradient.dtype), ((0, 0, 0), *zeros, (0, 0, 0)))
    batch, height, width, _ = images.shape
    if group_channels == 1 and features == groups:
        outputs = onednn.convolution(
            images.transpose(1, 2, 0, 3).reshape(1, height, width, batch * groups),
            gradient.transpose(1, 2, 0, 3).reshape(*gradient.shape[1:3], 1, batch * groups),
            padding=sides,
            groups=batch * groups,
        )
        return outputs.reshape(kh, kw, batch, groups).sum(2)[:, :, None]
    parts = images.reshape(batch, height, width, groups, group_channels)
    parts = _transposed(parts, (4, 1, 2, 3, 0))
    outputs = onednn.convolution(
        parts.reshape(group_channels, height, width, groups * batch),
        _transposed(gradient, (1, 2, 0, 3)),
        padding=sides,
        groups=groups,
    )
    return outputs.transpose(1, 2, 0, 3)
