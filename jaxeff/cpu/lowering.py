"""How a kernel takes the place of what JAX lowers a primitive to on CPUs."""

import math
from collections.abc import Callable

from jax.extend.core import Primitive
from jax.interpreters import mlir


def register(primitive: Primitive, choose: Callable) -> Callable[[], None]:
    """Lets `choose` decide how `primitive` is computed on CPUs in programs lowered from now on.

    Tracing, differentiation and batching never see it, and neither does a program lowered for
    another platform.

    Args:
      primitive: such as `jax.lax.conv_general_dilated_p`.
      choose: takes the operands (their shapes and dtypes) and the parameters of `primitive`, and
        returns a function of the same arguments, written in JAX, that computes the one result; or
        None for what was registered before.

    Returns:
      A function that undoes this. Undo the last registration first.
    """
    before = _registered(primitive)

    def lower(context, *operands, **params):
        rule = before
        if _is_plain(context):
            implementation = choose(*context.avals_in, **params)
            if implementation is not None:
                rule = mlir.lower_fun(implementation, multiple_results=False)
        return rule(context, *operands, **params)

    mlir.register_lowering(primitive, lower, platform="cpu")
    return lambda: mlir.register_lowering(primitive, before, platform="cpu")


def _registered(primitive):
    """The rule by which JAX lowers `primitive` on CPUs now, from JAX's own tables."""
    entry = mlir._platform_specific_lowerings["cpu"].get(primitive) or mlir._lowerings[primitive]
    # JAX 0.10 keeps the rule in an entry.
    return getattr(entry, "rule", entry)


def _is_plain(context):
    """Whether all shapes are known and not empty, and nothing is sharded or to be exported.

    A program for export must not hold calls whose meaning JAX does not guarantee.
    """
    avals = (*context.avals_in, *context.avals_out)
    return (
        not context.module_context.lowering_parameters.for_export
        and all(isinstance(size, int) for aval in avals for size in aval.shape)
        and all(math.prod(aval.shape) for aval in avals)
        and all(axis is None for aval in avals for axis in aval.sharding.spec)
    )
