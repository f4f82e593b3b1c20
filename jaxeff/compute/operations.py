"""The operations that a traced program executes, one by one, with what each is for.

A jaxpr nests: calls, loops, branches and devices hold jaxprs of their own. `operations` flattens
that into one list in which every entry is a primitive with no program inside, with the number of
times it executes, the module that it belongs to and its phase in a training step.
"""

import itertools
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.interpreters.partial_eval import dce_jaxpr

FORWARD = "forward"
RECOMPUTED = "forward, recomputed"
INPUT_GRADIENT = "gradient to inputs"
WEIGHT_GRADIENT = "gradient to weights"
UPDATE = "update"
PHASES = (FORWARD, RECOMPUTED, INPUT_GRADIENT, WEIGHT_GRADIENT, UPDATE)


@dataclass(frozen=True)
class Operation:
    """One primitive of a program, without a program inside it.

    Attributes:
      eqn: the equation, for its parameters and the shapes of what goes in and comes out.
      source: where it is from: the Flax module path or `jax.named_scope`, `""` outside any.
      phase: one of `PHASES`.
      times: how often it executes in one call of the program, on all devices together.
      counted: how often XLA's cost analysis counts it: a loop's body once, one device's share.
      shared: how often it executes on one device; `times / shared` devices do so.
      folded: whether it computes with constants alone, or adds zero, or multiplies by one: XLA
        simplifies it away before it counts, and no machine executes it.
    """

    eqn: JaxprEqn
    source: str
    phase: str
    times: int
    counted: int
    shared: int
    folded: bool

    @property
    def primitive(self) -> str:
        """The primitive's name, as in `dot_general`."""
        return self.eqn.primitive.name


@dataclass(frozen=True)
class Operations:
    """A program, flattened.

    Attributes:
      operations: in the order in which JAX traced them.
      loop_counters: integer operations that XLA adds to count loops, which the program lacks.
      notes: what was chosen where there was a choice (a branch).
      unseen: what the list cannot account for, each with its place.
    """

    operations: tuple[Operation, ...]
    loop_counters: int
    notes: tuple[str, ...]
    unseen: tuple[str, ...]


def operations(program: ClosedJaxpr, price: Callable[[JaxprEqn], float]) -> Operations:
    """Flatten a program into the operations that it executes on a TPU.

    Code whose result nobody uses is dropped first, as JAX does on lowering. A `scan`'s body
    executes `length` times. A `cond` is its dearest branch, with a note; a
    `jax.lax.platform_dependent` is the branch that a TPU takes. A `while` of unknown length is one
    pass, and is named in `unseen`. The body of a `pmap` or `shard_map` executes on every device of
    its axes.

    **Phases** come from the transformations in JAX's name stack and from what flows where. An
    operation under `transpose(...)` that a cotangent reaches is backward; under `transpose(...)`
    but reached by none, it is a recomputation of a rematerialised forward pass. What follows from a
    gradient outside both is update, and so is what goes into nothing else (the momentum's decay).
    The rest is forward.

    **Gradients**: a backward convolution whose *kernel* is the cotangent is the gradient to
    weights, one whose *input* is the cotangent the gradient to inputs (that is how JAX transposes
    convolutions). Any other backward operation is gradient to weights if its result leaves the
    backward pass through nothing but data movement and sums, and gradient to inputs if the backward
    pass computes on with it. Where that holds of both gradients of one matrix product (all its
    operands were differentiated), the one to its right operand is to weights. So a dense layer that
    computes with its kernel first (spectral norm, say) has its weight gradient listed as a gradient
    to inputs; totals do not depend on it.

    Args:
      program: what `jax.make_jaxpr(fn)(*args)` or `jax.jit(fn).trace(*args).jaxpr` return.
      price: cost of an operation, by which branches of a `cond` are compared.

    Returns:
      The flattened program.
    """
    jaxpr, _ = dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))
    flat = _Flat(price)
    flat.walk(jaxpr, [next(flat.ids) for _ in jaxpr.invars], _Place())
    phases, folded = _phases(flat), _folded(flat)
    return Operations(
        tuple(
            Operation(
                step.eqn,
                source(step.place.stack),
                phase,
                step.place.shared * step.place.devices,
                step.place.counted,
                step.place.shared,
                fold,
            )
            for step, phase, fold in zip(flat.steps, phases, folded, strict=True)
        ),
        flat.loop_counters,
        tuple(dict.fromkeys(flat.notes)),
        tuple(dict.fromkeys(flat.unseen)),
    )


def source(stack: str) -> str:
    """The module path of a name stack: `transpose(jvp(Net))/Conv_0` is of `Net/Conv_0`."""
    bare = re.sub(r"[\w.]+\(|\)", "", stack)
    parts = [part for part in bare.split("/") if part not in _NO_MODULE]
    # A rematerialised module's stack repeats its path: transpose(jvp(Net))/jvp(Net)/Dense_0.
    half = next(
        (n for n in range(len(parts) // 2, 0, -1) if parts[:n] == parts[n : 2 * n]),
        0,
    )
    return "/".join(parts[half:])


_NO_MODULE = {"", "checkpoint", "rematted_computation", "while", "body", "cond", "closed_call"}

# Primitives that stand for the program that they hold, executed once.
_CALLS = {
    "checkpoint",
    "closed_call",
    "composite",
    "core_call",
    "core_closed_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "eval_jaxpr",
    "jit",
    "pjit",
    "remat",
    "remat2",
    "xla_metadata_call",
}
_PROGRAMS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_REMAT = {"checkpoint", "remat", "remat2"}
# Calls whose body XLA's own simplification does not look into from outside.
_OPAQUE = {"jit", "pjit", "closed_call", "core_call", "core_closed_call", *_REMAT}

# Primitives whose inner program is a scalar function (a reducer, a comparison), not a part.
_SCALAR_FUNCTIONS = re.compile(r"reduce|scatter|sort|arg(min|max)|top_k|cum")

# Callbacks that print or log: no part of the computation.
_SILENT = {"debug_callback", "debug_print"}
_HOST = {"pure_callback", "io_callback", "outside_call", "host_callback_call"}

# Operations that move or sum values, through which a gradient is still the same gradient.
_STRUCTURAL = {
    "add",
    "add_any",
    "broadcast_in_dim",
    "concatenate",
    "convert_element_type",
    "copy",
    "copy_p",
    "device_put",
    "dynamic_slice",
    "dynamic_update_slice",
    "expand_dims",
    "pad",
    "pbroadcast",
    "pcast",
    "psum",
    "psum2",
    "psum_invariant",
    "pvary",
    "reduce_precision",
    "reshape",
    "reshard",
    "rev",
    "sharding_constraint",
    "slice",
    "split",
    "squeeze",
    "transpose",
}


@dataclass(frozen=True)
class _Place:
    """Where in the nest a step is, and how often that place is reached."""

    stack: str = ""
    shared: int = 1
    devices: int = 1
    counted: int = 1
    remat: bool = False


@dataclass(frozen=True)
class _Step:
    eqn: JaxprEqn
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    place: _Place


@dataclass
class _Flat:
    """Values are numbered, so that a value is the same one on both sides of a call."""

    price: Callable[[JaxprEqn], float]
    ids: Iterator[int] = field(default_factory=itertools.count)
    steps: list[_Step] = field(default_factory=list)
    links: list[tuple[int, int]] = field(default_factory=list)  # this value becomes that one
    carried: list[tuple[int, int]] = field(default_factory=list)  # likewise, in the next pass
    literals: set[int] = field(default_factory=set)  # values written in the program
    constants: dict[int, Any] = field(default_factory=dict)  # those that XLA sees as such
    seeds: set[int] = field(default_factory=set)  # cotangents that enter as literals
    loop_counters: int = 0
    notes: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def walk(self, jaxpr: Jaxpr, inputs: list[int], place: _Place) -> list[int]:
        """Append the steps of `jaxpr`; return the values that it gives back."""
        values: dict[Var, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        values.update((var, next(self.ids)) for var in jaxpr.constvars)

        def read(atoms: Iterable[Any]) -> list[int]:
            return [
                self.literal(atom.val) if isinstance(atom, Literal) else values[atom]
                for atom in atoms
            ]

        for eqn in jaxpr.eqns:
            stack = "/".join(filter(None, (place.stack, str(eqn.source_info.name_stack))))
            outputs = self.visit(eqn, read(eqn.invars), replace(place, stack=stack))
            values.update(zip(eqn.outvars, outputs, strict=True))
        return read(jaxpr.outvars)

    def visit(self, eqn: JaxprEqn, inputs: list[int], place: _Place) -> list[int]:
        """Append the steps of one equation; return the values that it gives back."""
        name, params = eqn.primitive.name, eqn.params
        if name in _CALLS:
            if name in _REMAT:
                place = replace(place, remat=True)
                if "transpose(" in place.stack:
                    self.seeds.update(value for value in inputs if value in self.literals)
            if name in _OPAQUE:
                inputs = self.relabel(inputs)
            body = next(params[key] for key in _PROGRAMS if key in params)
            return self.walk(_open(body), inputs, place)
        if name == "scan":
            return self.scan(params, inputs, place)
        if name == "while":
            return self.loop(params, inputs, place)
        if name == "cond":
            return self.branch(params, inputs[1:], place)
        if name in ("shard_map", "xla_pmap"):
            return self.spread(eqn, inputs, place)
        if name == "custom_linear_solve":
            lengths, solve = params["const_lengths"], params["jaxprs"].solve
            begin = lengths.matvec + lengths.vecmat
            right_sides = inputs[begin + lengths.solve + lengths.transpose_solve :]
            return self.walk(
                _open(solve), inputs[begin : begin + lengths.solve] + right_sides, place
            )
        if name == "optimization_barrier":
            return inputs
        outputs = [next(self.ids) for _ in eqn.outvars]
        if name in _SILENT:
            return outputs
        if name in _HOST or name == "ffi_call":
            self.missing(f"{name}", place)
            return outputs
        if name == "pallas_call" and params.get("cost_estimate") is None:
            self.missing("pallas_call without a cost estimate", place)
        elif name != "pallas_call" and not _SCALAR_FUNCTIONS.search(name):
            inner = [_open(value) for value in _flatten(params.values()) if _is_program(value)]
            if inner:
                self.missing(f"{name}, an unknown kind of call", place)
                return outputs
        self.steps.append(_Step(eqn, tuple(inputs), tuple(outputs), place))
        return outputs

    def literal(self, constant: Any) -> int:
        value = next(self.ids)
        self.literals.add(value)
        self.constants[value] = constant
        return value

    def missing(self, what: str, place: _Place) -> None:
        self.unseen.append(f"{what} in {source(place.stack) or 'the function itself'}")

    def relabel(self, values: Iterable[int]) -> list[int]:
        """New numbers for values that go into or come out of a part of the program."""
        fresh = []
        for value in values:
            fresh.append(next(self.ids))
            self.links.append((value, fresh[-1]))
            if value in self.literals:
                self.literals.add(fresh[-1])
        return fresh

    def scan(self, params: dict, inputs: list[int], place: _Place) -> list[int]:
        body, length = _open(params["jaxpr"]), params["length"]
        constants, carries = _scan_arity(params, len(inputs))
        # How JAX lowers it: a loop over trips of `unroll` bodies, and a remainder after the loop.
        unroll = params["unroll"]
        trips, remainder = divmod(length, unroll) if unroll else (0, length)
        if unroll != 1 and trips == 1 and not remainder:
            trips, remainder = 0, length
        bodies = remainder + (unroll if trips else 0)
        if trips:
            self.loop_counters += place.counted * (4 if params["reverse"] else 2)
        inputs = self.relabel(inputs)
        entering = inputs[constants:]
        leaving = self.walk(
            body,
            inputs,
            replace(place, shared=place.shared * length, counted=place.counted * bodies),
        )
        self.carried += zip(leaving[:carries], entering[:carries], strict=True)
        return self.relabel(leaving)

    def loop(self, params: dict, inputs: list[int], place: _Place) -> list[int]:
        tests, bodies = params["cond_nconsts"], params["body_nconsts"]
        inputs = self.relabel(inputs)
        entering = inputs[tests + bodies :]
        self.walk(_open(params["cond_jaxpr"]), inputs[:tests] + entering, place)
        leaving = self.walk(
            _open(params["body_jaxpr"]), inputs[tests : tests + bodies] + entering, place
        )
        self.missing("while loop of unknown length (counted as one pass)", place)
        self.carried += zip(leaving, entering, strict=True)
        return self.relabel(leaving)

    def branch(self, params: dict, inputs: list[int], place: _Place) -> list[int]:
        branches = [_open(branch) for branch in params["branches"]]
        platforms = params.get("branches_platforms")
        if platforms is not None:
            choice = next(
                (i for i, names in enumerate(platforms) if names and "tpu" in names),
                next((i for i, names in enumerate(platforms) if names is None), None),
            )
            if choice is None:
                self.missing("platform_dependent without a branch for TPU", place)
                return [next(self.ids) for _ in branches[0].outvars]
            return self.walk(branches[choice], inputs, place)

        walked = []
        for branch in branches:
            flat = _Flat(self.price, self.ids, literals=self.literals, constants=self.constants)
            outputs = flat.walk(branch, inputs, place)
            cost = sum(
                self.price(step.eqn) * step.place.shared * step.place.devices for step in flat.steps
            )
            walked.append((cost, flat, outputs))
        choice = max(range(len(walked)), key=lambda index: walked[index][0])
        cost, flat, outputs = walked[choice]
        self.steps += flat.steps
        self.links += flat.links
        self.carried += flat.carried
        self.seeds |= flat.seeds
        self.loop_counters += flat.loop_counters
        self.notes += flat.notes
        for _, other, _ in walked:
            self.unseen += other.unseen
        if len({cost for cost, _, _ in walked}) > 1:
            where = source(place.stack) or "the function itself"
            self.notes.append(
                f"cond in {where}: counted at its dearest branch, {choice} of {len(branches)}"
            )
        return outputs

    def spread(self, eqn: JaxprEqn, inputs: list[int], place: _Place) -> list[int]:
        params = eqn.params
        if eqn.primitive.name == "xla_pmap":
            body, devices = _open(params["call_jaxpr"]), params["global_axis_size"]
        else:
            body, mesh = _open(params["jaxpr"]), params["mesh"]
            devices = 1
            for axis in params.get("newly_manual_axes", params.get("manual_axes")):
                devices *= mesh.shape[axis]
        return self.walk(body, inputs, replace(place, devices=place.devices * devices))


def _open(program: Any) -> Jaxpr:
    return program.jaxpr if isinstance(program, ClosedJaxpr) else program


def _is_program(value: Any) -> bool:
    return isinstance(value, (Jaxpr, ClosedJaxpr))


def _flatten(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from _flatten(value)
        else:
            yield value


def _scan_arity(params: dict, inputs: int) -> tuple[int, int]:
    """How many of a scan's inputs are constants, and how many are carried."""
    if "num_consts" in params:  # jax 0.10; later versions name the parts of one list
        return params["num_consts"], params["num_carry"]
    constants, carries, _ = params["ft_in"].update(list(range(inputs))).unpack()
    return len(list(constants)), len(list(carries))


def _phases(flat: _Flat) -> list[str]:
    """The phase of each step: see `operations`."""
    steps = flat.steps
    links: dict[int, list[int]] = {}
    for value, becomes in flat.links + flat.carried:
        links.setdefault(value, []).append(becomes)

    def spread(marked: set[int], rule: Callable[[_Step], bool]) -> set[int]:
        """Mark the outputs of steps by `rule`, forwards, until nothing changes."""
        size = -1
        while size != len(marked):
            size = len(marked)
            for step in steps:
                if rule(step):
                    marked.update(step.outputs)
            queue = list(marked)
            while queue:
                new = [value for value in links.get(queue.pop(), ()) if value not in marked]
                marked.update(new)
                queue += new
        return marked

    cotangents = set(flat.seeds)

    def is_cotangent(step: _Step) -> bool:
        if "transpose(" not in step.place.stack:
            return False
        if any(value in cotangents for value in step.inputs):
            return True
        begins = all(value in flat.literals for value in step.inputs)
        return not step.place.remat and (begins or step.eqn.primitive.name not in _STRUCTURAL)

    spread(cotangents, is_cotangent)
    backward = [is_cotangent(step) for step in steps]

    after = set(cotangents)
    spread(after, lambda step: any(value in after for value in step.inputs))

    def gather(marked: set[int], rule: Callable[[int, _Step], bool], links: list) -> set[int]:
        """Mark the inputs of steps by `rule`, backwards, until nothing changes."""
        size = -1
        while size != len(marked):
            size = len(marked)
            for index in reversed(range(len(steps))):
                if rule(index, steps[index]):
                    marked.update(steps[index].inputs)
            for value, becomes in reversed(links):
                if becomes in marked:
                    marked.add(value)
        return marked

    # Values with which the backward pass computes on.
    computed: set[int] = set()
    gather(
        computed,
        lambda index, step: (
            backward[index]
            and (
                step.eqn.primitive.name not in _STRUCTURAL
                or any(value in computed for value in step.outputs)
            )
        ),
        flat.links + flat.carried,
    )
    final = {
        index
        for index, step in enumerate(steps)
        if backward[index] and not any(value in computed for value in step.outputs)
    }
    to_left = _gradients_to_left_operands(flat, backward, final, cotangents)

    # What goes into the update, and what into the passes that it follows (in the same step).
    def is_update(step: _Step) -> bool:
        plain = not any(mark in step.place.stack for mark in ("jvp(", "transpose("))
        return plain and any(value in after for value in step.inputs)

    def feeds(marked: set[int], rule: Callable[[_Step], bool]) -> set[int]:
        return gather(
            marked,
            lambda _, step: rule(step) or any(value in marked for value in step.outputs),
            flat.links,
        )

    updating = feeds(set(), is_update)
    passing = feeds(set(), lambda step: "jvp(" in step.place.stack)
    only_updated = updating - passing

    def phase(index: int, step: _Step) -> str:
        if backward[index]:
            if step.eqn.primitive.name == "conv_general_dilated":
                weights = step.inputs[1] in cotangents and step.inputs[0] not in cotangents
            else:
                weights = index in final and index not in to_left
            return WEIGHT_GRADIENT if weights else INPUT_GRADIENT
        if "transpose(" in step.place.stack:
            return RECOMPUTED if step.place.remat else INPUT_GRADIENT
        only_updates = all(value in only_updated for value in step.outputs)
        if is_update(step) or ("jvp(" not in step.place.stack and only_updates):
            return UPDATE
        return FORWARD

    return [phase(index, step) for index, step in enumerate(steps)]


def _gradients_to_left_operands(
    flat: _Flat, backward: list[bool], final: set[int], cotangents: set[int]
) -> set[int]:
    """Of matrix products both of whose gradients are final: the steps of those to the left."""
    origin = {becomes: value for value, becomes in flat.links}
    for step, is_backward in zip(flat.steps, backward, strict=True):
        values = [value for value in step.inputs if value not in flat.literals]
        if step.eqn.primitive.name in _STRUCTURAL and len(values) == 1 and not is_backward:
            origin.update((value, values[0]) for value in step.outputs)

    def root(value: int) -> int:
        seen: set[int] = set()
        while value in origin and value not in seen:
            seen.add(value)
            value = origin[value]
        return value

    products = [
        (index, step)
        for index, step in enumerate(flat.steps)
        if step.eqn.primitive.name == "dot_general"
    ]
    residuals: dict[int, list[int]] = {}
    for index, step in products:
        if index in final:
            for value in step.inputs:
                if value not in cotangents:
                    residuals.setdefault(root(value), []).append(index)
    found: set[int] = set()
    for index, step in products:
        if not backward[index]:
            left, right = (residuals.get(root(value), []) for value in step.inputs)
            if left and right:
                found.update(right)  # the product with the right operand is the left one's gradient
    return found


def _folded(flat: _Flat) -> list[bool]:
    """Which steps XLA simplifies away (`Operation.folded`)."""
    constants = dict(flat.constants)
    folded = []
    for step in flat.steps:
        name = step.eqn.primitive.name
        values = [_splat(constants[value]) if value in constants else None for value in step.inputs]
        fold = False
        if name in _RESHAPES:
            if values[0] is not None:
                constants[step.outputs[0]] = values[0]
        elif name == "select_n" and values[0] in (0.0, 1.0):
            fold = True
            chosen = values[1 + int(values[0])]
            if chosen is not None:
                constants[step.outputs[0]] = chosen
        elif name in _FOLDED and None not in values:
            fold = True
            with np.errstate(all="ignore"):
                constants[step.outputs[0]] = float(_FOLDED[name](*values))
        elif name in _NEUTRAL:
            neutral, sides = _NEUTRAL[name]
            fold = any(values[side] == neutral for side in sides)
        folded.append(fold)
    return folded


def _splat(constant: Any) -> float:
    """The one value that all elements of a constant have; NaN if they differ."""
    values = np.asarray(constant).ravel()
    same = values.size > 0 and values.dtype.kind in "biuf" and (values == values[0]).all()
    return float(values[0]) if same else math.nan


_RESHAPES = {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "copy"}
# A value without which the operation is what its other operand is, and where it may stand.
_NEUTRAL = {
    "add": (0.0, (0, 1)),
    "add_any": (0.0, (0, 1)),
    "mul": (1.0, (0, 1)),
    "sub": (0.0, (1,)),
}
# Operations on constants that XLA computes itself, with their values. It folds no others.
_FOLDED: dict[str, Callable[..., float]] = {
    "abs": abs,
    "add": operator.add,
    "add_any": operator.add,
    "and": lambda a, b: math.nan,
    "clamp": lambda low, value, high: min(max(low, value), high),
    "convert_element_type": operator.pos,
    "cos": np.cos,
    "div": np.divide,
    "eq": operator.eq,
    "erf": math.erf,
    "exp": np.exp,
    "exp2": np.exp2,
    "ge": operator.ge,
    "gt": operator.gt,
    "integer_pow": lambda value: math.nan,
    "le": operator.le,
    "log": np.log,
    "logistic": lambda value: 1 / (1 + np.exp(-value)),
    "lt": operator.lt,
    "max": max,
    "min": min,
    "mul": operator.mul,
    "ne": operator.ne,
    "neg": operator.neg,
    "not": lambda value: math.nan,
    "or": lambda a, b: math.nan,
    "rem": np.fmod,
    "round": lambda value: math.nan,
    "rsqrt": lambda value: 1 / np.sqrt(value),
    "sign": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "sub": operator.sub,
    "tan": np.tan,
    "tanh": np.tanh,
}
