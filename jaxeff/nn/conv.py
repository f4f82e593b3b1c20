"""Two-dimensional convolution in the form that each backend runs fastest.

TPU and GPU keep XLA's native convolution, which is also the form that the canonical FLOP count is
lowered from. XLA's CPU backend runs depthwise, grouped and very small convolutions, and above all
the gradients of their kernels, up to a hundred times slower than the same arithmetic written as
dense convolutions, matrix products or shifted multiply-adds, so there `conv2d` picks one by shape.
`jax.lax.platform_dependent` keeps all forms in one program; each platform compiles only its own.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import forms, initializers, onednn, onednn_conv
from jaxeff.nn.channel_sums import add_bias, channel_sums
from jaxeff.nn.native_conv import native_conv

Pair = tuple[int, int]

# Pixels of the result up to which XLA's CPU backend runs a dense convolution faster as im2col.
TINY_PICTURE = 4
# Channels, about, of one of the dense convolutions that a grouped convolution becomes.
GROUP_CHANNELS = 16


def conv2d(
    images: jax.Array,
    kernel: jax.Array,
    *,
    strides: Pair = (1, 1),
    padding: Pair = (0, 0),
    groups: int = 1,
) -> jax.Array:
    """Cross-correlates `images` with `kernel`, as PyTorch's `conv2d` does.

    Args:
      images: `[N, H, W, C]`.
      kernel: `[kh, kw, C / groups, F]`, same dtype as `images`.
      strides: vertical and horizontal step.
      padding: zeros added on both sides, vertically and horizontally.
      groups: number of channel groups that do not see each other.

    Returns:
      `[N, H', W', F]` with `H' = (H + 2 * padding[0] - kh) // strides[0] + 1`.
    """
    native = functools.partial(native_conv, strides=strides, padding=padding, groups=groups)
    by_onednn = onednn.supports(images, kernel)
    cpu = _cpu_form(images.shape, kernel.shape, strides, padding, groups, by_onednn)
    return forms.by_platform(images, kernel, cpu=cpu, native=native)


def _cpu_form(images_shape, kernel_shape, strides, padding, groups, by_onednn):
    """The form for XLA's CPU backend at these shapes, or None for the native one."""
    kh, kw, group_channels, features = kernel_shape
    if by_onednn:
        if (kh, kw) == (1, 1) and padding == (0, 0) and groups == 1:
            return functools.partial(onednn_conv.pointwise, strides=strides)
        return onednn_conv.convolve(strides, padding, groups)
    window = {"strides": strides, "padding": padding}
    if (kh, kw) == (1, 1) and padding == (0, 0):
        if groups == 1 and strides == (1, 1):
            return None
        return functools.partial(_pointwise, strides=strides, groups=groups)
    if group_channels == 1 and features == groups:
        return _depthwise(**window)
    if groups > 1:
        return functools.partial(_grouped, **window, groups=groups)
    return (
        functools.partial(_im2col, **window)
        if _is_tiny(images_shape, kernel_shape, **window)
        else None
    )


def _is_tiny(images_shape, kernel_shape, strides, padding):
    """Whether the result has so few pixels that im2col is faster."""
    rows, columns = (
        (images_shape[1 + axis] + 2 * padding[axis] - kernel_shape[axis]) // strides[axis] + 1
        for axis in (0, 1)
    )
    return rows * columns <= TINY_PICTURE


def _pointwise(images, kernel, *, strides, groups):
    """1x1 convolution of every stride-th pixel, as a batched matrix product where grouped."""
    images = images[:, :: strides[0], :: strides[1], :]
    if groups == 1:
        return native_conv(images, kernel, strides=(1, 1), padding=(0, 0), groups=1)
    batch, height, width, channels = images.shape
    images = images.reshape(batch, height, width, groups, channels // groups)
    matrices = kernel.reshape(channels // groups, groups, -1)
    outputs = jnp.einsum("nhwgc,cgf->nhwgf", images, matrices)
    return outputs.reshape(batch, height, width, -1)


@functools.cache
def _depthwise(strides, padding):
    """One filter a channel, as a sum of shifted products."""

    @jax.custom_vjp
    def convolve(images, kernel):
        return products(images, kernel)

    def products(images, kernel):
        taps = [kernel[i, j, 0] for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]
        views = shifted_views(images, kernel.shape[:2], strides, padding)
        return sum(view * tap for view, tap in zip(views, taps, strict=True))

    def forward(images, kernel):
        return products(images, kernel), (images, kernel)

    def backward(saved, gradient):
        images, kernel = saved
        views = shifted_views(images, kernel.shape[:2], strides, padding)
        sums = []
        for first in range(0, len(views), kernel.shape[1]):
            row = views[first : first + kernel.shape[1]]
            sums += channel_sums(*(view * gradient for view in row))
        kernel_gradient = jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)
        return image_gradient(images, kernel, gradient), kernel_gradient

    def image_gradient(images, kernel, gradient):
        window = kernel.shape[:2]
        if window <= (3, 3):
            return jax.vjp(lambda images: products(images, kernel), images)[1](gradient)[0]
        # A sum of 25 padded arrays takes longer than the convolution of the spread-out gradient.
        spread = [(0, 0, 0)]
        for axis in (0, 1):
            before = window[axis] - 1 - padding[axis]
            rest = (images.shape[1 + axis] + 2 * padding[axis] - window[axis]) % strides[axis]
            spread.append((before, before + rest, strides[axis] - 1))
        zero = jnp.zeros((), gradient.dtype)
        spread = jax.lax.pad(gradient, zero, (*spread, (0, 0, 0)))
        views = shifted_views(spread, window, (1, 1))
        taps = kernel[::-1, ::-1, 0].reshape(-1, kernel.shape[-1])
        return sum(view * tap for view, tap in zip(views, taps, strict=True))

    convolve.defvjp(forward, backward)
    return convolve


def _grouped(images, kernel, *, strides, padding, groups):
    """A few groups at a time, as a dense convolution with zeros between them, in a loop.

    A dense convolution of a few channels takes as long as one of `GROUP_CHANNELS`, and natively
    the gradient of the kernel takes a hundred times as long as the convolution.
    """
    kh, kw, channels, features = kernel.shape
    merged = math.gcd(groups, max(1, GROUP_CHANNELS // channels))
    blocks = groups // merged
    kernels = kernel.reshape(kh, kw, channels, blocks, merged, features // groups)
    kernels = jnp.einsum("hwcbmf,mn->bhwmcnf", kernels, jnp.eye(merged, dtype=kernel.dtype))
    kernels = kernels.reshape(blocks, kh, kw, merged * channels, -1)
    parts = jnp.moveaxis(images.reshape(*images.shape[:3], blocks, -1), 3, 0)
    if _is_tiny(images.shape, kernel.shape, strides, padding):
        convolve = functools.partial(_im2col, strides=strides, padding=padding)
    else:
        convolve = _dense_in_loop(strides, padding)
    outputs = jnp.moveaxis(jax.lax.map(lambda part: convolve(*part), (parts, kernels)), 0, 3)
    return outputs.reshape(*outputs.shape[:3], features)


@functools.cache
def _dense_in_loop(strides, padding):
    """Native, with gradients whose dimensions stand in the order of a forward convolution's.

    XLA's CPU backend brings them into that order, without which a convolution takes 50 times as
    long, everywhere but in the body of a loop.
    """
    convolve_natively = functools.partial(native_conv, strides=strides, padding=padding, groups=1)

    @jax.custom_vjp
    def convolve(images, kernel):
        return convolve_natively(images, kernel)

    def forward(images, kernel):
        return convolve_natively(images, kernel), (images, kernel)

    def backward(saved, gradient):
        images, kernel = saved
        images_padding, kernel_padding = [], []
        for axis in (0, 1):
            window, before = kernel.shape[axis], padding[axis]
            spread = (gradient.shape[1 + axis] - 1) * strides[axis] + 1
            after = images.shape[1 + axis] + before - spread
            images_padding.append((window - 1 - before, after))
            kernel_padding.append((before, window - 1 - after))
        order = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "window_strides": (1, 1)}
        images_gradient = jax.lax.conv_general_dilated(
            gradient,
            kernel[::-1, ::-1].swapaxes(2, 3),
            padding=images_padding,
            lhs_dilation=strides,
            **order,
        )
        kernel_gradient = jax.lax.conv_general_dilated(
            images.transpose(3, 1, 2, 0),
            gradient.transpose(1, 2, 0, 3),
            padding=kernel_padding,
            rhs_dilation=strides,
            **order,
        )
        return images_gradient, kernel_gradient.transpose(1, 2, 0, 3)

    convolve.defvjp(forward, backward)
    return convolve


def _im2col(images, kernel, *, strides, padding):
    """Patches laid out as rows, then one matrix product."""
    views = shifted_views(images, kernel.shape[:2], strides, padding)
    patches = jnp.concatenate(views, axis=-1)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return jax.lax.dot_general(patches, matrix, (((3,), (0,)), ((), ())))


def shifted_views(
    images: jax.Array, window: Pair, strides: Pair, padding: Pair = (0, 0)
) -> list[jax.Array]:
    """What each position of a sliding window sees.

    Args:
      images: `[N, H, W, C]`.
      window: its height and width.
      strides: vertical and horizontal step.
      padding: zeros added on both sides, vertically and horizontally.

    Returns:
      `window[0] * window[1]` arrays `[N, H', W', C]`, row by row through the window.
    """
    rims = ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0))
    padded = jnp.pad(images, rims)
    batch, height, width, channels = padded.shape
    rows = (height - window[0]) // strides[0] + 1
    columns = (width - window[1]) // strides[1] + 1
    return [
        jax.lax.slice(
            padded,
            (0, i, j, 0),
            (batch, i + (rows - 1) * strides[0] + 1, j + (columns - 1) * strides[1] + 1, channels),
            (1, *strides, 1),
        )
        for i in range(window[0])
        for j in range(window[1])
    ]


class Conv(nn.Module):
    """A 2-D convolution layer with PyTorch's conventions and default initialisation.

    Maps `[N, H, W, C]` to `[N, H', W', features]`. Parameters: `kernel`
    `[kh, kw, C / groups, features]` and, with `use_bias`, `bias` `[features]`, both float32;
    arithmetic in `dtype`.

    Attributes:
      features: output channels.
      kernel_size: window height and width; one number for a square.
      strides: step; one number for both directions.
      padding: zeros on each side; one number for both directions.
      groups: channel groups; `groups == C == features` is depthwise.
      use_bias: adds a bias per channel.
      kernel_init: initializer of the kernel.
      bias_init: takes the fan-in and returns the initializer of the bias.
      dtype: of the arithmetic and the result.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] = 1
    padding: int | Sequence[int] = 0
    groups: int = 1
    use_bias: bool = True
    kernel_init: Callable = initializers.torch_default_kernel
    bias_init: Callable = initializers.torch_default_bias
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images):
        """Applies the layer to `images` `[N, H, W, C]`."""
        channels = images.shape[-1]
        if channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide the {channels} input and {self.features} "
                "output channels"
            )
        shape = (*_pair(self.kernel_size), channels // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        outputs = conv2d(
            images.astype(self.dtype),
            kernel.astype(self.dtype),
            strides=_pair(self.strides),
            padding=_pair(self.padding),
            groups=self.groups,
        )
        if self.use_bias:
            fan_in = math.prod(shape[:-1])
            bias = self.param("bias", self.bias_init(fan_in), (self.features,), jnp.float32)
            outputs = add_bias(outputs, bias.astype(self.dtype))
        return outputs


def _pair(value: int | Sequence[int]) -> Pair:
    return (value, value) if isinstance(value, int) else tuple(value)
