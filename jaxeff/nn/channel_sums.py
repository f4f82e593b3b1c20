"""Sums over everything but the channels, in the form that XLA's CPU backend runs fast.

Weight gradients of depthwise convolutions, the moments of batch normalisation and the gradients of
its scale and of biases are such sums. XLA's CPU backend walks through the array channel by channel,
one number at a time; adding up eighths of the batch first, and then the rows by a product with
ones, takes a third of the time or less (a 35th for 5x5 depthwise gradients).
"""

import math

import jax
import jax.numpy as jnp

from jaxeff.nn import forms

FOLDS = 8


def channel_sums(values: jax.Array) -> jax.Array:
    """Sums `values` `[N, ..., C]` over all axes but the last: `[C]`, float32 at least."""
    folds = math.gcd(values.shape[0], FOLDS)
    channels = values.shape[-1]
    wide = jnp.promote_types(values.dtype, jnp.float32)
    rows = values.reshape(folds, -1, channels).sum(0, dtype=wide)
    return (jnp.ones((1, rows.shape[0]), wide) @ rows)[0]


def add_bias(values: jax.Array, bias: jax.Array) -> jax.Array:
    """`values + bias` for `[..., C]` and `[C]`."""
    return forms.by_platform(values, bias, cpu=_add_bias, native=jnp.add)


@jax.custom_vjp
def _add_bias(values, bias):
    return values + bias


def _add_bias_forward(values, bias):
    return values + bias, None


def _add_bias_backward(_, gradient):
    return gradient, channel_sums(gradient).astype(gradient.dtype)


_add_bias.defvjp(_add_bias_forward, _add_bias_backward)
