"""Sums over all axes but the last, the channels."""

import math

import jax.numpy as jnp

FOLDS = 8
# A product of one row XLA compiles into a program of its own, each time; from two rows on it calls
# a library.
ROWS_OF_ONES = 2


def choose(operand, *, axes, **params):
    """The folded sum for float32 arrays `[N, ..., C]` that keep the last axis alone.

    XLA's CPU backend walks through such an array one number at a time.
    """
    del params
    if operand.dtype != jnp.float32 or operand.ndim < 3 or axes != tuple(range(operand.ndim - 1)):
        return None
    return _folded_sum


def _folded_sum(array, **_):
    """Adds up eighths of the batch, whose rows a product with ones then sums."""
    folds = math.gcd(array.shape[0], FOLDS)
    rows = array.reshape(folds, -1, array.shape[-1]).sum(0)
    return (jnp.ones((ROWS_OF_ONES, rows.shape[0]), array.dtype) @ rows)[0]
