"""Batch normalisation over the global batch, with PyTorch's running statistics."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from jaxeff.nn import forms
from jaxeff.nn.channel_sums import channel_sums
from jaxeff.nn.recompute import KEPT


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
            multiplier = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
            outputs = _affine(values, running_mean.value, multiplier, bias)
        else:
            axis_name = None if self.is_initializing() else self.axis_name
            outputs, mean, variance = forms.by_platform(
                values,
                scale,
                bias,
                cpu=_folded_normalise(axis_name, self.epsilon),
                native=functools.partial(_normalise, axis_name, self.epsilon),
            )
            if not self.is_initializing():
                count = inputs.size // channels
                if axis_name is not None:
                    count *= jax.lax.axis_size(axis_name)
                unbiased = variance * (count / max(count - 1, 1))
                running_mean.value = self.decay * running_mean.value + (1 - self.decay) * mean
                running_var.value = self.decay * running_var.value + (1 - self.decay) * unbiased
        return outputs.astype(self.dtype)


def _normalise(axis_name, epsilon, values, scale, bias):
    """Normalised `[..., C]`, and mean and variance of the global batch, `[C]`."""
    axes = tuple(range(values.ndim - 1))
    mean, variance = _mean_and_variance(values.mean(axes), jnp.square(values).mean(axes), axis_name)
    multiplier = scale * jax.lax.rsqrt(variance + epsilon)
    return _affine(values, mean, multiplier, bias), mean, variance


def _mean_and_variance(mean, mean_square, axis_name):
    """Of the global batch, from the means of this device's images, `[C]`."""
    if axis_name is not None:
        mean, mean_square = jax.lax.pmean((mean, mean_square), axis_name)
    return mean, jnp.maximum(mean_square - jnp.square(mean), 0.0)


def _affine(values, mean, multiplier, bias):
    return (values - mean) * multiplier + bias


@functools.cache
def _folded_normalise(axis_name, epsilon):
    """`_normalise` for XLA's CPU backend.

    Its sums over all but the channels need a form of their own, and so do the gradients, in which
    such sums stand. They are written out: derived from the sums' form they would take seven more
    operations on single channels, each a small program that XLA compiles and starts.
    """

    @jax.custom_vjp
    def normalise(values, scale, bias):
        return forward(values, scale, bias)[0]

    def forward(values, scale, bias):
        count = values.size // values.shape[-1]
        total, squares = channel_sums(values, jnp.square(values))
        mean, variance = _mean_and_variance(total / count, squares / count, axis_name)
        inverse = jax.lax.rsqrt(variance + epsilon)
        mean, variance, inverse = checkpoint_name(jnp.stack([mean, variance, inverse]), KEPT)
        outputs = _affine(values, mean, scale * inverse, bias)
        return (outputs, mean, variance), (values, scale, mean, variance, inverse)

    def backward(saved, gradients):
        values, scale, mean, variance, inverse = saved
        gradient, to_mean, to_variance = gradients
        count = values.size // values.shape[-1]
        to_bias, to_multiplier = channel_sums(gradient, gradient * (values - mean))
        to_mean -= to_bias * scale * inverse
        to_variance -= 0.5 * to_multiplier * scale * inverse**3
        # Where rounding made the variance negative it is a constant, 0.
        to_variance = jnp.where(variance > 0, to_variance, 0.0)
        if axis_name is not None:
            to_mean, to_variance = jax.lax.pmean((to_mean, to_variance), axis_name)
        to_values = (
            gradient * (scale * inverse)
            + to_mean / count
            + (values - mean) * (2 * to_variance / count)
        )
        return to_values, to_multiplier * inverse, to_bias

    normalise.defvjp(forward, backward)
    return normalise
