"""Reads XLA's count, the `flops` of its HLO cost analysis of a program lowered for TPU.

Nothing is compiled and nothing runs. The program is lowered for the platform `tpu` whatever the
machine has, so that the count is of the native convolutions and matrix products, and XLA's own code
in jaxlib analyses it, through a CPU client. `jax.stages.Lowered.cost_analysis` makes the same call
with the client of the current backend, and answers `None` on GPUs and TPUs: hence the call here.
"""

import collections
import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import backend as jax_backend
from jaxlib import _jax, xla_client

from jaxeff.compute.tracing import first_line, function_name, trace
from jaxeff.errors import UsageError

# Custom calls that say where values live and do no arithmetic: `shard_map`, `pmap` and sharding
# constraints become such calls.
_PLACEMENT_CALL = re.compile(
    r"xla\.sdy\.|Sharding$|SPMDFullToShardShape$|SPMDShardToFullShape$|annotate_device_placement$"
)

_ELEMENTWISE = re.compile(r"\[[1-9][\d,]*\]\S* (?:add|divide|multiply|subtract)\(")
_PRODUCT = re.compile(r"\[[1-9][\d,]*\]\S* (?:convolution|dot)\(")
_EMPTY_ARRAY = re.compile(r"\[(?:\d+,)*0(?:,\d+)*\]")


@dataclass(frozen=True)
class XlaCost:
    """XLA's analysis of one program.

    Attributes:
      flops: floating-point (and integer) operations; a multiply-accumulate is two. A loop's body is
        counted once, and so is one device of a `pmap` or `shard_map`.
      transcendentals: exp, log, tanh and their like, which XLA keeps out of `flops`.
      custom_calls: targets of the custom calls in the program, whose work XLA cannot see, sorted.
      has_loop: whether there is a loop in the program.
      has_product: whether there is a matrix product or convolution in it.
    """

    flops: int
    transcendentals: int
    custom_calls: tuple[str, ...]
    has_loop: bool = False
    has_product: bool = False


def xla_cost(traced: jax.stages.Traced) -> XlaCost:
    """Lowers a traced program for TPU and analyses it with XLA.

    Raises:
      UsageError: the program cannot be lowered for TPU (a host callback, say), or XLA gives no
        usable number.
    """
    try:
        module = traced.lower(lowering_platforms=("tpu",)).compiler_ir("hlo").as_hlo_module()
    except Exception as error:
        raise UsageError(
            f"cannot lower {traced.fun_name} for TPU, the platform that compute is counted for: "
            f"{type(error).__name__}: {first_line(error)}; leave callbacks to Python out of it "
            "(jax.debug.print, jax.pure_callback)"
        ) from error
    analysis = _jax.hlo_module_cost_analysis(_client(), module) or {}
    hlo = module.to_string()
    calls = _custom_calls(hlo)
    # XLA leaves out a count of zero. Where the program has arithmetic, a missing count is no count.
    flops = analysis.get("flops", math.nan if _has_arithmetic(hlo) else 0.0)
    # XLA writes -1 ("unknown") for each custom call and adds it to the sum.
    flops += sum(calls.values())
    transcendentals = analysis.get("transcendentals", 0.0)
    for count in flops, transcendentals:
        if not (math.isfinite(count) and count >= 0 and count == int(count)):
            raise UsageError(
                f"XLA's cost analysis of {traced.fun_name} reads {analysis}, which is no count"
            )
    hidden = tuple(sorted(target for target in calls if not _PLACEMENT_CALL.match(target)))
    products = bool(re.search(r" (?:convolution|dot|ragged-dot)\(", hlo))
    return XlaCost(int(flops), int(transcendentals), hidden, " while(" in hlo, products)


def xla_flops(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Returns XLA's count of the floating-point operations of `fn(*args, **kwargs)`.

    `fn` is lowered for the platform `tpu`, never compiled and never run; the count does not depend
    on the machine, its devices or JAX's current backend. A multiply-accumulate is two operations;
    products with padding zeros are left out; element-wise operations count one per element of the
    result and transcendental functions nothing. A loop's body is counted once, and so is one device
    of a `pmap` or `shard_map`: `step_cost` corrects for both. XLA adds up in single precision, so
    that its count of a big program is off by some 1e-5 of it; `StepCost.flops` is exact.

    Args:
      fn: any function that JAX can trace.
      *args: its arguments: pytrees of arrays or `jax.ShapeDtypeStruct`.
      **kwargs: its keyword arguments, likewise.

    Returns:
      The number of operations.

    Raises:
      UsageError: `fn` cannot be traced with these arguments or lowered for TPU, it contains a
        custom call (a Pallas kernel, a library routine) whose work XLA does not count, or XLA gives
        no usable number.

    Source: `HloCostAnalysis` in XLA, `xla/service/hlo_cost_analysis.cc`.
    """
    traced = trace(fn, args, kwargs)
    cost = xla_cost(traced)
    if cost.custom_calls:
        raise UsageError(
            f"{function_name(fn)} contains custom calls that XLA does not count: "
            f"{', '.join(cost.custom_calls)}; jaxeff.compute.step_cost counts the rest and names "
            "them"
        )
    return cost.flops


@functools.cache
def _client():
    try:
        return jax_backend.get_backend("cpu")
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        return xla_client.make_cpu_client()


def _has_arithmetic(hlo: str) -> bool:
    """Whether a module certainly has operations; a product of empty arrays has none."""
    return bool(_ELEMENTWISE.search(hlo) or (_PRODUCT.search(hlo) and not _EMPTY_ARRAY.search(hlo)))


def _custom_calls(hlo: str) -> dict[str, int]:
    """Reads from an HLO module's text how often XLA's analysis meets each custom-call target."""
    if "custom-call" not in hlo:
        return {}
    entry, bodies = _computations(hlo)

    @functools.cache
    def calls_in(computation: str) -> collections.Counter:
        total = collections.Counter()
        for line in bodies[computation]:
            target = re.search(r'custom_call_target="([^"]*)"', line)
            branches = re.search(r"branch_computations=\{([^}]*)\}", line)
            if target:
                total[target[1]] += 1
            elif branches:  # The branch with the most calls stands for all.
                names = [name.strip().lstrip("%") for name in branches[1].split(",")]
                total += max(map(calls_in, names), key=collections.Counter.total)
            else:
                for name in re.findall(r"(?:to_apply|calls|body|condition)=%?([\w.\-]+)", line):
                    total += calls_in(name)
        return total

    return calls_in(entry)


def _computations(hlo: str) -> tuple[str, dict[str, list[str]]]:
    """The name of an HLO module's entry computation, and each computation's lines by name."""
    bodies: dict[str, list[str]] = {}
    entry = lines = None
    for line in hlo.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
        if header:
            lines = bodies.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            lines = None
        elif lines is not None:
            lines.append(line)
    return entry, bodies
