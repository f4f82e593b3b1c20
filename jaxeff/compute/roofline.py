"""How fast a step can be at most: arithmetic at the peak, memory at its bandwidth (the roofline).

Williams, Waterman & Patterson, Roofline: an insightful visual performance model (CACM 2009).
"""

import dataclasses

from jax.typing import DTypeLike

from jaxeff.compute import hardware
from jaxeff.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Roofline:
    """The least time of a step on one device, by what takes it.

    Attributes:
      arithmetic_seconds: its operations at the device's peak.
      memory_seconds: the bytes that it moves at the memory's bandwidth.
      compiler_seconds: what the compiler expects, None where nothing is known of that. It knows the
        shapes that the arithmetic units like, so that it is often the longest.
    """

    arithmetic_seconds: float
    memory_seconds: float
    compiler_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """The longest of the three."""
        return max(self.arithmetic_seconds, self.memory_seconds, self.compiler_seconds or 0.0)

    @property
    def bound(self) -> str:
        """What takes longer, `arithmetic` or `memory`."""
        return "memory" if self.memory_seconds > self.arithmetic_seconds else "arithmetic"


def device_roofline(
    device_kind: str,
    dtype: DTypeLike | str,
    *,
    flops: float,
    bytes_moved: float,
    compiler_seconds: float | None = None,
) -> Roofline:
    """The roofline of a step on one device.

    Args:
      device_kind: a device of `hardware.PEAKS` and `hardware.MEMORIES`.
      dtype: of the arrays that are multiplied.
      flops: operations of the step on that device, two a multiply-accumulate.
      bytes_moved: that the step reads and writes there.
      compiler_seconds: as in `Roofline`.

    Raises:
      UsageError: the device's peak for this type or its memory is not published.
    """
    peak, memory = hardware.arithmetic_peak(device_kind, dtype), hardware.device_memory(device_kind)
    if peak is None:
        raise UsageError(f"--dtype={dtype}: no peak is published for {device_kind}; give another")
    if memory is None:
        raise UsageError(f"no memory bandwidth is known of a {device_kind}")
    return Roofline(flops / peak[0], bytes_moved / memory[1], compiler_seconds)
