"""What links chips, and the least time that adding up gradients over them takes."""

import dataclasses
import math

from jaxeff.compute.hardware import row_of


@dataclasses.dataclass(frozen=True)
class Links:
    """What devices send each other.

    Attributes:
      bytes_per_second: that a chip can send over all of its links, one way.
      chips: that are linked so: a TPU pod, the GPUs of one machine.
      network_bytes_per_second: of a chip, to chips beyond; None where none is published.
      source: of these numbers.
      axes: of a TPU's torus, each with an equal part of the links; 0 where a switch links all.
      ring: from how many chips on an axis its ends are linked too; below, half its links are used.
    """

    bytes_per_second: float
    chips: int
    network_bytes_per_second: float | None
    source: str
    axes: int = 0
    ring: int = 1

    def all_reduce_seconds(self, size: float, chips: int) -> float | None:
        """The least time in which all chips get the sum of `size` bytes that each of them has.

        Each sends 2 (n - 1) / n of it (Patarasuk & Yuan 2009). Beyond one domain of links, between
        the two halves of that, each chip sums up its share over the network. No latency is in it.

        Returns:
          Seconds; None where the chips are more than are linked, and no network is known.
        """
        near, domains = min(chips, self.chips), math.ceil(chips / self.chips)
        seconds = 0.0
        if near > 1:
            seconds = 2 * (near - 1) / near * size / self._rate(near)
        if domains > 1:
            if self.network_bytes_per_second is None:
                return None
            seconds += 2 * (domains - 1) / domains * size / near / self.network_bytes_per_second
        return seconds

    def _rate(self, chips: int) -> float:
        """What a chip of a slice whose sides differ least can send, in bytes a second."""
        if not self.axes:
            return self.bytes_per_second
        exponent = math.ceil(math.log2(chips))
        sides = [
            2 ** (exponent // self.axes + (axis < exponent % self.axes))
            for axis in range(self.axes)
        ]
        used = sum(1.0 if side >= self.ring else 0.5 for side in sides if side > 1)
        return self.bytes_per_second * used / self.axes


_V5E = Links(
    200e9, 256, 6.4e12 / 8 / 256, "cloud.google.com/tpu/docs/v5e: 400 GB/s both ways", 2, 16
)
_V5P = Links(600e9, 8960, 50e9 / 8, "cloud.google.com/tpu/docs/v5p: 1 200 GB/s both ways", 3, 4)
_V6E = Links(
    400e9, 256, 25.6e12 / 8 / 256, "cloud.google.com/tpu/docs/v6e: 800 GB/s both ways", 2, 16
)
_H100 = Links(
    450e9, 8, 50e9, "NVIDIA H100 data sheet: NVLink 900 GB/s both ways; DGX H100: 400 Gb/s"
)

# Device kind -> what links its chips. Cards without NVLink have no row: machines differ.
LINKS: dict[str, Links] = {
    "TPU v2": Links(
        248e9, 256, None, "Jouppi et al., CACM 63 (2020): 4 x 496 Gb/s", 2, 16
    ),
    "TPU v3": Links(
        328e9, 1024, None, "Jouppi et al., CACM 63 (2020): 4 x 656 Gb/s", 2, 32
    ),
    "TPU v4": Links(300e9, 4096, None, "Jouppi et al., TPU v4 (ISCA 2023): 6 x 50 GB/s", 3, 4),
    "TPU v5 lite": _V5E,
    "TPU v5e": _V5E,
    "TPU v5": _V5P,
    "TPU v5p": _V5P,
    "TPU v6 lite": _V6E,
    "TPU v6e": _V6E,
    "TPU7x": Links(
        600e9, 9216, None, "cloud.google.com/tpu/docs/tpu7x: 1 200 GB/s a chip both ways", 3, 4
    ),
    "V100-SXM2": Links(
        150e9, 8, 50e9 / 8, "NVIDIA V100 data sheet: NVLink 300 GB/s both ways; DGX-1: 4 x 100 Gb/s"
    ),
    "NVIDIA A100": Links(
        300e9, 8, 25e9, "NVIDIA A100 data sheet: NVLink 600 GB/s both ways; DGX A100: 200 Gb/s"
    ),
    "NVIDIA H100 80GB HBM3": _H100,
    "NVIDIA H200": _H100,
    "NVIDIA B200": Links(
        900e9, 8, 50e9, "NVIDIA HGX data sheet: NVLink 1.8 TB/s both ways; DGX B200: 400 Gb/s a GPU"
    ),
    "NVIDIA GB200": Links(
        900e9, 72, 50e9, "NVIDIA GB200 NVL72 data sheet: NVLink 1.8 TB/s both ways; 400 Gb/s a GPU"
    ),
}  # fmt: skip


def device_links(device_kind: str) -> Links | None:
    """Returns what links chips of this kind; None where it depends on the machine."""
    return row_of(LINKS, device_kind)
