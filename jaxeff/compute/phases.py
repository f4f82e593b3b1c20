"""The phases of a training step, guessed from JAX's name stack and from what reads what.

A jaxpr does not say which of its equations are the forward pass and which the backward pass. Its
name stack says which of them came from differentiation (`jvp`) and from transposition
(`transpose`); the rest follows from where the cotangents, the gradients of the loss, flow.

**Backward** is a step under `transpose` that a cotangent reaches. A step under `transpose` that
none reaches repeats a rematerialised forward pass. Outside both, what follows from a gradient is
**update**, and so is what only the update reads (the decay of momentum). The rest is **forward**.

A backward convolution whose kernel is a cotangent computes a **gradient to weights**, one whose
input is a cotangent a **gradient to inputs**: so JAX transposes convolutions; where both are, or
neither is, its dimension numbers tell. Any other backward step computes a gradient to weights if
its result leaves the backward pass through nothing but data movement and sums, and a gradient to
inputs if the backward pass computes with it. If both gradients of a matrix product leave in this
way, because both of its operands were differentiated, the one to the right operand is to weights.
So the weight gradient of a dense layer that first computes its kernel (spectral norm does),
broadcasts it or picks it by an index is listed as a gradient to inputs. In a loop over several
steps what a pass computes from parameters that the pass before has updated, outside of its
gradient, is listed as an update.

The phases label counts; no count depends on them. Where they have to be guessed (derivatives of
derivatives, a rematerialised pass whose cotangent is an argument, a product both of whose operands
are differentiated), a note says so.
"""

import re
from collections.abc import Hashable, Iterable, Iterator

from jaxeff.compute.convolutions import writes_kernel
from jaxeff.compute.walk import Step, Walked

FORWARD = "forward"
REMAT = "forward, rematerialised"
INPUT_GRADIENT = "gradient to inputs"
WEIGHT_GRADIENT = "gradient to weights"
UPDATE = "update"
PHASES = (FORWARD, REMAT, INPUT_GRADIENT, WEIGHT_GRADIENT, UPDATE)

# Primitives that move or sum values: the gradient that goes in is the gradient that comes out.
_MOVES_AND_SUMS = {
    "add",
    "add_any",
    "all_gather",
    "all_gather_invariant",
    "all_to_all",
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
    "ppermute",
    "psum",
    "psum2",
    "psum_invariant",
    "pvary",
    "reduce_precision",
    "reduce_scatter",
    "reshape",
    "reshard",
    "rev",
    "sharding_constraint",
    "slice",
    "split",
    "squeeze",
    "transpose",
}

_PRODUCTS = {"conv_general_dilated", "dot_general"}
# A backward pass that is differentiated again: `jvp(transpose(jvp(Net)))`.
_SECOND_DERIVATIVE = re.compile(r"(?:jvp|transpose)\((?:[\w.]*\()*transpose\(")

# Steps and the numbers of values are the nodes of a graph; an edge leads from what is read to what
# reads it, and from a step to what it writes.
_Edge = tuple[Hashable, Hashable]


def phases(program: Walked) -> tuple[list[str], list[str]]:
    """Returns the phase of each step of a program, one of `PHASES`, and notes on guesses."""
    cotangents, backward = _backward_pass(program)
    final = _final_gradients(program, backward)
    to_left = _gradients_to_left_operands(program, backward, final, cotangents)
    updates = _updates(program, cotangents)

    def is_to_weights(step: Step) -> bool:
        if step.primitive == "conv_general_dilated":
            image, kernel = (value in cotangents for value in step.inputs)
            return kernel if image != kernel else writes_kernel(step.eqn)
        return step in final and step not in to_left

    def phase(step: Step) -> str:
        if step in backward:
            return WEIGHT_GRADIENT if is_to_weights(step) else INPUT_GRADIENT
        if step.place.transposed:
            return REMAT if step.place.remat else INPUT_GRADIENT
        return UPDATE if step in updates else FORWARD

    return [phase(step) for step in program.steps], _guesses(program, backward, to_left)


def _guesses(program: Walked, backward: set[Step], to_left: set[Step]) -> list[str]:
    """Says which phases of products are guesses."""
    products = [step for step in program.steps if step.primitive in _PRODUCTS]
    again = [step for step in products if step.place.remat and step.place.transposed]
    reasons = {
        "derivatives of derivatives": any(
            _SECOND_DERIVATIVE.search(step.place.name_stack) for step in products
        ),
        "rematerialised code whose cotangent is an argument": bool(again)
        and backward.isdisjoint(again),
        "products both of whose operands are differentiated": bool(to_left),
    }
    guessed = [reason for reason, occurs in reasons.items() if occurs]
    return (
        [f"phases are guessed in {', '.join(guessed)}; no total depends on them"] if guessed else []
    )


def _backward_pass(program: Walked) -> tuple[set[int], set[Step]]:
    """Returns the cotangents, and the steps that they reach."""
    transposed = [step for step in program.steps if step.place.transposed]
    first = [step for step in transposed if _makes_a_cotangent(step, program.literals)]
    edges = [*_edges(transposed), *program.aliases, *program.carries]
    reached = _reached([*program.literal_cotangents, *first], edges)
    backward = reached.intersection(transposed)
    return reached - backward, backward


def _makes_a_cotangent(step: Step, literals: set[int]) -> bool:
    """Whether a step under `transpose` begins or continues a backward pass whatever it reads."""
    from_literals = literals.issuperset(step.inputs)
    return not step.place.remat and (from_literals or step.primitive not in _MOVES_AND_SUMS)


def _final_gradients(program: Walked, backward: set[Step]) -> set[Step]:
    """Returns the backward steps with whose results the backward pass does not compute."""
    computing = [step for step in backward if step.primitive not in _MOVES_AND_SUMS]
    edges = [*_edges(backward), *program.aliases, *program.carries]
    computed_with = _reached(computing, _reversed(edges))
    return {step for step in backward if computed_with.isdisjoint(step.outputs)}


def _gradients_to_left_operands(
    program: Walked, backward: set[Step], final: set[Step], cotangents: set[int]
) -> set[Step]:
    """Returns, of matrix products with two final gradients, the steps of those to the left.

    The gradient to the left operand is the product of the cotangent with the right operand, and
    the other way round: which one a step computes, the operand that it reads tells.
    """
    origins = _origins(program, backward)
    products = [step for step in program.steps if step.primitive == "dot_general"]
    readers: dict[int, list[Step]] = {}
    for step in products:
        if step in final:
            for value in step.inputs:
                if value not in cotangents:
                    readers.setdefault(_first_origin(value, origins), []).append(step)
    to_left: set[Step] = set()
    for step in products:
        if step not in backward:
            left, right = (readers.get(_first_origin(value, origins)) for value in step.inputs)
            if left and right:
                to_left.update(right)
    return to_left


def _origins(program: Walked, backward: set[Step]) -> dict[int, int]:
    """Maps values to those that they are, moved: outside the backward pass."""
    origins = {alias: value for value, alias in program.aliases}
    for step in program.steps:
        moved = [value for value in step.inputs if value not in program.literals]
        if step.primitive in _MOVES_AND_SUMS and len(moved) == 1 and step not in backward:
            origins.update(dict.fromkeys(step.outputs, moved[0]))
    return origins


def _first_origin(value: int, origins: dict[int, int]) -> int:
    while value in origins:
        value = origins[value]
    return value


def _updates(program: Walked, cotangents: set[int]) -> set[Step]:
    """Returns the steps that follow from gradients, and those that nothing else reads."""
    plain = [
        step
        for step in program.steps
        if not step.place.differentiated and not step.place.transposed
    ]
    after = _reached(cotangents, [*_edges(program.steps), *program.aliases, *program.carries])
    updates = after.intersection(plain)

    # What a loop carries leads to the next pass: here only what one pass reads counts.
    reads = _reversed([*_edges(program.steps), *program.aliases])
    differentiated = [step for step in program.steps if step.place.differentiated]
    for_updates_only = _reached(updates, reads) - _reached(differentiated, reads)
    return updates.union(step for step in plain if for_updates_only.issuperset(step.outputs))


def _edges(steps: Iterable[Step]) -> Iterator[_Edge]:
    for step in steps:
        yield from ((value, step) for value in step.inputs)
        yield from ((step, value) for value in step.outputs)


def _reversed(edges: Iterable[_Edge]) -> list[_Edge]:
    return [(end, start) for start, end in edges]


def _reached(starts: Iterable[Hashable], edges: Iterable[_Edge]) -> set:
    """Returns the nodes to which edges lead from `starts`, and `starts`."""
    ends: dict[Hashable, list[Hashable]] = {}
    for start, end in edges:
        ends.setdefault(start, []).append(end)
    reached, pending = set(), list(starts)
    while pending:
        node = pending.pop()
        if node not in reached:
            reached.add(node)
            pending += ends.get(node, ())
    return reached
