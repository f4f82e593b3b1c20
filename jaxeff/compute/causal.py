"""Finds causal attention: scores of which a triangular mask discards half.

XLA and the walk count the whole square of scores, and so do most formulas; some count half of it. A
note says where the two differ. It is found by following values: positions (`iota`), comparisons of
the positions along two axes, and the results of matrix products that such a comparison masks with a
large negative number. A padding mask compares positions with lengths, and is none. A mask that is
an argument of the program is not seen, since its values are not known.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jax.extend.core import Var

from jaxeff.compute.walk import Step, Walked, module_path, uncounted_in

_WHOLE_SQUARE = (
    "about half of the scores are discarded; both counts are of all of them, as PaLM's MFU, and "
    "twice what FlashAttention's benchmarks count"
)
_IN_KERNEL = (
    "in a Pallas kernel, of whose scores those count that it computes (perhaps no block that is "
    "wholly masked); the same attention outside a kernel counts the whole square"
)
_LARGE = 1e4  # what masks add to a score, at least
_MOST_ELEMENTS = 2**24  # of a constant mask that is looked at

_KEEPS = {
    "convert_element_type",
    "copy",
    "copy_p",
    "device_put",
    "optimization_barrier",
    "pvary",
    "reduce_precision",
    "reshard",
    "sharding_constraint",
    "stop_gradient",
}
_COMPARES = {"ge", "gt", "le", "lt"}
_SCALES = {"add", "add_any", "div", "mul", "neg", "sub", "tanh"}


@dataclass(frozen=True)
class _Positions:
    """The position along an axis and an offset, None where it is not known."""

    axis: int
    size: int
    offset: int | None = 0


@dataclass(frozen=True)
class _Triangle:
    """Whether the position along one axis is above that along another, as a mask or a number."""

    axes: tuple[int, int]


@dataclass(frozen=True)
class _Bias:
    """A large negative number where a triangle says so, and else zero."""


@dataclass(frozen=True)
class _Scores:
    """What a matrix product wrote, scaled."""


@dataclass(frozen=True)
class _Number:
    """A constant that is the same everywhere."""

    value: float

    @property
    def masks(self) -> bool:
        return self.value <= -_LARGE


_Known = _Positions | _Triangle | _Bias | _Scores | _Number | None


def causal_masks(walked: Walked, arrays: Mapping[Var, Any]) -> list[str]:
    """Returns a note for each module that discards half of a product by a triangular mask.

    Args:
      walked: what the walk found in a program.
      arrays: the arrays that are written into the program.
    """
    aliases = {alias: value for value, alias in walked.aliases}
    known: dict[int, _Known] = {
        value: _number(constant) for value, constant in walked.constants.items()
    }
    known |= {
        value: _constant(arrays[var]) for value, var in walked.arrays.items() if var in arrays
    }

    def look_up(value: int) -> _Known:
        while value not in known and value in aliases:
            value = aliases[value]
        return known.get(value)

    notes = []
    for step in walked.steps:
        operands = [
            _if_it_fits(look_up(value), var.aval.shape)
            for value, var in zip(step.inputs, step.eqn.invars, strict=True)
        ]
        if _masks_scores(step.primitive, operands):
            where = uncounted_in("causal mask", module_path(step.place.name_stack))
            notes.append(f"{where}: {_IN_KERNEL if step.place.in_kernel else _WHOLE_SQUARE}")
        result = _result(step, operands)
        if result is not None:
            known[step.outputs[0]] = result
    return list(dict.fromkeys(notes))


def _masks_scores(primitive: str, operands: list[_Known]) -> bool:
    """Whether a step discards half of a product's results."""
    kinds = set(map(type, operands))
    if primitive == "select_n" and isinstance(operands[0], _Triangle):
        numbers = [case for case in operands if isinstance(case, _Number)]
        return _Scores in kinds and any(number.masks for number in numbers)
    return primitive in ("add", "add_any") and kinds == {_Scores, _Bias}


def _result(step: Step, operands: list[_Known]) -> _Known:
    """What is known of what a step writes."""
    name = step.primitive
    if name == "iota":
        axis, shape = step.eqn.params["dimension"], step.eqn.outvars[0].aval.shape
        return _Positions(axis, shape[axis]) if shape[axis] > 1 else None
    if name == "dot_general":
        return _Scores()
    if name in _KEEPS:
        return operands[0]
    if name in ("slice", "dynamic_slice"):
        return _sliced(operands[0], step.eqn.outvars[0].aval.shape)
    if name in _MOVES:
        return _moved(operands[0], _MOVES[name](step))
    if name == "select_n":
        return _selected(operands)
    if name in _COMPARES | {"eq", "ne"}:
        return _compared(name, operands)
    if name in ("and", "not", "or"):
        triangles = [each for each in operands if isinstance(each, _Triangle)]
        return triangles[0] if triangles and (name != "or" or len(triangles) == 2) else None
    if name in _SCALES:
        return _scaled(name, operands, step)
    return None


def _if_it_fits(known: _Known, shape: tuple[int, ...]) -> _Known:
    """What is known of a value, but for axes that its shape has not.

    What a loop goes through has one axis more outside of it.
    """
    if isinstance(known, _Positions):
        return known if shape[known.axis : known.axis + 1] == (known.size,) else None
    if isinstance(known, _Triangle):
        return known if all(size > 1 for size in _sizes(shape, known.axes)) else None
    return known


def _sizes(shape: tuple[int, ...], axes: tuple[int, ...]) -> list[int]:
    return [shape[axis] if axis < len(shape) else 1 for axis in axes]


def _sliced(known: _Known, shape: tuple[int, ...]) -> _Known:
    if isinstance(known, _Positions):
        return replace(known, size=shape[known.axis], offset=None)
    return known


def _moved(known: _Known, axes: dict[int, int] | None) -> _Known:
    """What is known where the axes have moved, as `axes` says; None if they are mixed."""
    if isinstance(known, _Positions):
        axis = (axes or {}).get(known.axis)
        return None if axis is None else replace(known, axis=axis)
    if isinstance(known, _Triangle):
        moved = tuple((axes or {}).get(axis) for axis in known.axes)
        return None if None in moved else _Triangle(moved)
    return known


def _broadcast_axes(step: Step) -> dict[int, int]:
    return dict(enumerate(step.eqn.params["broadcast_dimensions"]))


def _transposed_axes(step: Step) -> dict[int, int]:
    return {axis: index for index, axis in enumerate(step.eqn.params["permutation"])}


def _reshaped_axes(step: Step) -> dict[int, int] | None:
    """Where the axes are after a reshape that adds or removes axes of size 1 alone."""
    before, after = (
        [(axis, size) for axis, size in enumerate(var.aval.shape) if size != 1]
        for var in (step.eqn.invars[0], step.eqn.outvars[0])
    )
    if [size for _, size in before] != [size for _, size in after]:
        return None
    return {old: new for (old, _), (new, _) in zip(before, after, strict=True)}


_MOVES: dict[str, Callable[[Step], dict[int, int] | None]] = {
    "broadcast_in_dim": _broadcast_axes,
    "expand_dims": _reshaped_axes,
    "reshape": _reshaped_axes,
    "squeeze": _reshaped_axes,
    "transpose": _transposed_axes,
}


def _selected(operands: list[_Known]) -> _Known:
    chooses, *cases = operands
    if any(isinstance(case, _Scores) for case in cases):
        return _Scores()
    if not isinstance(chooses, _Triangle):
        return None
    numbers = [case for case in cases if isinstance(case, _Number)]
    if len(numbers) == len(cases):
        return _Bias() if any(number.masks for number in numbers) else chooses
    return chooses if any(isinstance(case, _Triangle) for case in cases) else None


def _compared(name: str, operands: list[_Known]) -> _Known:
    left, right = operands
    if isinstance(left, _Positions) and isinstance(right, _Positions):
        if name in _COMPARES and left.axis != right.axis and _is_diagonal(left, right):
            return _Triangle((left.axis, right.axis))
        return None
    triangles = [each for each in operands if isinstance(each, _Triangle)]
    numbers = [each for each in operands if isinstance(each, _Number)]
    return triangles[0] if triangles and numbers else None


def _is_diagonal(left: _Positions, right: _Positions) -> bool:
    """Whether the line along which the positions are equal is a diagonal of their rectangle."""
    if left.offset is None or right.offset is None:  # a block of a bigger square
        return left.size == right.size
    shift = left.offset - right.offset
    return min(abs(shift), abs(shift + left.size - right.size)) <= 1


def _scaled(name: str, operands: list[_Known], step: Step) -> _Known:
    if any(isinstance(each, _Scores) for each in operands):
        return _Scores()
    if any(isinstance(each, _Bias) for each in operands):
        return _Bias()
    triangles = [each for each in operands if isinstance(each, _Triangle)]
    numbers = [each for each in operands if isinstance(each, _Number)]
    if triangles:
        large = name == "mul" and any(abs(number.value) >= _LARGE for number in numbers)
        return _Bias() if large else triangles[0]
    if len(numbers) == len(operands) == 1 and name == "neg":
        return _Number(-numbers[0].value)
    return _shifted(name, operands, step)


def _shifted(name: str, operands: list[_Known], step: Step) -> _Known:
    """Positions with one number added to all of them."""
    if name not in ("add", "sub") or len(operands) != 2:
        return None
    for index, each in enumerate(operands):
        other, var = operands[1 - index], step.eqn.invars[1 - index]
        if isinstance(each, _Positions) and not isinstance(other, _Positions):
            if name == "sub" and index == 1:
                return None
            if isinstance(other, _Number):
                shift = int(other.value) if name == "add" else -int(other.value)
                return replace(each, offset=None if each.offset is None else each.offset + shift)
            return replace(each, offset=None) if _is_one_number(var) else None
    return None


def _is_one_number(var: Any) -> bool:
    return all(size == 1 for size in var.aval.shape)


def _number(constant: Any) -> _Known:
    value = np.asarray(constant)
    # NumPy calls the kind of bfloat16 and its like V, as that of what is no number.
    is_number = value.size == 1 and value.dtype.kind in "biufV" and value.dtype.names is None
    try:
        return _Number(float(value)) if is_number else None
    except TypeError:
        return None


def _constant(constant: Any) -> _Known:
    """What is known of an array that is written into the program: a number, a mask or a bias."""
    shape, dtype = np.shape(constant), getattr(constant, "dtype", None)
    if not isinstance(dtype, np.dtype) or np.prod(shape) > _MOST_ELEMENTS:
        return None
    if len(shape) < 2 or min(shape[-2:]) < 2 or np.prod(shape[:-2]) != 1:
        return None
    values = np.asarray(constant).reshape(shape[-2:])
    for triangle in _triangles(shape[-2:]):
        kept, discarded = values[triangle], values[~triangle]
        if (kept == kept[0]).all() and (discarded == discarded[0]).all():
            if kept[0] == discarded[0]:
                return None
            masks = min(float(kept[0]), float(discarded[0])) <= -_LARGE
            return _Bias() if masks else _Triangle((len(shape) - 2, len(shape) - 1))
    return None


def _triangles(shape: tuple[int, int]) -> Iterable[np.ndarray]:
    ones = np.ones(shape, bool)
    for offset in {0, shape[1] - shape[0]}:
        yield np.tril(ones, offset)
        yield np.tril(ones, offset - 1)
