"""Tells what XLA's cost analysis counts for each operation, as a table.

Each rule was read off `HloCostAnalysis` of the operation alone, lowered for TPU, and a test does so
again. An operation without a rule is one that XLA expands into others (`erf_inv`, `random_bits`,
…); the first time that it occurs, XLA is asked for its count.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from jaxeff.compute.xla import trace, xla_cost
from jaxeff.errors import UsageError

PRODUCTS = "matrix products and convolutions"
ELEMENTWISE = "element-wise"
REDUCTIONS = "reductions"
WINDOWS = "pooling windows"
EXCHANGES = "exchanges between devices"
SORTS = "sorts"
EXPANDED = "expanded by XLA"
KERNELS = "Pallas kernels"
KINDS = (PRODUCTS, ELEMENTWISE, REDUCTIONS, WINDOWS, EXCHANGES, SORTS, EXPANDED, KERNELS)


@dataclass(frozen=True)
class Rule:
    """What XLA counts for one execution of an operation.

    Attributes:
      kind: one of `KINDS`.
      flops: operations as XLA counts them, a multiply-accumulate being two.
      transcendentals: exp, log and their like, which XLA counts separately.
      uncounted: what XLA does not count of it: custom calls, or the operation itself.
      has_loop: whether XLA expands it into a loop, whose body it counts once.
      has_product: whether XLA expands it into a matrix product or convolution, among others.
    """

    kind: str
    flops: int = 0
    transcendentals: int = 0
    uncounted: tuple[str, ...] = ()
    has_loop: bool = False
    has_product: bool = False


def rule(eqn: JaxprEqn) -> Rule:
    """Returns what XLA counts for one execution of an equation without a jaxpr inside it.

    Args:
      eqn: an equation of a jaxpr, such as that of an `Operation`.

    Returns:
      Its count, on one device.
    """
    name, params = eqn.primitive.name, eqn.params
    if name in _MOVES or name in _REFERENCES:
        return Rule(ELEMENTWISE)
    if _is_complex(eqn) and name in {*_TRANSCENDENTAL, *_EXPANDED_IF_COMPLEX}:
        return _measured(eqn)
    if name in _ELEMENTWISE:
        if name == "select_n" and eqn.invars[0].aval.dtype.kind != "b":
            return _measured(eqn)  # XLA compares with the number of each case first
        if name == "select_n" and not isinstance(eqn.outvars[0].aval.dtype, np.dtype):
            return _measured(eqn)  # A random key is several numbers.
        return Rule(ELEMENTWISE, _out(eqn))
    if name == "pow" and eqn.invars[1].aval.dtype.kind in "iu":
        return Rule(ELEMENTWISE, _size(eqn.invars[1]), _out(eqn))
    if name in _TRANSCENDENTAL:
        arithmetic, transcendentals = _TRANSCENDENTAL[name]
        return Rule(ELEMENTWISE, arithmetic * _out(eqn), transcendentals * _out(eqn))
    if name in _EXACT:
        return _EXACT[name](eqn)
    if name == "addupdate":
        return Rule(ELEMENTWISE, _size(eqn.invars[1]))
    if name == "reciprocal":  # Of a Pallas kernel.
        return Rule(ELEMENTWISE, _out(eqn))
    if name == "axis_index":
        return Rule(ELEMENTWISE, 3)  # The device's number, divided, its remainder, converted.
    if name == "pallas_call":
        estimate = params["cost_estimate"]
        if estimate is None:
            return Rule(KERNELS)
        return Rule(KERNELS, int(estimate.flops), int(estimate.transcendentals))
    return _measured(eqn)


def convolution_positions(eqn: JaxprEqn) -> int:
    """Counts the multiply-accumulates of a convolution that meet a value, not padding or a hole.

    They are the pairs (output position, kernel position), per spatial dimension, whose input
    position is inside the input and no hole between dilated inputs, times the features that each
    pair combines.

    Source: `HloCostAnalysis::GetConvolutionFlops`.
    """
    params = eqn.params
    numbers = params["dimension_numbers"]
    lhs, rhs = (var.aval.shape for var in eqn.invars)
    out = eqn.outvars[0].aval.shape
    pairs = 1
    for dim, (in_dim, kernel_dim, out_dim) in enumerate(
        zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], strict=True)
    ):
        # Of the window at output position 0, where in the input each kernel position is.
        first = np.arange(rhs[kernel_dim]) * params["rhs_dilation"][dim] - params["padding"][dim][0]
        pairs *= _valid_pairs(
            first,
            lhs[in_dim],
            out[out_dim],
            hole=params["lhs_dilation"][dim],
            stride=params["window_strides"][dim],
        )
    batch, features = numbers.out_spec[:2]
    return pairs * out[batch] * out[features] * rhs[numbers.rhs_spec[1]]


def _valid_pairs(first: np.ndarray, inputs: int, outputs: int, hole: int, stride: int) -> int:
    """Counts along one dimension, without an array of all pairs: sequences can be long.

    Output positions that are `period` apart stand alike among the holes between inputs.
    """
    pairs, period = 0, hole // math.gcd(hole, stride)
    for start in range(min(period, outputs)):
        position = first + start * stride
        position = position[position % hole == 0]
        last = (outputs - 1 - start) // period
        step = period * stride
        begin = np.maximum(0, -(position // step))
        end = np.minimum(last, (inputs * hole - 1 - position) // step)
        pairs += int(np.maximum(0, end - begin + 1).sum())
    return pairs


def _size(atom: Any) -> int:
    return math.prod(atom.aval.shape)


def _out(eqn: JaxprEqn) -> int:
    return _size(eqn.outvars[0])


def _is_complex(eqn: JaxprEqn) -> bool:
    return any(getattr(getattr(v.aval, "dtype", None), "kind", "") == "c" for v in eqn.invars)


def _reduction(eqn: JaxprEqn) -> Rule:
    return Rule(REDUCTIONS, max(0, _size(eqn.invars[0]) - _out(eqn)))


def _window(eqn: JaxprEqn) -> Rule:
    window = math.prod(eqn.params["window_dimensions"])
    return Rule(WINDOWS, _out(eqn) * (window - 1))


def _select_and_scatter(eqn: JaxprEqn) -> Rule:
    window = math.prod(eqn.params["window_dimensions"])
    return Rule(WINDOWS, _size(eqn.invars[0]) * window)


def _cumulative(eqn: JaxprEqn) -> Rule:
    length = eqn.invars[0].aval.shape[eqn.params["axis"]]
    return Rule(WINDOWS, _out(eqn) * (length - 1))


def _dot(eqn: JaxprEqn) -> Rule:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    shape = eqn.invars[0].aval.shape
    if _is_complex(eqn) and len({var.aval.dtype for var in (*eqn.invars, *eqn.outvars)}) > 1:
        return Rule(PRODUCTS, _measured(eqn).flops)  # JAX converts the real ones.
    return Rule(PRODUCTS, 2 * _out(eqn) * math.prod(shape[dim] for dim in contracted))


def _convolution(eqn: JaxprEqn) -> Rule:
    return Rule(PRODUCTS, 2 * convolution_positions(eqn))


def _power(eqn: JaxprEqn) -> Rule:
    exponent = abs(eqn.params["y"])
    if exponent == 0:
        return Rule(ELEMENTWISE)
    steps = exponent.bit_length() - 1 + exponent.bit_count() - 1 + (eqn.params["y"] < 0)
    return Rule(ELEMENTWISE, steps * _out(eqn))


def _sort(eqn: JaxprEqn) -> Rule:
    size = _size(eqn.invars[0])
    return Rule(SORTS, size * max(size - 1, 0).bit_length())


def _exchange(eqn: JaxprEqn) -> Rule:
    return Rule(EXCHANGES, sum(_size(var) for var in eqn.outvars))


def _convert(eqn: JaxprEqn) -> Rule:
    same = eqn.invars[0].aval.dtype == eqn.outvars[0].aval.dtype
    return Rule(ELEMENTWISE, 0 if same else _out(eqn))


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


# These do no arithmetic.
_MOVES = _names(
    """all_gather all_gather_invariant all_to_all broadcast_in_dim concatenate copy copy_p
    device_put dynamic_slice dynamic_update_slice expand_dims iota pad pbroadcast pcast
    platform_index ppermute pvary reduce_scatter reshape reshard rev sharding_constraint slice
    split squeeze stop_gradient tile top_k transpose"""
)
# These move values into references and out of them, or say where a kernel stands.
_REFERENCES = _names(
    """add_dependency broadcast_to create_linear delay dma_start dma_wait empty_ref free_ref freeze
    get get_barrier_semaphore get_global masked_load masked_swap multiple_of new_ref num_programs
    pin program_id roll semaphore_read semaphore_signal semaphore_wait swap trace_value unpin"""
)
# These count one operation for each element of the result.
_ELEMENTWISE = _names(
    """abs add add_any and bitcast_convert_type ceil clamp clz div eq floor ge gt is_finite le lt
    max min mul ne neg not or population_count reduce_precision rem round select_n
    shift_left shift_right_arithmetic shift_right_logical sign square sub xor"""
)
# These count for each element of the result: (operations, transcendental functions).
_TRANSCENDENTAL = {
    "atan2": (0, 1),
    "cbrt": (0, 1),
    "cos": (0, 1),
    "erf": (0, 1),
    "exp": (0, 1),
    "exp2": (1, 1),
    "expm1": (0, 1),
    "log": (0, 1),
    "log1p": (0, 1),
    "logistic": (3, 1),
    "pow": (0, 1),
    "rsqrt": (0, 1),
    "sin": (0, 1),
    "sqrt": (0, 1),
    "tan": (0, 1),
    "tanh": (0, 1),
}
# XLA expands these if they are of complex numbers, and some of `_TRANSCENDENTAL`.
_EXPANDED_IF_COMPLEX = _names(
    """abs cummax cummin max min reduce_max reduce_min reduce_window_max reduce_window_min square"""
)
_EXACT: dict[str, Callable[[JaxprEqn], Rule]] = {
    "conv_general_dilated": _convolution,
    "convert_element_type": _convert,
    "cummax": _cumulative,
    "cummin": _cumulative,
    "cumprod": _cumulative,
    "cumsum": _cumulative,
    "dot_general": _dot,
    "integer_pow": _power,
    "pmax": _exchange,
    "pmin": _exchange,
    "psum": _exchange,
    "psum_invariant": _exchange,
    "reduce_and": _reduction,
    "reduce_max": _reduction,
    "reduce_min": _reduction,
    "reduce_or": _reduction,
    "reduce_prod": _reduction,
    "reduce_sum": _reduction,
    "reduce_window_max": _window,
    "reduce_window_min": _window,
    "reduce_window_sum": _window,
    "reduce_xor": _reduction,
    "select_and_scatter_add": _select_and_scatter,
    "sort": _sort,
}


def _measured(eqn: JaxprEqn) -> Rule:
    """Asks XLA for the count of the equation alone."""
    key = (eqn.primitive.name, str(eqn.params), tuple(str(var.aval) for var in eqn.invars))
    if key not in _MEASURED:
        variables = [var for var in eqn.invars if not isinstance(var, Literal)]

        def alone(*values):
            values = iter(values)
            operands = [v.val if isinstance(v, Literal) else next(values) for v in eqn.invars]
            return eqn.primitive.bind(*operands, **eqn.params)

        shapes = tuple(jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in variables)
        try:
            cost = xla_cost(trace(alone, shapes, {}))
        except UsageError:
            _MEASURED[key] = Rule(EXPANDED, uncounted=(eqn.primitive.name,))
        else:
            _MEASURED[key] = Rule(
                EXPANDED,
                cost.flops,
                cost.transcendentals,
                cost.custom_calls,
                cost.has_loop,
                cost.has_product,
            )
    return _MEASURED[key]


_MEASURED: dict[tuple, Rule] = {}
