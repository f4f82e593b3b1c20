"""The walk over a jaxpr, which opens every call, loop, branch and device map in it.

A jaxpr nests: such an equation holds a jaxpr of its own. The walk enters it and lists the equations
inside as if they stood outside. Every value has a number, which it keeps where it goes into a call
or comes out of one, so that the list shows which equation reads the result of which.
"""

import functools
import itertools
import math
import numbers
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jax import ShapeDtypeStruct, lax, make_jaxpr
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.interpreters.partial_eval import dce_jaxpr

from jaxeff.compute.arithmetic import arithmetic
from jaxeff.compute.folding import Simplifier
from jaxeff.compute.kernels import GridScalars
from jaxeff.compute.products import product_macs
from jaxeff.compute.xla_rules import rule
from jaxeff.errors import UsageError


@dataclass(frozen=True)
class Place:
    """Where in the nested jaxprs a step stands, and how often the program gets there.

    Attributes:
      name_stack: JAX's name stack: the modules, scopes and transformations around the step.
      times_per_device: how often one device executes the step.
      devices: how many devices execute it.
      times_in_xla: how often XLA's cost analysis counts it: a loop's body once, on one device.
      remat: whether the step is inside `jax.checkpoint`.
      in_kernel: whether the step is inside a Pallas kernel, which XLA does not see.
      in_estimate: whether the kernel comes with an estimate of its FLOPs.
    """

    name_stack: str = ""
    times_per_device: int = 1
    devices: int = 1
    times_in_xla: int = 1
    remat: bool = False
    in_kernel: bool = False
    in_estimate: bool = False

    @property
    def differentiated(self) -> bool:
        """Whether the step is under `jax.jvp`, as a loss and its forward pass are."""
        return "jvp(" in self.name_stack

    @property
    def transposed(self) -> bool:
        """Whether the step is under JAX's transposition, as a backward pass is."""
        return "transpose(" in self.name_stack

    def inside(self, name_stack: str) -> "Place":
        """The place of an equation with this name stack in a jaxpr that stands here."""
        return replace(self, name_stack="/".join(filter(None, (self.name_stack, name_stack))))


@dataclass(frozen=True, eq=False)
class Step:
    """One equation without a jaxpr inside it, where the program executes it.

    Attributes:
      eqn: the equation.
      inputs: the numbers of the values that it reads.
      outputs: the numbers of the values that it writes.
      place: where it stands.
      folded: whether XLA simplifies it away: `jaxeff.compute.folding`.
    """

    eqn: JaxprEqn
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    place: Place
    folded: bool = False

    @property
    def primitive(self) -> str:
        """The primitive's name, as in `dot_general`."""
        return self.eqn.primitive.name


@dataclass
class Walked:
    """What the walk found.

    Attributes:
      steps: in the order in which JAX traced them.
      aliases: pairs of values of which the second is the first under another number.
      carries: pairs of values of which the second is the first in a loop's next pass.
      changing: those pairs of `aliases` in which one value is what the other is in a single pass of
        a loop: a carry, or an element of what is scanned or stacked.
      literals: the values that are written into the program.
      constants: those of them that are read where they are written, with what they are.
      arrays: the arrays that are written into the program, by their variables.
      returned: the values that the program returns.
      kept: these, and the values that go into a call, a loop or a branch or come out
        of one, and those that choose a branch.
      literal_cotangents: the literals with which a rematerialised backward pass begins.
      loop_counters: integer operations by which XLA counts loops, and which are not in the program.
      other_branches: by how much more XLA counts where it takes another branch than the walk.
      notes: what was chosen where there was a choice.
      uncounted: what the steps do not account for, each with its place.
    """

    steps: list[Step] = field(default_factory=list)
    aliases: list[tuple[int, int]] = field(default_factory=list)
    carries: list[tuple[int, int]] = field(default_factory=list)
    changing: set[tuple[int, int]] = field(default_factory=set)
    literals: set[int] = field(default_factory=set)
    constants: dict[int, Any] = field(default_factory=dict)
    arrays: dict[int, Var] = field(default_factory=dict)
    returned: list[int] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)
    literal_cotangents: set[int] = field(default_factory=set)
    loop_counters: int = 0
    other_branches: int = 0
    notes: list[str] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)


def walk(jaxpr: Jaxpr, constants: Sequence[Any], trip_counts: Mapping[str, int]) -> Walked:
    """Lists the steps that a program executes on a TPU: see `jaxeff.compute.operations`.

    Args:
      jaxpr: the program.
      constants: the values of its constants.
      trip_counts: as for `jaxeff.compute.operations.operations`.

    Raises:
      UsageError: `trip_counts` names a loop that is not in the program, or is no number of passes.
    """
    found, loops = Walked(), _WhileLoops(trip_counts)
    walker = _Walker(found, itertools.count(), Simplifier(), loops)
    inputs = walker.new_values(len(jaxpr.invars))
    found.returned = walker.body((jaxpr, constants), inputs, Place())
    found.kept.update(found.returned)
    loops.check()
    return _without_unread_steps(found, walker.simplifier)


def _without_unread_steps(found: Walked, simplifier: Simplifier) -> Walked:
    """Marks as folded what nothing reads once the other steps are folded."""
    unread = simplifier.unread((step for step in found.steps if not step.folded), found.kept)
    steps = [replace(step, folded=True) if step in unread else step for step in found.steps]
    return replace(found, steps=steps)


def module_path(name_stack: str) -> str:
    """The module path in a name stack: `Net/Conv_0` in `transpose(jvp(Net))/Conv_0`."""
    names = re.sub(r"[\w.]+\(|\)", "", name_stack).split("/")
    modules = [name for name in names if name not in _NOT_MODULES]
    # Inside a rematerialised module the path is there twice: transpose(jvp(Net))/jvp(Net)/Dense_0.
    for length in range(len(modules) // 2, 0, -1):
        if modules[:length] == modules[length : 2 * length]:
            return "/".join(modules[length:])
    return "/".join(modules)


def uncounted_in(what: str, module: str) -> str:
    """The words in which `uncounted` names something and its place."""
    return f"{what} in {module or 'the function itself'}"


_NOT_MODULES = {"", "checkpoint", "rematted_computation", "while", "body", "cond", "closed_call"}

_REMAT = {"checkpoint", "remat", "remat2"}
_JIT = {"jit", "pjit", "closed_call", "core_call", "core_closed_call"}
# Primitives that execute the jaxpr inside them once. XLA's simplification does not look through
# `_JIT`, nor through the barrier at the start of `_REMAT`: what is constant outside is unknown
# inside.
_CALLS = {
    *_JIT,
    *_REMAT,
    "composite",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vmap_call",
    "custom_vjp_call_jaxpr",
    "eval_jaxpr",
    "xla_metadata_call",
}
# Primitives whose inner jaxpr is a function of scalars (a reducer, a comparison), which the rules
# of `jaxeff.compute.xla_rules` include.
_TAKES_SCALAR_FUNCTION = re.compile(r"reduce|scatter|sort|arg(min|max)|top_k|cum")
# Callbacks that print or log are no part of the computation; what the others compute is unknown.
_LOGGING = {"debug_callback", "debug_print"}
# The first operand of these is a reference, into which the second is written.
_WRITES_TO_REFERENCE = {"addupdate", "masked_swap", "swap"}
_FOREIGN = {
    "call_exported",
    "ffi_call",
    "host_callback_call",
    "io_callback",
    "outside_call",
    "pure_callback",
}


# A jaxpr with the values of its constants.
_Program = tuple[Jaxpr, Sequence[Any]]


class _WhileLoops:
    """The `while` loops of a program, each with a name, and how often the user says they run."""

    def __init__(self, trip_counts: Mapping[str, int]):
        for name, count in trip_counts.items():
            if not isinstance(count, numbers.Integral) or count < 0:
                raise UsageError(f"trip_counts[{name!r}] is {count!r}: expected a number of passes")
        self._trip_counts = {name: int(count) for name, count in trip_counts.items()}
        self._names: list[str] = []

    def name(self, module: str) -> str:
        """Names the next loop: `Net/while`, and `Net/while_2` if that module has one already."""
        name = "/".join(filter(None, (module, "while")))
        number = 1 + sum(re.sub(r"_\d+$", "", other) == name for other in self._names)
        self._names.append(name if number == 1 else f"{name}_{number}")
        return self._names[-1]

    def trip_count(self, name: str) -> int | None:
        """How often the loop runs, None if the user does not say."""
        return self._trip_counts.get(name)

    def check(self) -> None:
        """Raises `UsageError` if the user's trip counts name a loop that is not in the program."""
        for name in self._trip_counts:
            if name not in self._names:
                known = ", ".join(map(repr, self._names)) or "none"
                raise UsageError(
                    f"trip_counts names the while loop {name!r}, which is not in the program; "
                    f"its while loops: {known}"
                )


class _Walker:
    """Adds steps to `found`. A method that opens an equation returns the values it writes.

    Inside a Pallas kernel `grid` holds what is known at each point of its grid, and is None
    elsewhere.
    """

    def __init__(
        self,
        found: Walked,
        numbers: Iterator[int],
        simplifier: Simplifier,
        loops: _WhileLoops,
        grid: GridScalars | None = None,
    ):
        self.found = found
        self.numbers = numbers
        self.simplifier = simplifier
        self.loops = loops
        self.grid = grid

    def aside(self, found: Walked, grid: GridScalars | None) -> "_Walker":
        """A walker through a part of the program that adds to something else."""
        return _Walker(found, self.numbers, self.simplifier, self.loops, grid)

    def new_values(self, count: int) -> list[int]:
        return [next(self.numbers) for _ in range(count)]

    def body(self, program: _Program, inputs: list[int], place: Place) -> list[int]:
        """Adds the steps of a jaxpr; returns the values that it returns."""
        jaxpr, constants = program
        values: dict[Var, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        values.update(zip(jaxpr.constvars, self.new_values(len(jaxpr.constvars)), strict=True))
        self.found.arrays.update((values[var], var) for var in jaxpr.constvars)
        for var, constant in zip(jaxpr.constvars, constants, strict=False):
            self.simplifier.set_constant(values[var], constant, var.aval.dtype)

        def read(atoms: Iterable[Any]) -> list[int]:
            return [
                self.literal(atom) if isinstance(atom, Literal) else values[atom] for atom in atoms
            ]

        for eqn in jaxpr.eqns:
            inside = place.inside(str(eqn.source_info.name_stack))
            outputs = self.equation(eqn, read(eqn.invars), inside)
            values.update(zip(eqn.outvars, outputs, strict=True))
        return read(jaxpr.outvars)

    def literal(self, literal: Literal) -> int:
        """A number for a literal."""
        (value,) = self.new_values(1)
        self.found.literals.add(value)
        self.found.constants[value] = literal.val
        self.simplifier.set_constant(value, literal.val, literal.aval.dtype)
        if self.grid is not None and literal.aval.shape == ():
            self.grid.set(value, np.full(self.grid.points, literal.val, literal.aval.dtype))
        return value

    def equation(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        """Adds the steps of one equation; returns the values that it writes."""
        name = eqn.primitive.name
        if name in _OPENED:
            return _OPENED[name](self, eqn, inputs, place)
        outputs = self.new_values(len(eqn.outvars))
        uncounted = _uncounted(eqn)
        if uncounted is not None or name in _LOGGING:
            self.found.kept.update(inputs)
            if uncounted is not None:
                self.miss(uncounted, place)
            return outputs
        if name in _WRITES_TO_REFERENCE:
            self.found.aliases.append((inputs[1], inputs[0]))
        if self.grid is not None:
            self.grid.compute(eqn, inputs, outputs)
        folded = not place.in_kernel and self.simplifier.fold(eqn, inputs, outputs)
        self.found.steps.append(Step(eqn, tuple(inputs), tuple(outputs), place, folded))
        return outputs

    def call(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        name = eqn.primitive.name
        if name in _REMAT:
            place = replace(place, remat=True)
            if place.transposed:
                self.found.literal_cotangents.update(self.found.literals.intersection(inputs))
            if eqn.params.get("differentiated", True) and eqn.params.get("prevent_cse", True):
                inputs = self.renumbered(inputs)
        if name in _JIT:
            return self.renumbered(self.body(_body(eqn), self.renumbered(inputs), place))
        return self.body(_body(eqn), inputs, place)

    def expanded(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        return self.body(_expanded(eqn), inputs, place)

    def scan(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        params = eqn.params
        in_loop, outside = _scan_copies(params["length"], params["unroll"])
        if in_loop:
            self.found.loop_counters += place.times_in_xla * (4 if params["reverse"] else 2)
        each_pass = replace(
            place,
            times_per_device=place.times_per_device * params["length"],
            times_in_xla=place.times_in_xla * (in_loop + outside),
        )
        constants, carries = _scan_arity(params, len(inputs))
        fixed, entering = self.renumbered(inputs[:constants]), self.entering(inputs[constants:])
        outputs = self.body(_body(eqn), [*fixed, *entering], each_pass)
        self.found.carries += zip(outputs[:carries], entering[:carries], strict=True)
        leaving = self.renumbered(outputs, keep_scalars=False)
        self.found.changing.update(zip(outputs[carries:], leaving[carries:], strict=True))
        return leaving

    def while_loop(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        params = eqn.params
        begin, end = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        constants = self.renumbered(inputs[:end])
        carried = self.entering(inputs[end:])
        name = self.loops.name(module_path(place.name_stack))
        trips = self.loops.trip_count(name)
        if trips is None:
            self.miss(
                "while loop of unknown length (counted as one pass)",
                place,
                f"; say how often it runs: trip_counts={{{name!r}: …}}",
            )
        each_test, each_pass = (
            replace(place, times_per_device=place.times_per_device * times)
            for times in ((1, 1) if trips is None else (trips + 1, trips))
        )
        condition = _opened(params["cond_jaxpr"])
        tested = constants[:begin] + carried
        test = self.body(condition, tested, each_test)
        outputs = self.body(_opened(params["body_jaxpr"]), constants[begin:] + carried, each_pass)
        predicate = _shape(condition[0].outvars[0])
        if predicate.shape:
            # By `vmap` each example has a condition. The loop goes on while one of them holds, and
            # a pass computes them again to select the examples that it changes.
            test = self.body(_any(predicate), test, each_test)
            goes_on = self.body(condition, tested, each_pass)
            selection = _selection(predicate, [_shape(var) for var in eqn.outvars])
            outputs = self.body(selection, [*goes_on, *outputs, *carried], each_pass)
        self.found.kept.update(test)
        self.found.carries += zip(outputs, carried, strict=True)
        return self.renumbered(outputs, keep_scalars=False)

    def cond(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        branches = [_opened(branch) for branch in eqn.params["branches"]]
        platforms = eqn.params.get("branches_platforms")
        if platforms is not None:
            choice = _tpu_branch(platforms)
            if choice is None:
                self.found.kept.update(inputs)
                self.miss("platform_dependent without a branch for TPU", place)
                return self.new_values(len(eqn.outvars))
            return self.body(branches[choice], inputs[1:], place)
        choice = self.simplifier.integer(inputs[0])
        if choice is not None:
            last = len(branches) - 1
            return self.body(branches[choice if 0 <= choice < last else last], inputs[1:], place)
        self.found.kept.update(inputs)
        if self.grid is not None and self.grid.get(inputs[0]) is not None:
            return self.at_each_point(branches, inputs, place)
        outputs = self.most_expensive(branches, inputs[1:], place)
        return self.renumbered(outputs, keep_scalars=False)

    def most_expensive(
        self, branches: list[_Program], inputs: list[int], place: Place
    ) -> list[int]:
        """Adds the steps of one branch, and of all of them what cannot be counted."""
        walkers, outputs, sizes = [], [], []
        for branch in branches:
            found = Walked(literals=self.found.literals, constants=self.found.constants)
            walkers.append(self.aside(found, self.grid))
            outputs.append(walkers[-1].body(branch, inputs, place))
            sizes.append(_operations(walkers[-1].found.steps))
        choice = sizes.index(max(sizes))
        self.take(walkers[choice].found)
        in_xla = [_in_xla(walker.found) for walker in walkers]
        self.found.other_branches += max(in_xla) - in_xla[choice]
        for walker in walkers:
            self.found.uncounted += walker.found.uncounted
        if len(set(sizes)) > 1:
            where = uncounted_in("cond", module_path(place.name_stack))
            self.found.notes.append(
                f"{where}: counted at its most expensive branch, {choice} of {len(branches)}"
            )
        return outputs[choice]

    def at_each_point(self, branches: list[_Program], inputs: list[int], place: Place) -> list[int]:
        """Adds the steps of each branch for those points of the grid that take it."""
        choices = np.clip(self.grid.get(inputs[0]).astype(int), 0, len(branches) - 1)
        outputs = self.new_values(len(branches[0][0].outvars))  # Of a grid without points.
        for number, branch in enumerate(branches):
            part = self.grid.where(choices == number)
            if part.points:
                times = place.times_per_device // self.grid.points * part.points
                there = replace(place, times_per_device=times)
                outputs = self.aside(self.found, part).body(branch, inputs[1:], there)
        return self.renumbered(outputs, keep_scalars=False)

    def take(self, other: Walked) -> None:
        """Adds what the walk of a branch found, but for what cannot be counted."""
        self.found.steps += other.steps
        self.found.aliases += other.aliases
        self.found.carries += other.carries
        self.found.changing |= other.changing
        self.found.arrays |= other.arrays
        self.found.kept |= other.kept
        self.found.literal_cotangents |= other.literal_cotangents
        self.found.loop_counters += other.loop_counters
        self.found.other_branches += other.other_branches
        self.found.notes += other.notes

    def kernel(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        """Adds a Pallas kernel, and after it the steps of its body at all points of its grid."""
        outputs = self.new_values(len(eqn.outvars))
        self.found.kept.update(inputs)
        self.found.steps.append(Step(eqn, tuple(inputs), tuple(outputs), place))
        if eqn.params.get("interpret"):
            where = uncounted_in("pallas_call", module_path(place.name_stack))
            self.found.notes.append(
                f"{where}: interpreted, so that XLA counts an emulation, which no term of the "
                "breakdown explains; with interpret=False it is the kernel that a TPU runs"
            )
        mapping = eqn.params["grid_mapping"]
        grid = mapping.grid
        has_estimate = eqn.params.get("cost_estimate") is not None
        if not all(isinstance(size, int) for size in grid):
            of_what = "multiply-accumulates" if has_estimate else "work"
            self.miss(f"the {of_what} of a pallas_call over a grid of unknown size", place)
            return outputs
        jaxpr = eqn.params["jaxpr"]
        operands = inputs[mapping.num_dynamic_grid_bounds :]
        references = self.new_values(len(jaxpr.invars))
        written = references[len(operands) : len(operands) + len(outputs)]
        self.found.aliases += zip(operands, references, strict=False)
        self.found.aliases += zip(written, outputs, strict=True)
        inside = replace(
            place,
            times_per_device=place.times_per_device * math.prod(grid),
            times_in_xla=0,
            in_kernel=True,
            in_estimate=has_estimate,
        )
        scalars = GridScalars(grid, mapping.vmapped_dims)
        self.aside(self.found, scalars).body((jaxpr, ()), references, inside)
        return outputs

    def scoped(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        # The inputs are the values of the jaxpr's constants; its arguments are allocated.
        jaxpr = eqn.params["jaxpr"]
        whole = jaxpr.replace(constvars=[], invars=[*jaxpr.constvars, *jaxpr.invars])
        allocated = self.new_values(len(jaxpr.invars))
        return self.body((whole, ()), inputs + allocated, place)

    def stateful(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        # References that are not initialised are no inputs; all are outputs.
        given = iter(self.renumbered(inputs))
        references = [
            next(given) if is_given else next(self.numbers)
            for is_given in eqn.params["is_initialized"]
        ]
        self.body((eqn.params["jaxpr"], ()), references, place)
        return self.renumbered(references)

    def device_map(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        devices = place.devices * _mapped_devices(eqn)
        return self.body(_body(eqn), inputs, replace(place, devices=devices))

    def linear_solve(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        # The inputs are the constants of four functions, of which `solve` is executed, and then
        # the right-hand sides.
        lengths = eqn.params["const_lengths"]
        begin = lengths.matvec + lengths.vecmat
        end = begin + lengths.solve
        right_sides = inputs[end + lengths.transpose_solve :]
        solve = _opened(eqn.params["jaxprs"].solve)
        return self.body(solve, inputs[begin:end] + right_sides, place)

    def barrier(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        del eqn, place
        return self.renumbered(inputs)

    def renumbered(self, values: list[int], keep_scalars: bool = True) -> list[int]:
        """New numbers for values that go into a part of the program or come out of it.

        Args:
          values: the numbers up to here.
          keep_scalars: whether a kernel's scalars stay what they are, as a loop's do not.
        """
        new = self.new_values(len(values))
        self.found.kept.update(values)
        for value, number in zip(values, new, strict=True):
            self.found.aliases.append((value, number))
            if value in self.found.literals:
                self.found.literals.add(number)
            if keep_scalars and self.grid is not None and self.grid.get(value) is not None:
                self.grid.set(number, self.grid.get(value))
        return new

    def entering(self, values: list[int]) -> list[int]:
        """New numbers for values that are others in each pass of a loop."""
        new = self.renumbered(values, keep_scalars=False)
        self.found.changing.update(zip(values, new, strict=True))
        return new

    def miss(self, what: str, place: Place, advice: str = "") -> None:
        """Names something that cannot be counted."""
        where = uncounted_in(what, module_path(place.name_stack))
        self.found.uncounted.append(where + advice)


# How the walk goes through the primitives that are no steps themselves.
_OPENED = dict.fromkeys(_CALLS, _Walker.call) | {
    "call_hi_primitive": _Walker.expanded,
    "cond": _Walker.cond,
    "custom_linear_solve": _Walker.linear_solve,
    "optimization_barrier": _Walker.barrier,
    "pallas_call": _Walker.kernel,
    "run_scoped": _Walker.scoped,
    "run_state": _Walker.stateful,
    "scan": _Walker.scan,
    "shard_map": _Walker.device_map,
    "while": _Walker.while_loop,
    "xla_pmap": _Walker.device_map,
}


def _expanded(eqn: JaxprEqn) -> _Program:
    """What JAX makes of a `call_hi_primitive`, before it lowers a program (since jax 0.12)."""
    shapes = [ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    bind = functools.partial(eqn.primitive.to_lojax, **eqn.params)
    program = make_jaxpr(bind)(*shapes)
    jaxpr, _ = dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars), instantiate=True)
    return jaxpr, program.consts


def _shape(var: Var) -> ShapeDtypeStruct:
    return ShapeDtypeStruct(var.aval.shape, var.aval.dtype)


def _any(predicate: ShapeDtypeStruct) -> _Program:
    """Whether one of the values is true."""
    axes = tuple(range(len(predicate.shape)))
    return _opened(make_jaxpr(lambda p: lax.reduce_or_p.bind(p, axes=axes))(predicate))


def _selection(predicate: ShapeDtypeStruct, shapes: list[ShapeDtypeStruct]) -> _Program:
    """Of the values after a pass and before it, those after it where the predicate is true."""
    axes = tuple(range(len(predicate.shape)))

    def select(goes_on, after, before):
        return [
            lax.select(lax.broadcast_in_dim(goes_on, new.shape, axes), new, old)
            for new, old in zip(after, before, strict=True)
        ]

    return _opened(make_jaxpr(select)(predicate, shapes, shapes))


def _opened(program: Jaxpr | ClosedJaxpr) -> _Program:
    return (program.jaxpr, program.consts) if isinstance(program, ClosedJaxpr) else (program, ())


def _body(eqn: JaxprEqn) -> _Program:
    """The jaxpr inside an equation that holds one."""
    names = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")
    return _opened(next(eqn.params[name] for name in names if name in eqn.params))


def _uncounted(eqn: JaxprEqn) -> str | None:
    """What of an equation that the walk does not open cannot be counted; None if all can."""
    name = eqn.primitive.name
    if name in _FOREIGN:
        return name
    if name in _LOGGING or _TAKES_SCALAR_FUNCTION.search(name):
        return None
    holds_a_jaxpr = any(isinstance(leaf, (Jaxpr, ClosedJaxpr)) for leaf in _leaves(eqn.params))
    return f"{name}, an unknown kind of call" if holds_a_jaxpr else None


def _leaves(params: dict[str, Any]) -> Iterator[Any]:
    """The parameters of an equation, those in tuples and lists too."""
    pending = list(params.values())
    while pending:
        value = pending.pop()
        if isinstance(value, (tuple, list)):
            pending += value
        else:
            yield value


def _scan_copies(length: int, unroll: int) -> tuple[int, int]:
    """How many copies of a scan's body JAX lowers inside a loop, and how many outside of it."""
    trips, remainder = divmod(length, unroll) if unroll else (0, length)
    if trips == 0 or (trips == 1 and unroll != 1 and remainder == 0):
        return 0, length
    return unroll, remainder


def _scan_arity(params: dict[str, Any], inputs: int) -> tuple[int, int]:
    """How many of a scan's inputs are constants, and how many are carried."""
    if "num_consts" in params:  # jax 0.10; later versions name the parts of one list
        return params["num_consts"], params["num_carry"]
    constants, carries, _ = params["ft_in"].update(list(range(inputs))).unpack()
    return len(list(constants)), len(list(carries))


def _tpu_branch(platforms: tuple[tuple[str, ...] | None, ...]) -> int | None:
    """Which branch of `jax.lax.platform_dependent` a TPU takes: its own, or else the default."""
    for index, names in enumerate(platforms):
        if names and "tpu" in names:
            return index
    return platforms.index(None) if None in platforms else None


def _mapped_devices(eqn: JaxprEqn) -> int:
    """Over how many devices a `pmap` or `shard_map` maps its body."""
    if eqn.primitive.name == "xla_pmap":
        return eqn.params["global_axis_size"]
    axes = eqn.params.get("newly_manual_axes", eqn.params.get("manual_axes"))
    return math.prod(eqn.params["mesh"].shape[axis] for axis in axes)


def _operations(steps: list[Step]) -> float:
    """What the arithmetic of all steps takes, on all devices together."""
    return sum(
        arithmetic(step.eqn, product_macs(step.eqn)).operations
        * step.place.times_per_device
        * step.place.devices
        for step in steps
        if not step.folded
    )


def _in_xla(found: Walked) -> int:
    """What XLA counts of a part of a program: it takes the branch with most by this count."""
    counted = sum(
        rule(step.eqn).flops * step.place.times_in_xla
        for step in found.steps
        if not step.folded and step.primitive != "pallas_call"
    )
    return counted + found.loop_counters + found.other_branches
