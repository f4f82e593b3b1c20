"""Batch normalisation over the global batch, with PyTorch's running statistics."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import forms
from jaxeff.nn.channel_sums import channel_sums


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
            moments = forms.by_platform(values, cpu=_folded_moments, native=_moments)
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
        outputs = forms.by_platform(
            values, mean, multiplier, bias, cpu=_folded_affine, native=_affine
        )
        return outputs.astype(self.dtype)


def _moments(values):
    """Mean and mean square per channel, `[2, C]`, of `[..., C]`."""
    axes = tuple(range(values.ndim - 1))
    return jnp.stack([values.mean(axes), jnp.square(values).mean(axes)])


def _affine(values, mean, multiplier, bias):
    return (values - mean) * multiplier + bias


# The same for XLA's CPU backend, where sums over all but the channels need a form of their own, and
# so do the gradients in which such sums stand.


@jax.custom_vjp
def _folded_moments(values):
    count = values.size // values.shape[-1]
    return jnp.stack([channel_sums(values), channel_sums(jnp.square(values))]) / count


def _folded_moments_forward(values):
    return _folded_moments(values), values


def _folded_moments_backward(values, gradient):
    count = values.size // values.shape[-1]
    return ((gradient[0] + 2 * gradient[1] * values) / count,)


_folded_moments.defvjp(_folded_moments_forward, _folded_moments_backward)


@jax.custom_vjp
def _folded_affine(values, mean, multiplier, bias):
    return _affine(values, mean, multiplier, bias)


def _folded_affine_forward(values, mean, multiplier, bias):
    return _affine(values, mean, multiplier, bias), (values, mean, multiplier)


def _folded_affine_backward(saved, gradient):
    values, mean, multiplier = saved
    sums = channel_sums(gradient)
    return gradient * multiplier, -sums * multiplier, channel_sums(gradient * (values - mean)), sums


_folded_affine.defvjp(_folded_affine_forward, _folded_affine_backward)
