"""Batch normalisation over the global batch, with PyTorch's running statistics."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class BatchNorm(nn.Module):
    """Normalises `[..., C]` per channel (Ioffe & Szegedy 2015).

    In training the statistics are those of the global batch: with `axis_name` they are averaged
    over the devices of that axis, so the result does not depend on how many devices share the
    batch. Running statistics follow PyTorch: `running = decay * running + (1 - decay) * batch`,
    with the unbiased variance. Statistics are at least float32 whatever `dtype` is.

    Parameters `scale`, `bias` and batch statistics `mean`, `var`: `[C]` float32.

    Attributes:
      axis_name: the `pmap` axis over which the batch is split, or None.
      decay: 1 - PyTorch's `momentum`.
      epsilon: added to the variance.
      dtype: of the result.
    """

    axis_name: str | None = None
    decay: float = 0.9
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs, train: bool = False):
        """Applies the layer to `inputs` `[..., C]`; `train` uses and updates batch statistics."""
        channels = inputs.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)

        values = inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32))
        if not train:
            mean, variance = running_mean.value, running_var.value
        else:
            axis_name = None if self.is_initializing() else self.axis_name
            mean, variance = _moments(values, axis_name)
            if not self.is_initializing():
                count = inputs.size // channels
                if axis_name is not None:
                    count *= jax.lax.axis_size(axis_name)
                unbiased = variance * (count / max(count - 1, 1))
                running_mean.value = self.decay * running_mean.value + (1 - self.decay) * mean
                running_var.value = self.decay * running_var.value + (1 - self.decay) * unbiased
        multiplier = scale * jax.lax.rsqrt(variance + self.epsilon)
        return ((values - mean) * multiplier + bias).astype(self.dtype)


def _moments(values, axis_name):
    """Mean and variance `[C]` of the global batch, from this device's `values` `[..., C]`."""
    axes = tuple(range(values.ndim - 1))
    mean, mean_square = values.mean(axes), jnp.square(values).mean(axes)
    if axis_name is not None:
        mean, mean_square = jax.lax.pmean((mean, mean_square), axis_name)
    return mean, jnp.maximum(mean_square - jnp.square(mean), 0.0)
