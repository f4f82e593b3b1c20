"""The operations that a traced program executes, one by one, with what each is for."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var
from jax.interpreters.partial_eval import dce_jaxpr

from jaxeff.compute.causal import causal_masks
from jaxeff.compute.phases import phases
from jaxeff.compute.walk import Step, module_path, walk


@dataclass(frozen=True)
class Operation:
    """One primitive of a program, with no jaxpr inside it.

    Attributes:
      eqn: the equation, for its parameters and the shapes of what goes in and comes out.
      source: where it is from: the Flax module path or `jax.named_scope`, `""` outside any.
      phase: one of `jaxeff.compute.phases.PHASES`.
      times: how often it executes in one call of the program, on all devices together.
      times_per_device: how often it executes on one of them.
      times_in_xla: how often XLA's cost analysis counts it: a loop's body once, on one device.
      in_kernel: whether it is inside a Pallas kernel, which XLA does not see.
      in_estimate: whether that kernel comes with an estimate of its FLOPs.
    """

    eqn: JaxprEqn
    source: str
    phase: str
    times: int
    times_per_device: int
    times_in_xla: int
    in_kernel: bool = False
    in_estimate: bool = False

    @property
    def primitive(self) -> str:
        """The primitive's name, as in `dot_general`."""
        return self.eqn.primitive.name


@dataclass(frozen=True)
class Operations:
    """What a program executes.

    Attributes:
      operations: in the order in which JAX traced them.
      loop_counters: integer operations by which XLA counts loops, and which are not in the program.
      other_branches: by how much more XLA counts where it takes another branch than the list.
      notes: what was chosen where there was a choice, such as a branch.
      uncounted: what the list does not account for, each with its place.
    """

    operations: tuple[Operation, ...]
    loop_counters: int
    other_branches: int
    notes: tuple[str, ...]
    uncounted: tuple[str, ...]


def operations(
    program: ClosedJaxpr, trip_counts: Mapping[str, int] = MappingProxyType({})
) -> Operations:
    """Lists the operations that a program executes on a TPU.

    Code whose result nobody uses is dropped first, as JAX does when it lowers a program, and so is
    what XLA simplifies away (`jaxeff.compute.folding`): no machine executes it. The body of a
    `scan` executes `length` times, that of a `pmap` or `shard_map` on every device of its axes,
    that of a Pallas kernel at every point of its grid. Of a `jax.lax.platform_dependent` the list
    has the branch that a TPU takes; of a `cond` the branch with the most operations, and a note
    says so, unless the branch follows from constants or from the place in a kernel's grid. Of a
    `while` loop of unknown length it has one pass, and `uncounted` names it.

    Args:
      program: the `jaxpr` of `jax.jit(fn).trace(*args)`, or what `jax.make_jaxpr(fn)(*args)`
        returns.
      trip_counts: how often `while` loops execute their body each time that they are entered, by
        their names in `uncounted`: the module path and `while` (`"solver/while"`, or `"while"`
        outside any module), from the second loop there on with its number (`"solver/while_2"`).

    Returns:
      The operations, with how often each executes, its module and its phase in a training step.

    Raises:
      UsageError: `trip_counts` names a loop that is not in the program, or is no number of passes.
    """
    jaxpr, _ = dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))
    found = walk(jaxpr, program.consts, trip_counts)
    labels, guesses = phases(found)
    return Operations(
        tuple(
            _operation(step, phase)
            for step, phase in zip(found.steps, labels, strict=True)
            if not step.folded
        ),
        found.loop_counters,
        found.other_branches,
        tuple(dict.fromkeys([*found.notes, *causal_masks(found, _arrays(program)), *guesses])),
        tuple(dict.fromkeys(found.uncounted)),
    )


def _arrays(program: ClosedJaxpr) -> dict[Var, Any]:
    """The arrays that are written into a program and the programs that it calls."""
    arrays, pending = {}, [program]
    while pending:
        value = pending.pop()
        if isinstance(value, ClosedJaxpr):
            arrays.update(zip(value.jaxpr.constvars, value.consts, strict=True))
            value = value.jaxpr
        if isinstance(value, Jaxpr):
            pending += [param for eqn in value.eqns for param in eqn.params.values()]
        elif isinstance(value, (tuple, list)):
            pending += value
    return arrays


def _operation(step: Step, phase: str) -> Operation:
    place = step.place
    return Operation(
        eqn=step.eqn,
        source=module_path(place.name_stack),
        phase=phase,
        times=place.times_per_device * place.devices,
        times_per_device=place.times_per_device,
        times_in_xla=place.times_in_xla,
        in_kernel=place.in_kernel,
        in_estimate=place.in_estimate,
    )
