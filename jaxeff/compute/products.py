"""The multiply-accumulates of one equation, for each kind of product and for convolutions."""

import math
from collections.abc import Callable

from jax.extend.core import JaxprEqn

from jaxeff.compute.convolutions import convolution_macs


def product_macs(eqn: JaxprEqn) -> int:
    """Counts the multiply-accumulates of executing an equation once: 0 unless it is a product."""
    count = PRODUCT_MACS.get(eqn.primitive.name)
    return 0 if count is None else count(eqn)


def _dot(eqn):
    (contracted, _), _ = eqn.params["dimension_numbers"]
    shape = eqn.invars[0].aval.shape
    return _results(eqn) * math.prod(shape[dim] for dim in contracted)


def _ragged_dot(eqn):
    """m × k × n, of which every group takes its part of m, of k or of the batch."""
    numbers = eqn.params["ragged_dot_dimension_numbers"]
    (contracted, _), _ = numbers.dot_dimension_numbers
    lhs, _, group_sizes = (var.aval.shape for var in eqn.invars)
    macs = _results(eqn) * math.prod(lhs[dim] for dim in contracted)
    # Where the groups part what is contracted, each has a result of its own.
    parted = set(numbers.lhs_ragged_dimensions) & set(contracted)
    return macs // group_sizes[-1] if parted else macs


def _symmetric_product(eqn):
    """Of A Aᵀ, both of whose halves count."""
    return _results(eqn) * eqn.invars[0].aval.shape[-1]


def _results(eqn):
    return math.prod(eqn.outvars[0].aval.shape)


PRODUCT_MACS: dict[str, Callable[[JaxprEqn], int]] = {
    "conv_general_dilated": convolution_macs,
    "dot_general": _dot,
    "ragged_dot_general": _ragged_dot,
    "scaled_dot": _dot,
    "symmetric_product": _symmetric_product,
}
