"""Data parallelism: processes, devices and the `pmap` axis over them.

One path for one device and many, for one process and many: parameters and the rest of the state
are the same on all devices, a batch has a leading axis over this process's devices, and every
function of a run is called through `pmap`.
"""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxeff import data
from jaxeff.errors import UsageError

AXIS = "batch"


def pmap(
    function: Callable,
    in_axes: tuple[int | None, ...],
    out_axes: int | None = None,
    donate_argnums: int | tuple[int, ...] = (),
) -> Callable:
    """`jax.pmap` of `function` along `AXIS`, over the devices of all processes.

    Args:
      function: takes and returns arrays of one device.
      in_axes: for each argument 0, where each local device has a part of its own, or None, where
        all have the same (`replicate`).
      out_axes: likewise for the results; None for results that are the same on all devices.
      donate_argnums: arguments whose memory the results may take.
    """
    return jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=in_axes,
        out_axes=out_axes,
        donate_argnums=donate_argnums,
    )


def shared_axis() -> str | None:
    """`AXIS` where several devices share a batch; None where one has it whole.

    XLA copies what it sums over one device, on CPUs for a fifth of AlexNet's step.
    """
    return AXIS if jax.device_count() > 1 else None


def this_shard() -> data.Shard:
    """The part of each global batch that this process reads."""
    return data.Shard(jax.process_index(), jax.process_count())


def check_batch_size(batch_size: int, parts: int = 1) -> None:
    """Raises `UsageError` unless the devices can share `batch_size` examples evenly.

    Args:
      batch_size: over all devices.
      parts: in which it comes, one after the other.
    """
    devices = jax.device_count()
    if batch_size % (devices * parts) and parts > 1:
        raise UsageError(
            f"--batch_size={batch_size} in {parts} parts (--accumulate) cannot be shared evenly by "
            f"{devices} devices: give a multiple of {devices * parts}"
        )
    if batch_size % devices:
        lower, upper = batch_size // devices * devices, -(-batch_size // devices) * devices
        near = " or ".join(str(size) for size in (lower, upper) if size)
        raise UsageError(
            f"--batch_size={batch_size} cannot be shared evenly by {devices} devices: give {near}"
        )


def replicate(tree):
    """A copy of each array on every local device, of the same shape."""
    return jax.device_put(tree, _over_local_devices(jax.sharding.PartitionSpec()))


def to_devices(batches: Iterable[dict], ahead: int = 2, parts: int = 1) -> Iterator[dict]:
    """Splits each batch over the local devices and sends it there, `ahead` batches early.

    Args:
      batches: dictionaries of NumPy arrays `[N, ...]`, `N` divisible by the local devices.
      ahead: batches in transit while the devices compute.
      parts: how many of `batches` are sent as one.

    Yields:
      The same dictionaries with arrays `[local devices, N / local devices, ...]` on the devices; of
      several parts, `[local devices, parts, N / local devices, ...]`.
    """
    devices = jax.local_devices()
    sharding = _over_local_devices(jax.sharding.PartitionSpec(AXIS))

    def split_up(batch):
        return {
            key: value.reshape(len(devices), -1, *value.shape[1:]) for key, value in batch.items()
        }

    def send(batch):
        if parts == 1:
            split = split_up(batch)
        else:
            each = list(map(split_up, batch))
            split = {key: np.stack([part[key] for part in each], axis=1) for key in each[0]}
        # On CPU the devices may read NumPy's own memory: `data.Batches` never writes to it again.
        return jax.device_put(split, sharding)

    source = iter(batches)
    if parts > 1:
        source = zip(*[source] * parts, strict=False)
    queue = collections.deque(send(batch) for batch in itertools.islice(source, ahead))
    while queue:
        yield queue.popleft()
        queue.extend(send(batch) for batch in itertools.islice(source, 1))


def union(numbers: Iterable[int]) -> set[int]:
    """The numbers, none negative, of all processes. All must ask at the same point."""
    own = np.array(sorted(numbers), np.int64)
    if jax.process_count() == 1:
        return set(own.tolist())
    longest = int(multihost_utils.process_allgather(np.array(len(own))).max())
    padded = np.pad(own, (0, longest - len(own)), constant_values=-1)
    # In halves: JAX has no 64-bit integers by default.
    halves = np.stack([padded >> 31, padded & 0x7FFFFFFF]).astype(np.int32)
    halves = multihost_utils.process_allgather(halves)
    high, low = (halves[:, i].astype(np.int64) for i in range(2))
    return set(((high << 31) | low)[high >= 0].tolist())


def _over_local_devices(spec):
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.sharding.NamedSharding(mesh, spec)
