"""The accuracy that a run is to reach."""

import dataclasses

from jaxeff.errors import UsageError

METRICS = ("top1", "top5")


@dataclasses.dataclass(frozen=True)
class Target:
    """A level of validation accuracy.

    Attributes:
      metric: `top1` or `top5`.
      value: share of the validation images, in (0, 1].
    """

    metric: str
    value: float

    def is_met(self, metrics: dict[str, float]) -> bool:
        """Whether the accuracy is at or above the level."""
        return metrics[self.metric] >= self.value

    def __str__(self):
        return f"{self.metric}:{self.value:g}"


def parse_target(text: str) -> Target:
    """Reads `metric:value`, such as `top5:0.791`.

    Raises:
      UsageError: the text has another form, or the value is not in (0, 1].
    """
    metric, _, number = text.partition(":")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if metric not in METRICS or not 0 < value <= 1:
        raise UsageError(
            f"--target={text}: give top1 or top5, a colon and a share above 0 and up to 1, such as "
            "top5:0.791"
        )
    return Target(metric, value)
