"""The walk over a jaxpr, which opens every call, loop, branch and device map in it.

A jaxpr nests: such an equation holds a jaxpr of its own. The walk enters it and lists the equations
inside as if they stood outside. Every value has a number, which it keeps where it goes into a call
or comes out of one, so that the list shows which equation reads the result of which.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from jaxeff.compute.xla_rules import rule


@dataclass(frozen=True)
class Place:
    """Where in the nested jaxprs a step stands, and how often the program gets there.

    Attributes:
      name_stack: JAX's name stack: the modules, scopes and transformations around the step.
      times_per_device: how often one device executes the step.
      devices: how many devices execute it.
      times_in_xla: how often XLA's cost analysis counts it: a loop's body once, on one device.
      remat: whether the step is inside `jax.checkpoint`.
    """

    name_stack: str = ""
    times_per_device: int = 1
    devices: int = 1
    times_in_xla: int = 1
    remat: bool = False

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
    """

    eqn: JaxprEqn
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    place: Place

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
      literals: the values that are written into the program.
      constants: the literals that XLA knows to be constant where they are read, with what they
        are. Inside a call it does not know of those among the arguments.
      arrays: the arrays that are written into the program, by their variables.
      literal_cotangents: the literals with which a rematerialised backward pass begins.
      loop_counters: integer operations by which XLA counts loops, and which are not in the program.
      notes: what was chosen where there was a choice.
      uncounted: what the steps do not account for, each with its place.
    """

    steps: list[Step] = field(default_factory=list)
    aliases: list[tuple[int, int]] = field(default_factory=list)
    carries: list[tuple[int, int]] = field(default_factory=list)
    literals: set[int] = field(default_factory=set)
    constants: dict[int, Any] = field(default_factory=dict)
    arrays: dict[int, Var] = field(default_factory=dict)
    literal_cotangents: set[int] = field(default_factory=set)
    loop_counters: int = 0
    notes: list[str] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)


def walk(jaxpr: Jaxpr) -> Walked:
    """Lists the steps that a program executes on a TPU: see `jaxeff.compute.operations`."""
    walker = _Walker(Walked(), itertools.count())
    walker.body(jaxpr, walker.new_values(len(jaxpr.invars)), Place())
    return walker.found


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
# Primitives that execute the jaxpr inside them once. XLA's simplification does not look through the
# first kind: an argument that is constant outside is unknown inside.
_CALLS_THAT_HIDE_CONSTANTS = _JIT | _REMAT
_CALLS = _CALLS_THAT_HIDE_CONSTANTS | {
    "composite",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "eval_jaxpr",
    "xla_metadata_call",
}
# Primitives whose inner jaxpr is a function of scalars (a reducer, a comparison), which the rules
# of `jaxeff.compute.xla_rules` include.
_TAKES_SCALAR_FUNCTION = re.compile(r"reduce|scatter|sort|arg(min|max)|top_k|cum")
# Callbacks that print or log are no part of the computation; what the others compute is unknown.
_LOGGING = {"debug_callback", "debug_print"}
_FOREIGN = {"pure_callback", "io_callback", "outside_call", "host_callback_call", "ffi_call"}


class _Walker:
    """Adds steps to `found`. A method that opens an equation returns the values it writes."""

    def __init__(self, found: Walked, numbers: Iterator[int]):
        self.found = found
        self.numbers = numbers

    def new_values(self, count: int) -> list[int]:
        return [next(self.numbers) for _ in range(count)]

    def body(self, jaxpr: Jaxpr, inputs: list[int], place: Place) -> list[int]:
        """Adds the steps of a jaxpr; returns the values that it returns."""
        values: dict[Var, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        values.update(zip(jaxpr.constvars, self.new_values(len(jaxpr.constvars)), strict=True))
        self.found.arrays.update((values[var], var) for var in jaxpr.constvars)

        def read(atoms: Iterable[Any]) -> list[int]:
            return [
                self.literal(atom.val) if isinstance(atom, Literal) else values[atom]
                for atom in atoms
            ]

        for eqn in jaxpr.eqns:
            inside = place.inside(str(eqn.source_info.name_stack))
            outputs = self.equation(eqn, read(eqn.invars), inside)
            values.update(zip(eqn.outvars, outputs, strict=True))
        return read(jaxpr.outvars)

    def literal(self, constant: Any) -> int:
        """A number for a literal."""
        (value,) = self.new_values(1)
        self.found.literals.add(value)
        self.found.constants[value] = constant
        return value

    def equation(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        """Adds the steps of one equation; returns the values that it writes."""
        name = eqn.primitive.name
        if name in _OPENED:
            return _OPENED[name](self, eqn, inputs, place)
        outputs = self.new_values(len(eqn.outvars))
        uncounted = _uncounted(eqn)
        if uncounted is not None:
            self.miss(uncounted, place)
        if name == "pallas_call" or (uncounted is None and name not in _LOGGING):
            self.found.steps.append(Step(eqn, tuple(inputs), tuple(outputs), place))
        return outputs

    def call(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        name = eqn.primitive.name
        if name in _REMAT:
            place = replace(place, remat=True)
            if place.transposed:
                self.found.literal_cotangents.update(self.found.literals.intersection(inputs))
        if name in _CALLS_THAT_HIDE_CONSTANTS:
            inputs = self.renumbered(inputs)
        return self.body(_body(eqn), inputs, place)

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
        inputs = self.renumbered(inputs)
        outputs = self.body(_body(eqn), inputs, each_pass)
        carried = inputs[constants : constants + carries]
        self.found.carries += zip(outputs[:carries], carried, strict=True)
        return self.renumbered(outputs)

    def while_loop(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        params = eqn.params
        inputs = self.renumbered(inputs)
        begin, end = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        test_constants, body_constants, carried = inputs[:begin], inputs[begin:end], inputs[end:]
        self.body(_jaxpr(params["cond_jaxpr"]), test_constants + carried, place)
        outputs = self.body(_jaxpr(params["body_jaxpr"]), body_constants + carried, place)
        self.miss("while loop of unknown length (counted as one pass)", place)
        self.found.carries += zip(outputs, carried, strict=True)
        return self.renumbered(outputs)

    def cond(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        branches = [_jaxpr(branch) for branch in eqn.params["branches"]]
        platforms = eqn.params.get("branches_platforms")
        if platforms is None:
            return self.most_expensive(branches, inputs[1:], place)
        choice = _tpu_branch(platforms)
        if choice is None:
            self.miss("platform_dependent without a branch for TPU", place)
            return self.new_values(len(eqn.outvars))
        return self.body(branches[choice], inputs[1:], place)

    def most_expensive(self, branches: list[Jaxpr], inputs: list[int], place: Place) -> list[int]:
        """Adds the steps of one branch, and of all of them what cannot be counted."""
        walkers, outputs, flops = [], [], []
        for branch in branches:
            found = Walked(literals=self.found.literals, constants=self.found.constants)
            walkers.append(_Walker(found, self.numbers))
            outputs.append(walkers[-1].body(branch, inputs, place))
            flops.append(_flops(found.steps))
        choice = flops.index(max(flops))
        self.take(walkers[choice].found)
        for walker in walkers:
            self.found.uncounted += walker.found.uncounted
        if len(set(flops)) > 1:
            where = uncounted_in("cond", module_path(place.name_stack))
            self.found.notes.append(
                f"{where}: counted at its most expensive branch, {choice} of {len(branches)}"
            )
        return outputs[choice]

    def take(self, other: Walked) -> None:
        """Adds what the walk of a branch found, but for what cannot be counted."""
        self.found.steps += other.steps
        self.found.aliases += other.aliases
        self.found.carries += other.carries
        self.found.arrays |= other.arrays
        self.found.literal_cotangents |= other.literal_cotangents
        self.found.loop_counters += other.loop_counters
        self.found.notes += other.notes

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
        solve = _jaxpr(eqn.params["jaxprs"].solve)
        return self.body(solve, inputs[begin:end] + right_sides, place)

    def barrier(self, eqn: JaxprEqn, inputs: list[int], place: Place) -> list[int]:
        del eqn, place
        return inputs

    def renumbered(self, values: list[int]) -> list[int]:
        """New numbers for values that go into a part of the program or come out of it."""
        new = self.new_values(len(values))
        for value, number in zip(values, new, strict=True):
            self.found.aliases.append((value, number))
            if value in self.found.literals:
                self.found.literals.add(number)
        return new

    def miss(self, what: str, place: Place) -> None:
        """Names something that cannot be counted."""
        self.found.uncounted.append(uncounted_in(what, module_path(place.name_stack)))


# How the walk goes through the primitives that are no steps themselves.
_OPENED = dict.fromkeys(_CALLS, _Walker.call) | {
    "cond": _Walker.cond,
    "custom_linear_solve": _Walker.linear_solve,
    "optimization_barrier": _Walker.barrier,
    "scan": _Walker.scan,
    "shard_map": _Walker.device_map,
    "while": _Walker.while_loop,
    "xla_pmap": _Walker.device_map,
}


def _jaxpr(program: Jaxpr | ClosedJaxpr) -> Jaxpr:
    return program.jaxpr if isinstance(program, ClosedJaxpr) else program


def _body(eqn: JaxprEqn) -> Jaxpr:
    """The jaxpr inside an equation that holds one."""
    names = ("jaxpr", "call_jaxpr", "fun_jaxpr")
    return _jaxpr(next(eqn.params[name] for name in names if name in eqn.params))


def _uncounted(eqn: JaxprEqn) -> str | None:
    """What of an equation that the walk does not open cannot be counted; None if all can."""
    name = eqn.primitive.name
    if name in _FOREIGN:
        return name
    if name == "pallas_call":
        known = eqn.params.get("cost_estimate") is not None
        return None if known else "pallas_call without a cost estimate"
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


def _flops(steps: list[Step]) -> int:
    """The operations of all steps, on all devices together."""
    return sum(
        rule(step.eqn).flops * step.place.times_per_device * step.place.devices for step in steps
    )
