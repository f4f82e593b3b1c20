"""Numbers as they were printed, with the precision that their digits have."""

import dataclasses
import itertools
import re
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Printed:
    """A number with the precision at which it was printed.

    Attributes:
      text: the digits as printed, for instance `0.77` or `4.0e19`.
    """

    text: str

    def __post_init__(self):
        if not re.fullmatch(r"\d+(\.\d+)?(e[+-]?\d+)?", self.text):
            raise ValueError(f"{self.text!r} is not a printed number")

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)

    @property
    def half_unit(self) -> float:
        """Half a unit of the last printed digit."""
        mantissa, _, exponent = self.text.partition("e")
        decimals = len(mantissa.partition(".")[2])
        return 0.5 * 10.0 ** (int(exponent or 0) - decimals)

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds between which the number lay before it was rounded."""
        return self.value - self.half_unit, self.value + self.half_unit

    def allows(self, low: float, high: float) -> bool:
        """Whether some number from `low` to `high` rounds to the printed digits."""
        slack = 1e-9 * abs(self.value)
        return low <= self.bounds[1] + slack and high >= self.bounds[0] - slack


def recompute(
    formula: Callable[..., float], *inputs: "Printed | float"
) -> tuple[float, float, float]:
    """Value of `formula` at the inputs, and its least and greatest within their rounding.

    Args:
      formula: monotone in each argument.
      *inputs: printed numbers, and exact ones.
    """
    value = formula(*(i.value if isinstance(i, Printed) else i for i in inputs))
    corners = [
        formula(*corner)
        for corner in itertools.product(
            *(i.bounds if isinstance(i, Printed) else (i,) for i in inputs)
        )
    ]
    return value, min(corners), max(corners)
