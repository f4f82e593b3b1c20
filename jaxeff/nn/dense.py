"""A fully connected layer with PyTorch's start values."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import initializers


class Dense(nn.Module):
    """Maps `[..., C]` to `[..., features]`: `inputs @ kernel + bias`.

    Parameters `kernel` `[C, features]` and `bias` `[features]` are float32; arithmetic in `dtype`.

    Attributes:
      features: output channels.
      kernel_init: initializer of the kernel.
      bias_init: takes the fan-in and returns the initializer of the bias.
      dtype: of the arithmetic and the result.
    """

    features: int
    kernel_init: Callable = initializers.torch_default_kernel
    bias_init: Callable = initializers.torch_default_bias
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs):
        """Applies the layer to `inputs` `[..., C]`."""
        channels = inputs.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (channels, self.features), jnp.float32)
        bias = self.param("bias", self.bias_init(channels), (self.features,), jnp.float32)
        return inputs.astype(self.dtype) @ kernel.astype(self.dtype) + bias.astype(self.dtype)
