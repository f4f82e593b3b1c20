"""The gradient of max pooling."""

import itertools

import jax
import jax.numpy as jnp

LARGEST_WINDOW = 256  # Positions that an uint8 tells apart.


def choose(source, operand, *, select_prim, window_dimensions, **params):
    """Shifted images for the gradient of a maximum; XLA's CPU backend walks window by window."""
    del source, params
    if select_prim is not jax.lax.ge_p or not jnp.issubdtype(operand.dtype, jnp.floating):
        return None
    positions = 1
    for length in window_dimensions:
        positions *= length
    return _scatter if positions <= LARGEST_WINDOW else None


def _scatter(source, operand, *, window_dimensions, window_strides, padding, **_):
    """Adds each number of `source` where `operand` is the largest in its window, first of equals.

    Args:
      source: one number a window.
      operand: what the windows slide over.
      window_dimensions: of the window, by axis; so are strides and padding.
      window_strides: its step.
      padding: of minus infinity, before and after.
    """
    lowest = jnp.array(-jnp.inf, operand.dtype)
    padded = jax.lax.pad(operand, lowest, [(*sides, 0) for sides in padding])
    offsets = list(itertools.product(*(range(length) for length in window_dimensions)))
    reach = [(n - 1) * stride + 1 for n, stride in zip(source.shape, window_strides, strict=True)]
    largest, chosen = None, jnp.zeros(source.shape, jnp.uint8)
    for position, offset in enumerate(offsets):
        stop = [first + length for first, length in zip(offset, reach, strict=True)]
        view = jax.lax.slice(padded, offset, stop, window_strides)
        if largest is not None:
            better = ~(largest >= view)
            chosen = jnp.where(better, jnp.uint8(position), chosen)
            view = jnp.where(better, view, largest)
        largest = view

    def spread(source, chosen):
        total = jnp.zeros(operand.shape, source.dtype)
        for position, offset in enumerate(offsets):
            sent = jnp.where(chosen == position, source, 0)
            settings = [
                (first - before, size + before - first - length, stride - 1)
                for first, (before, _), size, length, stride in zip(
                    offset, padding, operand.shape, reach, window_strides, strict=True
                )
            ]
            total += jax.lax.pad(sent, jnp.zeros((), source.dtype), settings)
        return total

    # XLA fuses what computes `source` and `chosen` into every one of the shifted images, unless
    # they stand in a branch. The condition always holds, which XLA cannot know.
    holds = chosen.ravel()[0] < len(offsets)
    return jax.lax.cond(
        holds, spread, lambda source, _: jnp.zeros(operand.shape, source.dtype), source, chosen
    )
