"""Counts what one call of a function costs, by operation, module and phase, in two ways.

XLA's count and one that is walked from the jaxpr are made independently, and their difference is
broken down into terms; what no term explains is left over. A step whose two counts agree has been
counted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import jax

from jaxeff.compute.arithmetic import arithmetic
from jaxeff.compute.convolutions import ambiguous_convolution
from jaxeff.compute.operations import Operation, Operations, operations
from jaxeff.compute.phases import PHASES
from jaxeff.compute.products import product_macs
from jaxeff.compute.tracing import trace
from jaxeff.compute.walk import uncounted_in
from jaxeff.compute.xla import XlaCost, xla_cost
from jaxeff.compute.xla_rules import ELEMENTWISE, KERNELS, KINDS, PRODUCTS, Rule, rule
from jaxeff.errors import UsageError

MACS = "2 × multiply-accumulates"
PADDING = "products with padding zeros, which XLA leaves out"
LOOPS = "loops, whose body XLA counts once"
DEVICES = "devices, of which XLA counts one"
LOOP_COUNTERS = "loop counters, which XLA adds"
BRANCHES = "branches, of which XLA counts the one with most by its rules"
RAGGED = "ragged products, which XLA does not count as products"
HIDDEN_KERNELS = "Pallas kernels, which XLA does not see"
# Where 2 × MACs and XLA's count of a product part.
_DIFFERENCES = {"conv_general_dilated": PADDING, "ragged_dot_general": RAGGED}
SMALLER = "smaller differences"
# Where XLA's rule and ours for an operation part by more than this fraction of a step's operations,
# the step's cost says so.
_WORTH_NAMING = 0.01


@dataclass(frozen=True)
class Cost:
    """What some operations of a program cost together in one call of it.

    Attributes:
      macs: multiply-accumulates of matrix products and convolutions, padding included.
      flops: operations as XLA counts them: two for a multiply-accumulate, none for a product with
        padding, one for each result of an element-wise operation.
      transcendentals: exp, log, tanh and their like, which `flops` does not contain.
      operations: what the arithmetic takes, by the rules of `jaxeff.compute.arithmetic`.
    """

    macs: int = 0
    flops: int = 0
    transcendentals: int = 0
    operations: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.macs + other.macs,
            self.flops + other.flops,
            self.transcendentals + other.transcendentals,
            self.operations + other.operations,
        )


@dataclass(frozen=True)
class CostLine:
    """The operations of one kind, of one module, in one phase.

    Attributes:
      source: the Flax module path (`Net/Conv_0`) or `jax.named_scope`; `""` outside any.
      phase: `forward`, `forward, rematerialised`, `gradient to inputs`, `gradient to weights` or
        `update`; `jaxeff.compute.phases` says how they are told apart.
      primitive: the JAX primitive (`dot_general`).
      kind: one of `jaxeff.compute.xla_rules.KINDS`.
      times: how often it executes, loops and devices included.
      cost: what those executions cost together.
    """

    source: str
    phase: str
    primitive: str
    kind: str
    times: int
    cost: Cost


@dataclass(frozen=True)
class StepCost:
    """What one call of a function costs: see `step_cost`.

    Attributes:
      lines: the independent count, by source, phase and primitive, in order of execution.
      xla_flops: XLA's count as it stands (loop bodies once, one device); None where XLA cannot
        lower the function for TPU, and `uncounted` says so.
      xla_transcendentals: XLA's count of transcendental functions, likewise.
      breakdown: the terms that lead from 2 × MACs to `xla_flops`, in operations. They and
        `unexplained` add up to it.
      unexplained: `xla_flops` less all terms of `breakdown`; None where `xla_flops` is. XLA adds up
        in single precision, so that of a count above 2^24 some 1e-5 may be rounding.
      operations_breakdown: the terms that lead from `flops` to `operations`, which they add up to
        with it: each primitive where XLA's rule and ours part by more than 1 % of the step's
        operations, with the reason, and the rest together.
      notes: choices that were made, such as the branch of a `cond`.
      uncounted: what is not, or not fully, in the count, each with its place. It is empty if the
        count is complete.
    """

    lines: tuple[CostLine, ...]
    xla_flops: int | None
    xla_transcendentals: int | None
    breakdown: Mapping[str, int]
    unexplained: int | None
    operations_breakdown: Mapping[str, int]
    notes: tuple[str, ...]
    uncounted: tuple[str, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates, every pass of every loop, all devices together."""
        return self.total().macs

    @property
    def flops(self) -> int:
        """Operations in XLA's convention, every pass of every loop, all devices together."""
        return self.total().flops

    @property
    def transcendentals(self) -> int:
        """Transcendental functions, every pass of every loop, all devices together."""
        return self.total().transcendentals

    @property
    def operations(self) -> int:
        """What the arithmetic takes: 2 × MACs, every element-wise operation once, n − 1 for a sum
        or running sum of n, n log2 n for a sort of n, 5 N log2 N for a complex transform of N, 8
        for a complex multiply-accumulate. Every pass of every loop, all devices together.
        """
        return self.total().operations

    def total(self) -> Cost:
        """The independent count of all operations together."""
        return sum((line.cost for line in self.lines), Cost())

    def by_source(self) -> dict[str, Cost]:
        """Cost of each module, in order of first execution."""
        return self._by(lambda line: line.source)

    def by_phase(self) -> dict[str, Cost]:
        """Cost of each phase that occurs, in the order of a training step."""
        costs = self._by(lambda line: line.phase)
        return {phase: costs[phase] for phase in PHASES if phase in costs}

    def by_primitive(self) -> dict[str, Cost]:
        """Cost of each JAX primitive, in order of first execution."""
        return self._by(lambda line: line.primitive)

    def _by(self, key: Callable[[CostLine], str]) -> dict[str, Cost]:
        costs: dict[str, Cost] = {}
        for line in self.lines:
            costs[key(line)] = costs.get(key(line), Cost()) + line.cost
        return costs

    def table(self) -> str:
        """Lines of text: the cost of each module by phase, then the breakdown."""
        phases = [phase for phase, cost in self.by_phase().items() if cost.macs]
        macs: dict[tuple[str, str], int] = {}
        for line in self.lines:
            place = line.source, line.phase
            macs[place] = macs.get(place, 0) + line.cost.macs
        header = ["source", *(f"MACs, {phase}" for phase in phases), "FLOPs", "transcendentals"]
        rows = [
            [
                source or "(outside any module)",
                *(_number(macs.get((source, phase), 0)) for phase in phases),
                _number(cost.flops),
                _number(cost.transcendentals),
            ]
            for source, cost in self.by_source().items()
        ]
        total, by_phase = self.total(), self.by_phase()
        rows.append(
            [
                "total",
                *(_number(by_phase[phase].macs) for phase in phases),
                _number(total.flops),
                _number(total.transcendentals),
            ]
        )
        text = [_aligned([header, *rows]), ""]
        if self.xla_flops is not None:
            terms = [[name, f"{flops:+,}"] for name, flops in self.breakdown.items() if flops]
            terms.append(["unexplained", f"{self.unexplained:+,}"])
            terms.append(["XLA's count, FLOPs", f"{self.xla_flops:,}"])
            text.append(_aligned(terms))
        terms = [[name, f"{count:+,}"] for name, count in self.operations_breakdown.items()]
        if terms and list(self.operations_breakdown) != [SMALLER]:
            terms = [["FLOPs", f"{self.flops:,}"], *terms]
            text += ["", _aligned([*terms, ["operations", f"{self.operations:,}"]])]
        text += [f"note: {note}" for note in self.notes]
        text += [f"not counted: {name}" for name in self.uncounted]
        return "\n".join(text)

    def __str__(self) -> str:
        return self.table()


def step_cost(
    fn: Callable[..., Any],
    *args: Any,
    trip_counts: Mapping[str, int] = MappingProxyType({}),
    **kwargs: Any,
) -> StepCost:
    """Counts what one call of `fn(*args, **kwargs)` costs, twice and independently.

    One count is XLA's (`xla_flops`). The other is walked from the jaxpr: multiply-accumulates as in
    `count_macs`, and every other operation by the rules of `jaxeff.compute.xla_rules` and, in
    `operations`, of `jaxeff.compute.arithmetic`, by module and by phase of a training step. `fn` is
    neither compiled nor run, and the result does not depend on the machine. `uncounted` names what
    the walk cannot see into; only if it names something can the count be too low.

    The function may be jitted, pmapped, vmapped, differentiated, rematerialised. What it changes in
    place in its arguments (`flax.nnx` modules and optimizers, dictionaries, lists) counts like what
    it returns; the arguments themselves stay as they are. A `pmap` or
    `shard_map` counts on all of its devices together, so that a step over four devices has the
    multiply-accumulates of the same step, with the same global batch, on one.

    Args:
      fn: any function that JAX can trace.
      *args: its arguments: pytrees of arrays or `jax.ShapeDtypeStruct`. Strings, booleans, dtypes,
        functions and other objects without arrays are static.
      trip_counts: how often each `while` loop executes its body when it is entered, by the name
        that `uncounted` gives it, such as `{"solver/while": 20}`.
      **kwargs: its keyword arguments, likewise.

    Returns:
      The two counts, and the terms of their difference.

    Raises:
      UsageError: `fn` cannot be traced with these arguments or changes something else in place, or
        `trip_counts` names a loop that it does not have.
    """
    traced = trace(fn, args, kwargs)
    program = operations(traced.jaxpr, trip_counts)
    counted = [_count(operation) for operation in program.operations]
    xla, xla_error = _xla_cost_or_error(traced)
    breakdown = _breakdown(counted, program)
    return StepCost(
        lines=_lines(counted),
        xla_flops=xla.flops if xla else None,
        xla_transcendentals=xla.transcendentals if xla else None,
        breakdown=MappingProxyType(breakdown),
        unexplained=xla.flops - sum(breakdown.values()) if xla else None,
        operations_breakdown=MappingProxyType(_operations_breakdown(counted)),
        notes=(*program.notes, *_ambiguities(program.operations)),
        uncounted=tuple(dict.fromkeys([*program.uncounted, *_uncounted(counted, xla), *xla_error])),
    )


@dataclass(frozen=True)
class _Counted:
    """An operation with the cost of executing it once.

    Attributes:
      operation: the operation.
      rule: what XLA counts.
      macs: its multiply-accumulates.
      operations: what its arithmetic takes.
      why: why XLA counts otherwise, where it does.
    """

    operation: Operation
    rule: Rule
    macs: int
    operations: float
    why: str

    @property
    def total(self) -> Cost:
        """The cost of all its executions, on all devices together."""
        times = self.operation.times
        return Cost(
            self.macs * times,
            self.rule.flops * times,
            self.rule.transcendentals * times,
            round(self.operations * times),
        )


def _count(operation: Operation) -> _Counted:
    counted, macs = rule(operation.eqn), product_macs(operation.eqn)
    takes = arithmetic(operation.eqn, macs)
    if counted.has_loop and takes.as_xla:
        once = f"{operation.primitive}, a loop in XLA (counted as one pass)"
        counted = replace(counted, uncounted=(*counted.uncounted, once))
    if counted.has_product and not (macs or counted.uncounted):
        hidden = f"the multiply-accumulates of {operation.primitive}"
        counted = replace(counted, uncounted=(hidden,))
    if operation.in_estimate:
        counted = Rule(counted.kind, uncounted=counted.uncounted)
    return _Counted(operation, counted, macs, takes.operations, takes.why)


def _ambiguities(operations: Iterable[Operation]) -> list[str]:
    """How the convolutions were read that can be read in two ways."""
    what = "convolution padded by a whole kernel on each side"
    readings = (
        (each.source, ambiguous_convolution(each.eqn))
        for each in operations
        if each.primitive == "conv_general_dilated"
    )
    notes = (f"{uncounted_in(what, source)}: {how}" for source, how in readings if how)
    return list(dict.fromkeys(notes))


def _lines(counted: list[_Counted]) -> tuple[CostLine, ...]:
    """The costs, summed by source, phase, primitive and kind."""
    times: dict[tuple[str, str, str, str], int] = {}
    costs: dict[tuple[str, str, str, str], Cost] = {}
    for each in counted:
        operation = each.operation
        key = operation.source, operation.phase, operation.primitive, each.rule.kind
        times[key] = times.get(key, 0) + operation.times
        costs[key] = costs.get(key, Cost()) + each.total
    return tuple(CostLine(*key, times[key], costs[key]) for key in costs)


def _breakdown(counted: list[_Counted], program: Operations) -> dict[str, int]:
    """The terms that lead from 2 × MACs to XLA's count, which they add up to."""
    names = (MACS, PADDING, RAGGED, *KINDS[1:], LOOPS, DEVICES, LOOP_COUNTERS, BRANCHES)
    terms = dict.fromkeys((*names, HIDDEN_KERNELS), 0)
    terms[LOOP_COUNTERS] = program.loop_counters
    terms[BRANCHES] = program.other_branches
    for each in counted:
        operation, kind, flops = each.operation, each.rule.kind, each.rule.flops
        if each.macs and operation.in_estimate:
            terms[MACS] += 2 * each.macs * operation.times
            terms[HIDDEN_KERNELS] -= 2 * each.macs * operation.times
        elif each.macs:
            # Around a product of real and complex numbers JAX converts the real ones.
            difference = _DIFFERENCES.get(operation.primitive, ELEMENTWISE)
            terms[MACS] += 2 * each.macs * operation.times
            terms[difference] -= (2 * each.macs - flops) * operation.times
        elif kind != PRODUCTS:  # A product of empty arrays has no multiply-accumulates.
            terms[kind] += flops * operation.times
        if kind == KERNELS or operation.in_kernel:
            terms[HIDDEN_KERNELS] -= flops * operation.times
        else:
            terms[LOOPS] += flops * (operation.times_in_xla - operation.times_per_device)
            terms[DEVICES] += flops * (operation.times_per_device - operation.times)
    return terms


def _operations_breakdown(counted: list[_Counted]) -> dict[str, int]:
    """The terms that lead from XLA's count, loops and devices included, to that of operations."""
    terms: dict[str, int] = {}
    for each in counted:
        name, why = each.operation.primitive, each.why
        if each.operation.in_estimate:  # The body belongs to the estimate.
            name, why = "pallas_call", "its estimate is not what its body takes"
        term = f"{name}: {why}" if why else name
        terms[term] = terms.get(term, 0) + each.total.operations - each.total.flops
    least = _WORTH_NAMING * sum(each.total.operations for each in counted)
    named = {term: count for term, count in terms.items() if abs(count) > least}
    smaller = sum(terms.values()) - sum(named.values())
    return named | ({SMALLER: smaller} if smaller else {})


def _uncounted(counted: list[_Counted], xla: XlaCost | None) -> list[str]:
    """What neither the rules nor XLA count: within operations, then custom calls."""
    within = [(name, each.operation.source) for each in counted for name in each.rule.uncounted]
    # The walk names Pallas kernels itself, and counts them where they come with an estimate.
    named = {"tpu_custom_call", *(name for name, _ in within)}
    calls = xla.custom_calls if xla else ()
    return [uncounted_in(*each) for each in within] + [
        f"custom call {name}" for name in calls if name not in named
    ]


def _xla_cost_or_error(traced: jax.stages.Traced) -> tuple[XlaCost | None, list[str]]:
    """XLA's count, or None and why there is none."""
    try:
        return xla_cost(traced), []
    except UsageError as error:
        return None, [f"XLA's count: {error}"]


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    )
