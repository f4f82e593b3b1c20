"""What a Pallas kernel computes with its place in the grid.

A kernel runs once at each point of its grid, and often does something else at the first point or
skips points altogether (`pallas.when(pallas.program_id(2) == 0)`). Scalars that follow from the
program's place alone are known at each point, and with them how many points take which branch.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from jaxeff.compute.folding import choose


class GridScalars:
    """The scalars that are known at each point of a grid, or of a part of one.

    Attributes:
      points: how many points there are.
    """

    def __init__(self, grid: tuple[int, ...], mapped: Sequence[int] = ()):
        """Knows nothing yet but the grid.

        Args:
          grid: its lengths.
          mapped: axes of it that `vmap` has added, which a kernel does not number.
        """
        self.points = math.prod(grid)
        self._known: dict[int, np.ndarray] = {}
        numbered = [axis for axis in range(len(grid)) if axis not in mapped]
        self._grid = [grid[axis] for axis in numbered]
        self._places = np.indices(grid).reshape(len(grid), self.points)[numbered]

    def get(self, value: int) -> np.ndarray | None:
        """Returns the scalar with this number at each point, None if it is not known."""
        return self._known.get(value)

    def set(self, value: int, scalars: np.ndarray) -> None:
        """Says what a scalar is at each point."""
        self._known[value] = scalars

    def compute(self, eqn: JaxprEqn, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Takes in the next equation of the kernel."""
        name, params = eqn.primitive.name, eqn.params
        if name == "program_id":
            self.set(outputs[0], self._places[params["axis"]])
        elif name == "num_programs":
            self.set(outputs[0], np.full(self.points, self._grid[params["axis"]]))
        elif name in _SCALAR and eqn.outvars[0].aval.shape == ():
            operands = [self._known.get(value) for value in inputs]
            if all(operand is not None for operand in operands):
                scalars = _SCALAR[name](*operands)
                self.set(outputs[0], scalars.astype(eqn.outvars[0].aval.dtype))

    def where(self, chosen: np.ndarray) -> "GridScalars":
        """Returns the same scalars at the chosen points alone, a boolean for each point."""
        part = GridScalars.__new__(GridScalars)
        part.points, part._grid = int(chosen.sum()), self._grid
        part._places = self._places[:, chosen]
        part._known = {value: scalars[chosen] for value, scalars in self._known.items()}
        return part


def _div(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    quotient = x / np.where(y == 0, 1, y)
    return np.trunc(quotient).astype(np.int64) if x.dtype.kind in "iu" else quotient


_SCALAR: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "and": np.bitwise_and,
    "clamp": lambda low, x, high: np.minimum(np.maximum(low, x), high),
    "convert_element_type": np.asarray,
    "div": _div,
    "eq": np.equal,
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "multiple_of": np.asarray,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.invert,
    "or": np.bitwise_or,
    "rem": np.fmod,
    "select_n": choose,
    "sign": np.sign,
    "sub": np.subtract,
}
