"""Operations that XLA's CPU backend keeps apart from what stands before and behind them.

It draws what led to an array into all that reads it, and computes it anew in each; it takes two
equal operations for one, so that nothing is forgotten after the forward pass that the backward pass
could compute again; and it starts what needs no gradient long before the backward pass reads it.
Into the branch of a conditional it does none of that. `jax.lax.optimization_barrier` would not do:
the backend removes it before it fuses.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxeff.nn import forms


def apart(function: Callable, *arrays: jax.Array, after: jax.Array):
    """`function(*arrays)`, computed by itself and not before `after` is there.

    Args:
      function: from arrays to a tree of floating-point arrays.
      *arrays: of any shape; each is written out.
      after: its first number is read. If that is NaN, so is all of the result.
    """

    def undefined(*arrays):
        shapes = jax.eval_shape(function, *arrays)
        return jax.tree.map(lambda shape: jnp.full(shape.shape, jnp.nan, shape.dtype), shapes)

    # The compiler cannot tell that this conditional has no choice.
    first = after.ravel()[0]
    return jax.lax.cond(first == first, function, undefined, *arrays)


def gradient_apart(values: jax.Array) -> jax.Array:
    """`values`, whose gradient becomes an array of its own on CPU.

    Where each of `L` layers reads all that the earlier ones made, as in a dense block, XLA's CPU
    backend writes for each of them one program that adds up the gradients of all later ones, each
    computed from batch norm's in its place: `L^2` in all, two thirds of DenseNet-121's operations.
    """
    return forms.by_platform(values, cpu=_gradient_apart, native=lambda values: values)


@jax.custom_vjp
def _gradient_apart(values):
    return values


def _backward(_, gradient):
    return (apart(lambda gradient: gradient, gradient, after=gradient),)


_gradient_apart.defvjp(lambda values: (values, None), _backward)
