"""What one call of a function costs, by operation, module and phase, and twice over.

XLA's count and one that is walked from the jaxpr are made independently, and their difference is
broken down until what is left is unexplained. A step whose two counts agree has been counted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jaxeff.compute.macs import operation_macs
from jaxeff.compute.operations import PHASES, operations
from jaxeff.compute.xla import trace, xla_cost
from jaxeff.compute.xla_rules import KERNELS, KINDS, PRODUCTS, Rule, rule
from jaxeff.errors import UsageError

MACS = "2 × multiply-accumulates"
PADDING = "products with padding zeros, which XLA leaves out"
LOOPS = "loops, whose body XLA counts once"
DEVICES = "devices, of which XLA counts one"
LOOP_COUNTERS = "loop counters, which XLA adds"
HIDDEN_KERNELS = "Pallas kernels, which XLA does not see"


@dataclass(frozen=True)
class Cost:
    """What some operations of a program cost together, in one call of it.

    Attributes:
      macs: multiply-accumulates of matrix products and convolutions, padding included.
      flops: operations as XLA counts them: two for a multiply-accumulate, none for a product with
        padding, one for each result of an element-wise operation.
      transcendentals: exp, log, tanh and their like, which `flops` does not contain.
    """

    macs: int = 0
    flops: int = 0
    transcendentals: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.macs + other.macs,
            self.flops + other.flops,
            self.transcendentals + other.transcendentals,
        )


@dataclass(frozen=True)
class CostLine:
    """The operations of one kind, of one module, in one phase.

    Attributes:
      source: the Flax module path (`Net/Conv_0`) or `jax.named_scope`; `""` outside any.
      phase: `forward`, `forward, recomputed`, `gradient to inputs`, `gradient to weights` or
        `update`; `jaxeff.compute.operations.operations` says how they are told apart.
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
        lower the function for TPU, and `unseen` says so.
      xla_transcendentals: likewise.
      breakdown: the terms that lead from 2 × MACs to `xla_flops`, in operations; they and
        `unexplained` add up to it.
      unexplained: `xla_flops` less all terms of `breakdown`; None where `xla_flops` is. XLA adds up
        in single precision: of a count above 2^24 some 1e-5 is rounding, and unexplained.
      notes: choices that were made, such as the branch of a `cond`.
      unseen: what is not, or not fully, in the count, each with its place. Empty for a complete
        count.
    """

    lines: tuple[CostLine, ...]
    xla_flops: int | None
    xla_transcendentals: int | None
    breakdown: Mapping[str, int]
    unexplained: int | None
    notes: tuple[str, ...]
    unseen: tuple[str, ...]

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

    def total(self) -> Cost:
        """The whole of the independent count."""
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
        """The cost of each module by phase, then the breakdown: lines of text."""
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
        text += [f"note: {note}" for note in self.notes]
        text += [f"not counted: {name}" for name in self.unseen]
        return "\n".join(text)

    def __str__(self) -> str:
        return self.table()


def step_cost(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> StepCost:
    """Count what one call of `fn(*args, **kwargs)` costs, twice and independently.

    One count is XLA's (`xla_flops`), the other is walked from the jaxpr: multiply-accumulates as in
    `count_macs`, and every other operation by the rules of `jaxeff.compute.xla_rules`, by module
    and by phase of a training step. `fn` is neither compiled nor run, and the result does not
    depend on the machine. What the walk cannot see into is named in `unseen`; only then can the
    count be too low.

    The function may be jitted, pmapped, vmapped, differentiated, rematerialised. A `pmap` or
    `shard_map` counts on all of its devices together, so that a step over four devices has the
    multiply-accumulates of the same step, with the same global batch, on one.

    Args:
      fn: any function that JAX can trace.
      *args: its arguments: pytrees of arrays or `jax.ShapeDtypeStruct`.
      **kwargs: likewise.

    Returns:
      The two counts, and what lies between them.

    Raises:
      UsageError: `fn` cannot be traced with these arguments.
    """
    traced = trace(fn, args, kwargs)
    flat = operations(traced.jaxpr, lambda eqn: rule(eqn).flops)
    unseen = list(flat.unseen)
    named = {"tpu_custom_call"}  # Pallas kernels, which the walk names
    lines: dict[tuple[str, str, str, str], list] = {}
    terms = dict.fromkeys(
        (MACS, PADDING, *KINDS[1:], LOOPS, DEVICES, LOOP_COUNTERS, HIDDEN_KERNELS), 0
    )
    terms[LOOP_COUNTERS] = flat.loop_counters
    for step in flat.operations:
        each = Rule(rule(step.eqn).kind) if step.folded else rule(step.eqn)
        macs = operation_macs(step)
        unseen += [f"{name} in {step.source or 'the function itself'}" for name in each.hidden]
        named.update(each.hidden)
        if each.kind == PRODUCTS:
            terms[MACS] += 2 * macs * step.times
            terms[PADDING] -= (2 * macs - each.flops) * step.times
        else:
            terms[each.kind] += each.flops * step.times
        if each.kind == KERNELS:
            terms[HIDDEN_KERNELS] -= each.flops * step.times
        else:
            terms[LOOPS] += each.flops * (step.counted - step.shared)
            terms[DEVICES] += each.flops * (step.shared - step.times)
        key = step.source, step.phase, step.primitive, each.kind
        line = lines.setdefault(key, [0, Cost()])
        line[0] += step.times
        line[1] += Cost(
            macs * step.times, each.flops * step.times, each.transcendentals * step.times
        )
    try:
        xla = xla_cost(traced)
        unseen += [f"custom call {name}" for name in xla.custom_calls if name not in named]
    except UsageError as error:
        xla = None
        unseen.append(f"XLA's count: {error}")
    return StepCost(
        tuple(CostLine(*key, times, cost) for key, (times, cost) in lines.items()),
        xla.flops if xla else None,
        xla.transcendentals if xla else None,
        MappingProxyType(terms),
        xla.flops - sum(terms.values()) if xla else None,
        flat.notes,
        tuple(dict.fromkeys(unseen)),
    )


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
