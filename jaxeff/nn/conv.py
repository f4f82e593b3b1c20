"""Two-dimensional convolution with PyTorch's conventions and start values."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import initializers


class Conv(nn.Module):
    """Cross-correlates images with a kernel, as PyTorch's `Conv2d` does.

    Parameters `kernel` `[kh, kw, C / groups, features]` and `bias` `[features]` are float32;
    arithmetic in `dtype`.

    Attributes:
      features: output channels.
      kernel_size: of the window, one number or (height, width); so are strides and padding.
      strides: step of the window in pixels.
      padding: pixels of zero added on both sides.
      groups: channel groups that do not see each other.
      use_bias: whether to add a bias.
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
        """Maps `[N, H, W, C]` to `[N, H', W', features]`.

        `H' = (H + 2 * padding - kh) // strides + 1`, and `W'` likewise.
        """
        channels = images.shape[-1]
        if channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide the {channels} input and {self.features} "
                "output channels"
            )
        shape = (*_pair(self.kernel_size), channels // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        outputs = jax.lax.conv_general_dilated(
            images.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=_pair(self.strides),
            padding=[(pixels, pixels) for pixels in _pair(self.padding)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )
        if self.use_bias:
            fan_in = math.prod(shape[:-1])
            bias = self.param("bias", self.bias_init(fan_in), (self.features,), jnp.float32)
            outputs = outputs + bias.astype(self.dtype)
        return outputs


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
