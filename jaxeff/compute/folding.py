"""What XLA simplifies away before it counts: operations on constants, adding zero, times one."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxeff.compute.walk import Walked

_KEEPS_THE_VALUE = {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "copy"}
# An operand that leaves the other as it is, and the positions where it does.
_NEUTRAL = {
    "add": (0.0, (0, 1)),
    "add_any": (0.0, (0, 1)),
    "mul": (1.0, (0, 1)),
    "sub": (0.0, (1,)),
}


def _unknown(*operands: float) -> float:
    return math.nan


# XLA computes these operations, and no others, where all operands are constant. The values of some
# are not worked out here.
_COMPUTED: dict[str, Callable[..., float]] = {
    "abs": abs,
    "add": operator.add,
    "add_any": operator.add,
    "and": _unknown,
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
    "integer_pow": _unknown,
    "le": operator.le,
    "log": np.log,
    "logistic": lambda value: 1 / (1 + np.exp(-value)),
    "lt": operator.lt,
    "max": max,
    "min": min,
    "mul": operator.mul,
    "ne": operator.ne,
    "neg": operator.neg,
    "not": _unknown,
    "or": _unknown,
    "rem": np.fmod,
    "round": _unknown,
    "rsqrt": lambda value: 1 / np.sqrt(value),
    "sign": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "sub": operator.sub,
    "tan": np.tan,
    "tanh": np.tanh,
}


def folded(program: Walked) -> list[bool]:
    """Returns for each step of a program whether XLA simplifies it away."""
    constants = dict(program.constants)
    result = []
    for step in program.steps:
        operands = [
            _uniform_value(constants[value]) if value in constants else None
            for value in step.inputs
        ]
        constant = _constant_result(step.primitive, operands)
        if constant is not None:
            constants[step.outputs[0]] = constant
        result.append(_is_folded(step.primitive, operands))
    return result


def _is_folded(primitive: str, operands: list[float | None]) -> bool:
    """Whether XLA removes an operation on operands of these values, None for one not constant."""
    if primitive == "select_n":
        return operands[0] in (0.0, 1.0)
    if primitive in _COMPUTED and None not in operands:
        return True
    neutral, positions = _NEUTRAL.get(primitive, (None, ()))
    return any(operands[position] == neutral for position in positions)


def _constant_result(primitive: str, operands: list[float | None]) -> float | None:
    """The value of all elements of an operation's result, NaN if unknown; None if not constant."""
    if primitive in _KEEPS_THE_VALUE:
        return operands[0]
    if primitive == "select_n":
        return operands[1 + int(operands[0])] if operands[0] in (0.0, 1.0) else None
    if primitive in _COMPUTED and None not in operands:
        with np.errstate(all="ignore"):
            return float(_COMPUTED[primitive](*operands))
    return None


def _uniform_value(constant: Any) -> float:
    """The value that all elements of a constant have; NaN if they differ."""
    values = np.asarray(constant).ravel()
    uniform = values.size > 0 and values.dtype.kind in "biuf" and (values == values[0]).all()
    return float(values[0]) if uniform else math.nan
