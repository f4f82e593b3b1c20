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
            axes = tuple(range(inputs.ndim - 1))
            moments = jnp.stack([values.mean(axes), jnp.square(values).mean(axes)])
            count = inputs.size // channels
            if self.axis_name is not None and not self.is_initializing():
                moments = jax.lax.pmean(moments, self.axis_name)
                count *= jax.lax.axis_size(self.axis_name)
            mean, variance = moments[0], jnp.maximum(moments[1] - jnp.square(moments[0]), 0.0)
            if not self.is_initializing():
                unbiased = variance * (count / max(count - 1, 1))
                running_mean.value = self.decay * running_mean.value + (1 - self.decay) * mean
                running_var.value = self.decay * running_var.value + (1 - self.decay) * unbiased

        multiplier = scale * jax.lax.rsqrt(variance + self.epsilon)
        return ((values - mean) * multiplier + bias).astype(self.dtype)
