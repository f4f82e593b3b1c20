"""Operations that XLA's CPU backend computes by themselves.

It draws what led to an array into all that reads it, and computes it anew in each. Into the branch
of a conditional it draws nothing. `jax.lax.optimization_barrier` does the same only where the
program is compiled with `recompute.COMPILER_OPTIONS`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxeff.nn import forms


def apart(function: Callable, *arrays: jax.Array, after: jax.Array) -> jax.Array:
    """`function(*arrays)`, computed by itself and not before `after` is there.

    Args:
      function: from arrays to one of floating-point numbers.
      *arrays: of any shape and dtype.
      after: its first number is read. If that is NaN, so is all of the result.
    """

    def undefined(*arrays):
        result = jax.eval_shape(function, *arrays)
        return jnp.full(result.shape, jnp.nan, result.dtype)

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
