"""Counts the multiply-accumulates of matrix products and convolutions from the jaxpr."""

import math
from collections.abc import Callable
from typing import Any

from jaxeff.compute.operations import Operation, operations
from jaxeff.compute.products import PRODUCT_MACS, product_macs
from jaxeff.compute.tracing import function_name, trace
from jaxeff.errors import UsageError


def count_macs(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Counts the multiply-accumulates of `fn(*args)` as the field's counters do.

    A matrix product counts the elements of its result times the length that it contracts. A
    convolution counts its output positions × kernel positions × output channels × input channels of
    one group, for each image: products with padding zeros are included, products with the zeros
    between strided or dilated values are not, and a transposed convolution counts its input
    positions instead of its output positions. Every derivative of a convolution, of any order,
    costs exactly what the convolution costs (`jaxeff.compute.convolutions`), as in PyTorch's
    `torch.utils.flop_counter`; for a grouped convolution's weight gradient that counter counts the
    groups twice, and this one does not.

    Loops of known length count as often as they run, a `cond` at its most expensive branch, a
    `jax.lax.platform_dependent` at the branch of a TPU, `pmap` and `shard_map` on all devices
    together, a Pallas kernel at every point of its grid, rematerialised code as often as it is
    computed, unused results not at all. Only matrix products (ragged ones too) and convolutions
    count: nothing element-wise, no sum, no pooling, no decomposition of `jax.numpy.linalg`.

    Args:
      fn: any function that JAX can trace. It is neither compiled nor run.
      *args: its arguments: pytrees of arrays or `jax.ShapeDtypeStruct`, and static ones.
      **kwargs: its keyword arguments, likewise.

    Returns:
      Multiply-accumulates; one is two operations.

    Raises:
      UsageError: `fn` cannot be traced with these arguments, or something in it cannot be counted:
        a `while` loop of unknown length, a callback to Python, a foreign function.
    """
    return sum(product_macs(each.eqn) * each.times for each in _all_operations(fn, args, kwargs))


def count_activations(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Counts the elements that the matrix products and convolutions of `fn(*args)` write.

    Radosavovic et al. 2020 (Designing Network Design Spaces) measure so what a network holds and
    moves besides its parameters; runtime on accelerators follows it more closely than FLOPs.

    Args:
      fn: as for `count_macs`; usually a forward pass.
      *args: as for `count_macs`.
      **kwargs: likewise.

    Returns:
      The number of elements, of whatever type they are.

    Raises:
      UsageError: as `count_macs`.
    """
    return sum(
        math.prod(each.eqn.outvars[0].aval.shape) * each.times
        for each in _all_operations(fn, args, kwargs)
        if each.primitive in PRODUCT_MACS
    )


def _all_operations(
    fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]
) -> tuple[Operation, ...]:
    """The operations of `fn(*args)`.

    Raises:
      UsageError: `fn` cannot be traced, or its operations are not all known.
    """
    program = operations(trace(fn, args, kwargs).jaxpr)
    if program.uncounted:
        raise UsageError(
            f"cannot count {function_name(fn)}: {'; '.join(program.uncounted)}; "
            "jaxeff.compute.step_cost counts the rest"
        )
    return program.operations
