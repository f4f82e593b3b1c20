"""Counts the multiply-accumulates of matrix products and convolutions from the jaxpr."""

import math
from collections.abc import Callable
from typing import Any

from jax.extend.core import JaxprEqn

from jaxeff.compute.operations import Operation, operations
from jaxeff.compute.phases import INPUT_GRADIENT, WEIGHT_GRADIENT
from jaxeff.compute.xla import trace
from jaxeff.errors import UsageError


def count_macs(fn: Callable[..., Any], *args: Any) -> int:
    """Counts the multiply-accumulates of `fn(*args)` as the field's counters do.

    A matrix product counts the elements of its result times the length that it contracts. A
    convolution counts its output positions × kernel positions × output channels × input channels of
    one group, for each image: products with padding zeros are included, products with the zeros
    between strided or dilated values are not, and a transposed convolution counts its input
    positions instead of its output positions. The two gradients of a convolution then cost exactly
    what the convolution costs, as in PyTorch's `torch.utils.flop_counter`; for a grouped
    convolution's weight gradient that counter counts the groups twice, and this one does not.

    Loops of known length count as often as they run, a `cond` at its most expensive branch, a
    `jax.lax.platform_dependent` at the branch of a TPU, `pmap` and `shard_map` on all devices
    together, a Pallas kernel at every point of its grid, rematerialised code as often as it is
    computed, unused results not at all. Only matrix products (ragged ones too) and convolutions
    count: nothing element-wise, no sum, no pooling, no decomposition of `jax.numpy.linalg`.

    Args:
      fn: any function that JAX can trace. It is neither compiled nor run.
      *args: its arguments: pytrees of arrays or `jax.ShapeDtypeStruct`.

    Returns:
      Multiply-accumulates; one is two operations.

    Raises:
      UsageError: `fn` cannot be traced with these arguments, or something in it cannot be counted:
        a `while` loop of unknown length, a callback to Python, a foreign function.
    """
    return sum(operation_macs(each) * each.times for each in _all_operations(fn, args))


def count_activations(fn: Callable[..., Any], *args: Any) -> int:
    """Counts the elements that the matrix products and convolutions of `fn(*args)` write.

    Radosavovic et al. 2020 (Designing Network Design Spaces) measure so what a network holds and
    moves besides its parameters; runtime on accelerators follows it more closely than FLOPs.

    Args:
      fn: as for `count_macs`; usually a forward pass.
      *args: as for `count_macs`.

    Returns:
      The number of elements, of whatever type they are.

    Raises:
      UsageError: as `count_macs`.
    """
    return sum(
        math.prod(each.eqn.outvars[0].aval.shape) * each.times
        for each in _all_operations(fn, args)
        if each.primitive in ("dot_general", "conv_general_dilated")
    )


def _all_operations(fn: Callable[..., Any], args: tuple) -> tuple[Operation, ...]:
    """The operations of `fn(*args)`.

    Raises:
      UsageError: `fn` cannot be traced, or its operations are not all known.
    """
    program = operations(trace(fn, args, {}).jaxpr)
    if program.uncounted:
        raise UsageError(
            f"cannot count {getattr(fn, '__name__', fn)}: {'; '.join(program.uncounted)}; "
            "jaxeff.compute.step_cost counts the rest"
        )
    return program.operations


def operation_macs(operation: Operation) -> int:
    """Counts the multiply-accumulates of one execution of an operation: 0 unless it is a product.

    For each spatial dimension of a convolution, with `k` kernel positions, `i` input and `o` output
    positions of the forward convolution, the count is `k × o`, or `k × i` if the forward
    convolution is a transposed one (it dilates its input). Its gradients count the same. The
    gradient to inputs convolves the output's cotangent: its input has `o` positions, its output
    `i`. The gradient to weights convolves the input with the cotangent as its kernel: its kernel
    has `o` positions, its output `k`.
    """
    eqn = operation.eqn
    if operation.primitive == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        shape = eqn.invars[0].aval.shape
        return math.prod(eqn.outvars[0].aval.shape) * math.prod(shape[dim] for dim in contracted)
    if operation.primitive == "ragged_dot_general":
        return _ragged_dot_macs(eqn)
    if operation.primitive == "conv_general_dilated":
        return _convolution_macs(eqn, operation.phase)
    return 0


def _ragged_dot_macs(eqn: JaxprEqn) -> int:
    """Counts m × k × n, of which every group takes its part of m, of k or of the batch."""
    numbers = eqn.params["ragged_dot_dimension_numbers"]
    (contracted, _), _ = numbers.dot_dimension_numbers
    lhs, _, group_sizes = (var.aval.shape for var in eqn.invars)
    macs = math.prod(eqn.outvars[0].aval.shape) * math.prod(lhs[dim] for dim in contracted)
    # Where the groups part what is contracted, each has a result of its own.
    parted = set(numbers.lhs_ragged_dimensions) & set(contracted)
    return macs // group_sizes[-1] if parted else macs


def _convolution_macs(eqn: JaxprEqn, phase: str) -> int:
    params = eqn.params
    numbers = params["dimension_numbers"]
    lhs, rhs = (var.aval.shape for var in eqn.invars)
    out = eqn.outvars[0].aval.shape
    pairs = 1
    for dim, (in_dim, kernel_dim, out_dim) in enumerate(
        zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], strict=True)
    ):
        entering, kernel, leaving = lhs[in_dim], rhs[kernel_dim], out[out_dim]
        dilated = params["lhs_dilation"][dim] > 1
        if phase == INPUT_GRADIENT:
            pairs *= kernel * (leaving if params["window_strides"][dim] > 1 else entering)
        elif phase == WEIGHT_GRADIENT:
            pairs *= leaving * (entering if dilated else kernel)
        else:
            pairs *= kernel * (entering if dilated else leaving)
    batch, features = numbers.out_spec[:2]
    return pairs * out[batch] * out[features] * rhs[numbers.rhs_spec[1]]
