"""Gradients of arrays that many layers read, added up before anything else is done with them."""

import jax
import jax.numpy as jnp

from jaxeff.nn import forms


def gradient_apart(values: jax.Array) -> jax.Array:
    """`values`, whose gradient becomes an array of its own on CPU.

    Where each of `L` layers reads all that the earlier ones made, as in a dense block, XLA's CPU
    backend writes for each of them one program that adds up the gradients of all later ones, each
    computed from batch norm's in its place: `L^2` in all, two thirds of DenseNet-121's operations.
    """
    return forms.by_platform(values, cpu=_apart, native=lambda values: values)


@jax.custom_vjp
def _apart(values):
    return values


def _apart_backward(_, gradient):
    # The compiler draws nothing across a conditional, and cannot tell that this one has no choice:
    # a NaN at the head becomes NaN everywhere.
    first = gradient.ravel()[0]
    branches = [lambda gradient: gradient, lambda gradient: jnp.full_like(gradient, jnp.nan)]
    return (jax.lax.cond(first == first, *branches, gradient),)


_apart.defvjp(lambda values: (values, None), _apart_backward)
