"""Compiles a program for a slice of TPUs on a machine that has none.

TPU's compiler, libtpu, is on PyPI and runs on any x86-64 Linux machine: `pip install libtpu`, or
this package's extra `tpu`. It says what a program takes on a chip before one is paid for: whether
it fits, what memory it reads and writes, and how long the compiler believes that to take.

libtpu reads `ENVIRONMENT` when it is loaded: start a process of its own with these variables.
"""

import dataclasses
import math
import re
import time
from collections.abc import Callable
from typing import Any

import jax

from jaxeff.compute.hardware import DEVICES_PER_CHIP
from jaxeff.errors import UsageError

# A process that compiles keeps to the CPU, asks no metadata server for a TPU and shares libtpu with
# others. The accelerator type says which hosts are there; the topology overrides it.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}

# Device kind of `hardware.PEAKS` -> the compiler's name of the generation, and the axes of a slice.
_GENERATIONS = {
    "TPU v2": ("v2", 2),
    "TPU v3": ("v3", 2),
    "TPU v4": ("v4", 3),
    "TPU v5 lite": ("v5e", 2),
    "TPU v5e": ("v5e", 2),
    "TPU v5": ("v5p", 3),
    "TPU v5p": ("v5p", 3),
    "TPU v6 lite": ("v6e", 2),
    "TPU v6e": ("v6e", 2),
    "TPU7x": ("tpu7x", 3),
}

# GiB of a device's memory that libtpu 0.0.52 has for a program, by the errors of one too large.
_AVAILABLE_GIB = {
    "v2": 7.48,
    "v3": 15.48,
    "v4": 30.75,
    "v5e": 15.75,
    "v5p": 95.73,
    "v6e": 31.24,
    "tpu7x": 94.74,
}

# libtpu's configuration in which the two cores of a chip are one device, as JAX has it on the chip.
_ONE_DEVICE_A_CHIP = {"v4": "megacore", "v5p": "megacore"}

# "Used 20.3G of 15.75G hbm", or "the total memory required for HLO temporaries (20.30G) exceeds
# available HBM (15.75G)".
_OUT_OF_MEMORY = re.compile(
    r"RESOURCE_EXHAUSTED.*?([\d.]+)([KMGT]?)\)?(?: of | exceeds available HBM \()([\d.]+)([KMGT]?)",
    re.DOTALL,
)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips of one pod that a job has for itself.

    Attributes:
      device_kind: a TPU of `hardware.PEAKS`.
      topology: chips along each axis of the torus, such as (4, 4).
    """

    device_kind: str
    topology: tuple[int, ...]

    @property
    def chips(self) -> int:
        """Chips of the slice."""
        return math.prod(self.topology)

    @property
    def devices(self) -> int:
        """JAX devices of the slice."""
        return self.chips * DEVICES_PER_CHIP.get(self.device_kind, 1)

    @property
    def available_bytes(self) -> float:
        """What a program has of a device's memory."""
        return _AVAILABLE_GIB[_GENERATIONS[self.device_kind][0]] * 2**30

    @property
    def name(self) -> str:
        """As the compiler calls it: `v5e:4x4`."""
        return f"{_GENERATIONS[self.device_kind][0]}:{'x'.join(map(str, self.topology))}"

    def tpu_devices(self) -> list:
        """The devices of the slice, to compile for; they hold and compute nothing.

        Raises:
          UsageError: libtpu is not installed, or knows no such slice.
        """
        # It is experimental, and only this module needs it.
        from jax.experimental import topologies

        generation = _GENERATIONS[self.device_kind][0]
        options: dict[str, Any] = {
            "chips_per_host_bounds": [min(2, n) for n in (*self.topology, 1)[:2]] + [1]
        }
        if generation in _ONE_DEVICE_A_CHIP:
            options["chip_config_name"] = _ONE_DEVICE_A_CHIP[generation]
        try:
            description = topologies.get_topology_desc(self.name, platform="tpu", **options)
        except Exception as error:
            raise UsageError(
                f"the TPU compiler does not know {self.name}, or is not installed (pip install "
                f"libtpu): {_first_line(error)}"
            ) from error
        return list(description.devices)


def parse_slice(device_kind: str, topology: str) -> Slice:
    """The slice that `--device` and `--topology=4x4` mean.

    Raises:
      UsageError: the device is no TPU that can be compiled for, or has no slices of that form.
    """
    axes = _axes(device_kind)
    numbers = topology.lower().split("x")
    if len(numbers) != axes or not all(n.isdecimal() and int(n) for n in numbers):
        form = "4x4" if axes == 2 else "2x2x1"
        raise UsageError(
            f"--topology={topology}: give the chips of a {device_kind} slice on {axes} axes, such "
            f"as {form}"
        )
    return Slice(device_kind, tuple(map(int, numbers)))


def square_slice(device_kind: str, chips: int) -> Slice:
    """The slice of a power of two of chips whose sides differ least, as clouds offer them.

    Raises:
      UsageError: the device is no TPU that can be compiled for, or the chips no power of two.
    """
    axes = _axes(device_kind)
    exponent = chips.bit_length() - 1
    if chips != 2**exponent:
        raise UsageError(f"{chips} chips are no slice: give --topology, or a power of two")
    sides = sorted(2 ** (exponent // axes + (axis < exponent % axes)) for axis in range(axes))
    # A host holds 2 x 2 chips, so that the third axis is the one of single chips.
    return Slice(device_kind, tuple(sides if axes == 2 or sides[0] > 1 else sides[::-1]))


def _axes(device_kind: str) -> int:
    if device_kind not in _GENERATIONS:
        raise UsageError(f"{device_kind} is no TPU that can be compiled for: give v5e, v4 or v6e")
    return _GENERATIONS[device_kind][1]


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of a program, for one device.

    Attributes:
      fits: whether it has room in the device's memory.
      needed_bytes: of the device's memory; with `fits` False, what it would need.
      available_bytes: what a program has, where the compiler says so: if it does not fit.
      argument_bytes: what goes in.
      output_bytes: what comes out and takes no place of an argument (`donate_argnums`).
      temporary_bytes: what is needed in between.
      code_bytes: of the program itself.
      flops: of the compiled program, XLA's count.
      bytes_accessed: what its operations read and write.
      estimated_seconds: the compiler's own estimate, without operations that it has none for; None
        where that is no number.
      unestimated: how many those operations are.
      compile_seconds: how long compiling took.
    """

    fits: bool
    needed_bytes: float
    available_bytes: float | None
    argument_bytes: int | None
    output_bytes: int | None
    temporary_bytes: int | None
    code_bytes: int | None
    flops: float | None
    bytes_accessed: float | None
    estimated_seconds: float | None
    unestimated: int | None
    compile_seconds: float


def compile_replicated(
    step: Callable, state: Any, batch: Any, axis: str, devices: list
) -> Compiled:
    """Compiles a training step over devices, each with a part of the batch, by `jax.pmap`.

    Args:
      step: `(state, batch) -> (state, loss)`, which averages over `axis`.
      state: its shapes, the same on every device, in place of which the new state comes.
      batch: shapes of the global batch; its first axis is divided among the devices.
      axis: name of the `pmap` axis.
      devices: of `Slice.tpu_devices`.

    Raises:
      UsageError: the batch cannot be divided evenly, or the compiler fails for another reason than
        memory.
    """
    number = len(devices)

    def part(shape):
        if shape.shape[0] % number:
            raise UsageError(f"a batch of {shape.shape[0]} cannot be shared evenly by {number}")
        each = (number, shape.shape[0] // number, *shape.shape[1:])
        return jax.ShapeDtypeStruct(each, shape.dtype)

    mapped = jax.pmap(
        step, axis_name=axis, in_axes=(None, 0), out_axes=None, donate_argnums=0, devices=devices
    )
    lowered = mapped.lower(state, jax.tree.map(part, batch))
    began = time.monotonic()
    try:
        compiled = lowered.compile()
    except Exception as error:
        return read_error(error, time.monotonic() - began)
    return _read(compiled, time.monotonic() - began)


def _read(compiled, seconds: float) -> Compiled:
    memory, analysis = compiled.memory_analysis(), compiled.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    output = memory.output_size_in_bytes - memory.alias_size_in_bytes
    parts = (
        memory.argument_size_in_bytes,
        output,
        memory.temp_size_in_bytes,
        memory.generated_code_size_in_bytes,
    )
    estimate, unestimated = own_estimate(analysis.get("optimal_seconds", math.nan))
    return Compiled(
        True, sum(parts), None, *parts, analysis["flops"], analysis["bytes accessed"],
        estimate, unestimated, seconds,
    )  # fmt: skip


def own_estimate(optimal_seconds: float) -> tuple[float | None, int | None]:
    """Takes XLA's `optimal_seconds` apart: it adds −1 for each operation it has no estimate for.

    On a v5e, for instance, for each `ConcatBitcast`, which only renames memory. The rest of a step
    takes less than a second.

    Returns:
      Seconds of the operations with an estimate, and the number of those without one; both None
      where the number says nothing.
    """
    if not math.isfinite(optimal_seconds) or optimal_seconds == 0:
        return None, None
    unestimated = max(0, math.ceil(-optimal_seconds))
    return optimal_seconds + unestimated, unestimated


def largest_batch(
    *, batch_size: int, needed_bytes: float, fixed_bytes: float, available_bytes: float
) -> int:
    """The most examples on a device by the memory that the step takes with another number of them.

    All but the fixed part is taken to grow in proportion to the batch. Where the step fits this is
    less than the truth, since gradients and other temporary memory do not grow: with 64 images of
    AlexNet on a v5e, a third of it. `search_largest_batch` asks.

    Args:
      batch_size: examples of the step on a device.
      needed_bytes: what that step needs.
      fixed_bytes: what any step needs: the state and the program.
      available_bytes: what there is.
    """
    per_example = (needed_bytes - fixed_bytes) / batch_size
    return max(0, int((available_bytes - fixed_bytes) / per_example))


def search_largest_batch(
    needed_bytes: Callable[[int], tuple[bool, float]],
    *,
    batch_size: int,
    first: tuple[bool, float],
    fixed_bytes: float,
    available_bytes: float,
    precision: float = 0.02,
) -> int:
    """The most examples on a device that were seen to fit, by asking two to a dozen times.

    What does not fit is refused in seconds.

    The first guess is `largest_batch`; each further one lies on the line through the two steps that
    are next to the limit, or, where that says nothing, just above the largest that fits, then
    halfway. Near its limit the compiler computes things twice to save memory, so that somewhat more
    may fit, slowly.

    Args:
      needed_bytes: of a number of examples whether the step fits, and what memory it needs.
      batch_size: a number whose answer is known.
      first: that answer.
      fixed_bytes: what any step needs: the state and the program.
      available_bytes: what there is.
      precision: the search ends where less than this fraction is to be won.

    Returns:
      The largest number of examples that fits; 0 if none does.
    """
    known, crept = {batch_size: first}, False
    while True:
        fit = max((n for n, (fits, _) in known.items() if fits), default=0)
        too_many = min((n for n, (fits, _) in known.items() if not fits), default=math.inf)
        worth_asking = int(fit * (1 + precision)) + 1
        if too_many <= worth_asking:
            return fit
        guess = _guess(known, fixed_bytes, available_bytes)
        if guess < worth_asking and too_many == math.inf:
            return fit
        if guess < worth_asking and not crept:
            guess, crept = worth_asking, True
        elif not worth_asking <= guess < too_many:
            guess = (fit + int(too_many)) // 2
        known[guess] = needed_bytes(guess)


def _guess(known: dict[int, tuple[bool, float]], fixed_bytes: float, available_bytes: float) -> int:
    """How many examples would fill the memory, by the two known numbers next to that."""
    near = sorted(sorted(known, key=lambda n: abs(known[n][1] - available_bytes))[:2])
    needed, more = known[near[0]][1], known[near[-1]][1]
    if more <= needed:  # One number alone, or a larger step that the compiler laid out better.
        return largest_batch(
            batch_size=near[-1],
            needed_bytes=more,
            fixed_bytes=fixed_bytes,
            available_bytes=available_bytes,
        )
    return int(near[0] + (available_bytes - needed) * (near[1] - near[0]) / (more - needed))


def read_error(error: Exception, seconds: float) -> Compiled:
    """Reads how much memory was missing from the compiler's error, or raises it."""
    found = _OUT_OF_MEMORY.search(str(error))
    if not found:
        raise UsageError(f"the TPU compiler failed: {_first_line(error)}") from error
    needed = float(found[1]) * _UNITS[found[2]]
    available = float(found[3]) * _UNITS[found[4]]
    known = {
        "fits": False,
        "needed_bytes": needed,
        "available_bytes": available,
        "compile_seconds": seconds,
    }
    unknown: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(Compiled))
    return Compiled(**unknown | known)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
