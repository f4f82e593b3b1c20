"""What XLA simplifies away before it counts: operations on constants, adding zero, times one.

XLA folds while it reads a lowered program: an operation on constants becomes a constant, one that
returns an operand as it is (`x + 0`, `x & True`, a selection between equal values) becomes that
operand, and what nobody reads after that is dropped. It does not look into calls and loops, whose
arguments are unknown inside. Which operations it folds, and with which operands, was found by
experiment with the analysis itself, which `tests/compute/test_folding.py` repeats.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.extend.core import JaxprEqn
from jax.lax import RoundingMethod

if TYPE_CHECKING:
    from jaxeff.compute.walk import Step

# A constant is represented by a scalar if all of its elements are equal, and otherwise by an array;
# by `_VARIED` if the array is not worth computing with.
_VARIED = object()
_LARGE = 2**16


class Simplifier:
    """Folds the equations of a program one after the other, as XLA does.

    Values have numbers, as in `jaxeff.compute.walk`.
    """

    def __init__(self):
        self._constants: dict[int, Any] = {}
        self._same: dict[int, int] = {}
        self._made: dict[int, tuple[JaxprEqn, tuple[int, ...]]] = {}

    def set_constant(self, value: int, array: Any, dtype: Any) -> None:
        """Says that a value is a constant of the program."""
        if isinstance(dtype, np.dtype):  # no random key
            self._constants[value] = _compact(np.asarray(array, dtype))

    def integer(self, value: int) -> int | None:
        """Returns the integer that a scalar is known to be, None if it is not known."""
        known = self._constants.get(self._source(value))
        return None if known is None or known is _VARIED else int(known)

    def fold(self, eqn: JaxprEqn, inputs: Sequence[int], outputs: Sequence[int]) -> bool:
        """Takes in the next equation, and returns whether XLA folds it."""
        sources = tuple(map(self._source, inputs))
        if eqn.primitive.name == "split":
            return self._fold_split(eqn, sources[0], outputs)
        if len(outputs) != 1:
            return False
        operand = self._operand_returned(eqn, sources)
        if operand is not None:
            self._same[outputs[0]] = operand
            return True
        constant = self._constant_returned(eqn, sources)
        if constant is not None:
            self._constants[outputs[0]] = constant
            return True
        self._made[outputs[0]] = eqn, sources
        return False

    def _fold_split(self, eqn: JaxprEqn, source: int, outputs: Sequence[int]) -> bool:
        """Takes in a split, which is a slice for each part."""
        whole, constant = eqn.invars[0].aval.shape, self._constants.get(source)
        ends = np.cumsum(eqn.params["sizes"])[:-1]
        if constant is None or constant is _VARIED or np.ndim(constant) == 0:
            parts = [constant] * len(outputs)
        else:
            parts = map(_compact, np.split(constant, ends, eqn.params["axis"]))
        for var, output, part in zip(eqn.outvars, outputs, parts, strict=True):
            if var.aval.shape == whole:
                self._same[output] = source
            elif part is not None:
                self._constants[output] = part
        return constant is not None

    def unread(self, steps: Iterable["Step"], kept: Iterable[int]) -> set["Step"]:
        """Returns the steps that XLA drops because nothing reads what they write.

        Args:
          steps: the steps of the program that are not folded, in order.
          kept: the values that the program returns, and those that enter or leave a call, a loop or
            a branch, which XLA keeps.
        """
        read = set(map(self._source, kept))
        dropped = set()
        for step in reversed(list(steps)):
            if step.place.in_kernel or step.eqn.effects or not read.isdisjoint(step.outputs):
                read.update(
                    source
                    for source in map(self._source, step.inputs)
                    if source not in self._constants
                )
            else:
                dropped.add(step)
        return dropped

    def _source(self, value: int) -> int:
        while value in self._same:
            value = self._same[value]
        return value

    def _operands_of(self, value: int, name: str) -> tuple[int, ...]:
        """The operands from which a primitive of this name computed the value; () if none did."""
        eqn, operands = self._made.get(value, (None, ()))
        return operands if eqn is not None and eqn.primitive.name == name else ()

    def _before_reshapes(self, value: int, shape: tuple[int, ...]) -> int | None:
        """The value of this shape that reshapes have led from to `value`."""
        while value in self._made and _is_reshape(self._made[value][0]):
            eqn, (value,) = self._made[value]
            if eqn.invars[0].aval.shape == shape:
                return value
        return None

    def _before_transposes(self, value: int, permutation: tuple[int, ...]) -> int | None:
        """The value that two transpositions, of which this is the second, lead back to."""
        operands = self._operands_of(value, "transpose")
        first = self._made[value][0].params["permutation"] if operands else ()
        back = operands and all(first[axis] == i for i, axis in enumerate(permutation))
        return operands[0] if back else None

    def _operand_returned(self, eqn: JaxprEqn, inputs: tuple[int, ...]) -> int | None:
        """The operand that the equation returns as it is; None if it returns none of them."""
        name = eqn.primitive.name
        if name == "concatenate":
            parts = _without_empty(eqn, inputs)
            return parts[0] if len(parts) == 1 else None
        if name == "dynamic_update_slice" and eqn.invars[1].aval.size == 0:
            return inputs[0]
        if name in _RETURNS_ITS_OPERAND and inputs and _RETURNS_ITS_OPERAND[name](eqn):
            return inputs[0]
        if _is_reshape(eqn):
            return self._before_reshapes(inputs[0], eqn.outvars[0].aval.shape)
        if name == "transpose":
            return self._before_transposes(inputs[0], eqn.params["permutation"])
        if name in ("real", "imag"):
            parts = self._operands_of(inputs[0], "complex")
            return parts[name == "imag"] if parts else None
        if name == "complex":
            whole = self._operands_of(inputs[0], "real")
            return whole[0] if whole and whole == self._operands_of(inputs[1], "imag") else None
        constants = [self._constants.get(value) for value in inputs]
        if name == "select_n" and len(inputs) == 3:
            which, *cases = constants
            if which is not None and which is not _VARIED and np.ndim(which) == 0:
                return inputs[1 + int(which)]
            return inputs[1] if inputs[1] == inputs[2] or _are_equal(cases) else None
        for position, neutral in _neutral(name, eqn):
            if _is(constants[position], neutral):
                return inputs[1 - position]
        return None

    def _constant_returned(self, eqn: JaxprEqn, inputs: tuple[int, ...]) -> Any:
        """The constant that the equation returns; None if it returns none."""
        name, out = eqn.primitive.name, eqn.outvars[0].aval
        if name == "integer_pow" and eqn.params["y"] == 0:
            return np.ones((), out.dtype)
        if name == "iota":
            return np.zeros((), out.dtype) if out.shape[eqn.params["dimension"]] == 1 else None
        types = [var.aval.dtype for var in (*eqn.outvars, *eqn.invars)]
        if not inputs or any(not isinstance(t, np.dtype) or t.kind == "c" for t in types):
            return None
        operand_type = types[1]
        if name in _OF_NOTHING and out.size and eqn.invars[0].aval.size == 0:
            return np.asarray(_OF_NOTHING[name](operand_type), out.dtype)
        if name == "pad" and eqn.invars[0].aval.size == 0:
            return self._constants.get(inputs[1])
        if name == "concatenate":
            inputs = _without_empty(eqn, inputs)
        operands = [self._constants.get(value) for value in inputs]
        equal = len(set(inputs)) == 1 or _are_equal(operands)
        if name in _OF_EQUAL_OPERANDS and operand_type.kind in "biu" and equal:
            return np.asarray(_OF_EQUAL_OPERANDS[name], out.dtype)
        if name in _ABSORBING and operand_type.kind in "biu":
            absorbing = _ABSORBING[name](operand_type)
            if any(_is(operand, absorbing) for operand in operands):
                return absorbing
        if any(operand is None for operand in operands):
            return None
        uniform = all(operand is not _VARIED and np.ndim(operand) == 0 for operand in operands)
        if name == "broadcast_in_dim" and (uniform or not _is_reshape(eqn)):
            return operands[0] if uniform else None
        if name in _MOVES:
            if uniform and (name != "concatenate" or _are_equal(operands)):
                return operands[0]
            if len(operands) < len(eqn.invars):
                return _VARIED
            return _computed(_MOVES[name], eqn, operands)
        if name not in _COMPUTED or (name in _LEAVES and _any(_LEAVES[name], operands[0])):
            return None
        if not uniform and any(var.aval.shape not in ((), out.shape) for var in eqn.invars):
            return None  # XLA broadcasts these first, and then knows them no longer.
        return _computed(_COMPUTED[name], eqn, operands)


def _computed(function: Callable[..., Any], eqn: JaxprEqn, operands: list[Any]) -> Any:
    """The result of an equation on constants."""
    out = eqn.outvars[0].aval
    if any(operand is _VARIED for operand in operands) or math.prod(out.shape) > _LARGE:
        uniform = all(operand is not _VARIED and np.ndim(operand) == 0 for operand in operands)
        if not uniform or function in _MOVES.values():
            return _VARIED
    if function in _MOVES.values():
        shapes = [var.aval.shape for var in eqn.invars]
        operands = [np.broadcast_to(*each) for each in zip(operands, shapes, strict=True)]
    with np.errstate(all="ignore"):
        return _compact(np.asarray(function(eqn, *operands)).astype(out.dtype))


def _compact(array: np.ndarray) -> Any:
    """How a constant is represented."""
    if array.ndim == 0:
        return array
    values = array.ravel()
    if values.size == 0:
        return _VARIED
    if (values == values[0]).all() and not _has_both_zeros(values):
        return values[0].reshape(())
    if (values != values).all():  # NaN
        return values[0].reshape(())
    return array if array.size <= _LARGE else _VARIED


def _has_both_zeros(values: np.ndarray) -> bool:
    """Whether some of equal numbers are 0 and others -0, which divide to other infinities."""
    if values.dtype.kind in "biu" or values[0] != 0:
        return False
    negative = np.signbit(values)
    return bool(negative.any() and not negative.all())


def _is(constant: Any, number: Any) -> bool:
    """Whether all elements of a constant are this number."""
    return constant is not None and constant is not _VARIED and bool(np.all(constant == number))


def _any(condition: Callable[[np.ndarray], np.ndarray], constant: Any) -> bool:
    """Whether an element of a constant meets a condition, as far as its elements are known."""
    return constant is not _VARIED and bool(np.any(condition(constant)))


def _is_reshape(eqn: JaxprEqn) -> bool:
    """Whether an equation keeps all elements, in order."""
    name = eqn.primitive.name
    return name in ("reshape", "squeeze", "expand_dims") or (
        name == "broadcast_in_dim"
        and eqn.invars[0].aval.size == eqn.outvars[0].aval.size
        and list(eqn.params["broadcast_dimensions"]) == sorted(eqn.params["broadcast_dimensions"])
    )


def _without_empty(eqn: JaxprEqn, inputs: Sequence[int]) -> list[int]:
    """The operands of an equation that are not empty arrays."""
    return [value for value, var in zip(inputs, eqn.invars, strict=True) if var.aval.size]


def _are_equal(constants: list[Any]) -> bool:
    """Whether all are the same constant."""
    first = constants[0]
    return all(each is not None and each is not _VARIED for each in constants) and all(
        each.dtype == first.dtype and np.array_equal(each, first) for each in constants
    )


def _ones(dtype: np.dtype) -> np.ndarray:
    """The number of which all bits are set."""
    return np.invert(np.zeros((), dtype))


def _neutral(name: str, eqn: JaxprEqn) -> Iterable[tuple[int, Any]]:
    """The operands that leave the other of two operands as it is, each with its position."""
    if name not in _NEUTRAL:
        return
    dtype = eqn.invars[0].aval.dtype
    neutral, positions, kinds = _NEUTRAL[name]
    # NumPy calls the kind of bfloat16 and its like V. The type of a random key has none.
    kind = getattr(dtype, "kind", "").replace("V", "f")
    if kind and kind in kinds:
        for position in positions:
            yield position, neutral(dtype) if callable(neutral) else neutral


# The neutral operand, its positions, and the kinds of numbers for which XLA knows it.
_NEUTRAL = {
    "add": (0, (0, 1), "fiu"),
    "add_any": (0, (0, 1), "fiu"),
    "and": (_ones, (0, 1), "biu"),
    "eq": (True, (0, 1), "b"),
    "mul": (1, (0, 1), "fiu"),
    "ne": (False, (0, 1), "b"),
    "or": (0, (0, 1), "biu"),
    "sub": (0, (1,), "fiu"),
    "xor": (0, (0, 1), "biu"),
}
# Operands that determine the result whatever the other is, for integers and booleans.
_ABSORBING: dict[str, Callable[[np.dtype], np.ndarray]] = {
    "and": lambda dtype: np.zeros((), dtype),
    "mul": lambda dtype: np.zeros((), dtype),
    "or": _ones,
}
# Results on two equal operands, for integers and booleans.
_OF_EQUAL_OPERANDS = {
    "eq": True,
    "ge": True,
    "gt": False,
    "le": True,
    "lt": False,
    "ne": False,
    "sub": 0,
    "xor": 0,
}


def _lowest(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _highest(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.inf


# Results where the first operand is an empty array, which XLA takes for a constant.
_OF_NOTHING: dict[str, Callable[[np.dtype], Any]] = {
    "reduce_and": _ones,
    "reduce_max": _lowest,
    "reduce_min": _highest,
    "reduce_or": lambda dtype: 0,
    "reduce_prod": lambda dtype: 1,
    "reduce_sum": lambda dtype: 0,
}


def _same_shape(eqn: JaxprEqn) -> bool:
    return eqn.invars[0].aval.shape == eqn.outvars[0].aval.shape


# When an equation of one operand returns it as it is.
_RETURNS_ITS_OPERAND: dict[str, Callable[[JaxprEqn], bool]] = {
    "broadcast_in_dim": _same_shape,
    "convert_element_type": lambda eqn: eqn.invars[0].aval.dtype == eqn.outvars[0].aval.dtype,
    "copy": lambda eqn: True,
    "copy_p": lambda eqn: True,
    "device_put": lambda eqn: True,
    "integer_pow": lambda eqn: eqn.params["y"] == 1,
    "pad": lambda eqn: not any(map(any, eqn.params["padding_config"])),
    "pcast": lambda eqn: True,
    "pvary": lambda eqn: True,
    "reshape": _same_shape,
    "rev": lambda eqn: not eqn.params["dimensions"],
    "slice": _same_shape,
    "stop_gradient": lambda eqn: True,
    "transpose": lambda eqn: eqn.params["permutation"] == tuple(range(eqn.invars[0].aval.ndim)),
}


def _dynamic_slice(eqn: JaxprEqn, array: np.ndarray, *begins: np.ndarray) -> np.ndarray:
    sizes = eqn.params["slice_sizes"]
    limits = [full - size for full, size in zip(array.shape, sizes, strict=True)]
    begins = [min(max(int(at), 0), limit) for at, limit in zip(begins, limits, strict=True)]
    return array[tuple(slice(at, at + size) for at, size in zip(begins, sizes, strict=True))]


def _slice(eqn: JaxprEqn, array: np.ndarray) -> np.ndarray:
    params = eqn.params
    strides = params["strides"] or (1,) * array.ndim
    return array[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]


# XLA does these with constants. (Of the broadcasts, only those that reshape.)
_MOVES: dict[str, Callable[..., np.ndarray]] = {
    "broadcast_in_dim": lambda eqn, array: array.reshape(eqn.outvars[0].aval.shape),
    "concatenate": lambda eqn, *arrays: np.concatenate(arrays, eqn.params["dimension"]),
    "dynamic_slice": _dynamic_slice,
    "expand_dims": lambda eqn, array: array.reshape(eqn.outvars[0].aval.shape),
    "reshape": lambda eqn, array: array.reshape(eqn.outvars[0].aval.shape),
    "rev": lambda eqn, array: np.flip(array, eqn.params["dimensions"]),
    "slice": _slice,
    "squeeze": lambda eqn, array: array.reshape(eqn.outvars[0].aval.shape),
    "transpose": lambda eqn, array: array.transpose(eqn.params["permutation"]),
}


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda eqn, *operands: function(*operands)


def _div(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "iu":
        return np.divide(x, y)
    return np.trunc(np.divide(x.astype(np.float64), y))


def _round(eqn: JaxprEqn, x: np.ndarray) -> np.ndarray:
    if eqn.params["rounding_method"] == RoundingMethod.TO_NEAREST_EVEN:
        return np.rint(x)
    whole = np.trunc(x)
    return whole + np.copysign(np.abs(x - whole) >= 0.5, x)


def _power(eqn: JaxprEqn, x: np.ndarray) -> np.ndarray:
    # Integers wrap around.
    exponent = eqn.params["y"]
    return x**exponent if x.dtype.kind in "iu" else x.astype(np.float64) ** exponent


def choose(which: np.ndarray, *cases: np.ndarray) -> np.ndarray:
    """The case with the number that `which` has, element by element, of any number of cases."""
    which, *cases = np.broadcast_arrays(which, *cases)
    return np.take_along_axis(np.stack(cases), which.astype(int)[np.newaxis], 0)[0]


# XLA leaves these with some constants: roots and logarithms that are not defined, the sign of NaN.
_LEAVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "log": lambda x: x <= 0,
    "rsqrt": lambda x: x <= 0,
    "sign": lambda x: x != x,
    "sqrt": lambda x: x < 0,
}
# XLA computes these, and no others, with constants.
_COMPUTED: dict[str, Callable[..., Any]] = {
    "abs": _elementwise(np.abs),
    "add": _elementwise(np.add),
    "add_any": _elementwise(np.add),
    "and": _elementwise(np.bitwise_and),
    "clamp": _elementwise(lambda low, x, high: np.minimum(np.maximum(low, x), high)),
    "convert_element_type": _elementwise(lambda x: x),
    "cos": _elementwise(np.cos),
    "div": _elementwise(_div),
    "eq": _elementwise(np.equal),
    "erf": _elementwise(np.vectorize(math.erf, otypes=[float])),
    "exp": _elementwise(np.exp),
    "exp2": _elementwise(np.exp2),
    "ge": _elementwise(np.greater_equal),
    "gt": _elementwise(np.greater),
    "integer_pow": _power,
    "le": _elementwise(np.less_equal),
    "log": _elementwise(np.log),
    "logistic": _elementwise(lambda x: 1 / (1 + np.exp(-x))),
    "lt": _elementwise(np.less),
    "max": _elementwise(np.maximum),
    "min": _elementwise(np.minimum),
    "mul": _elementwise(np.multiply),
    "ne": _elementwise(np.not_equal),
    "neg": _elementwise(np.negative),
    "not": _elementwise(np.invert),
    "or": _elementwise(np.bitwise_or),
    "rem": _elementwise(np.fmod),
    "round": _round,
    "rsqrt": _elementwise(lambda x: 1 / np.sqrt(x)),
    "select_n": _elementwise(choose),
    "sign": _elementwise(np.sign),
    "sin": _elementwise(np.sin),
    "sqrt": _elementwise(np.sqrt),
    "square": _elementwise(np.square),
    "sub": _elementwise(np.subtract),
    "tan": _elementwise(np.tan),
    "tanh": _elementwise(np.tanh),
}
