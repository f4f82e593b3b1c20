"""Batches of pictures for training and evaluation, made by Grain.

What is promised (and tested under these words):

- The training stream is one seeded shuffle of all pictures after the other, a new one each epoch.
  Every epoch contains every picture once; batches run on across the end of an epoch.
- Global batch k is the same pictures with the same augmentation however many processes, workers
  and threads make it: both depend on nothing but the seed and the position in the stream.
- The step alone is the state: `start_step=k` goes on where k batches left off, at no cost.
- Evaluation sees every picture once, over all processes together.
- A picture that cannot be read ends the iteration with a UsageError that names the file, from
  wherever it was read.
- Closing or dropping an iterator ends its threads and processes.

The shuffle is not Grain's: `MapDataset.shuffle` (0.2.18) is a four-round cipher over the index
whose output is regular at some lengths. Of 50 000 pictures in class order, the class counts of a
batch have a quarter less variance than in a random order; of ImageNet's 1 281 167, one step between
neighbours occurs hundreds of times too often; and seed s in epoch 1 repeats seed s + 1 in epoch 0.
The order that a network sees is part of what is measured here, so it is a true permutation.
"""

import atexit
import functools
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grain
import numpy as np
from absl import flags

from jaxeff.data.augment import (
    Augmentation,
    decode,
    evaluation_image,
    train_crop,
    train_image,
)
from jaxeff.data.dataset import Dataset, Source
from jaxeff.errors import UsageError

_MAX_THREADS = 8
_PIXELS_WORTH_A_THREAD = (
    192 * 192
)  # measured: at 128 two threads are slower than one, at 256 faster
# Arrays below this many bytes travel between processes by value: a shared segment costs more.
_MIN_SHARED_BYTES = 16 * 1024
_SHARED_MEMORY = "/dev/shm"
# Measured on two cores only: threads 1.95 times one core, processes 1.6 to 1.8 times.
MOST_THREADED_CORES = 4
# Pictures in a row that are skipped at most: more are no accident.
MOST_SKIPPED = 8


def train_batches(
    dataset: Dataset,
    *,
    image_size: int,
    batch_size: int,
    augmentation: Augmentation,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    prefetch: int = 2,
    on_bad_image: str = "stop",
) -> "Batches":
    """The endless stream of training batches, this process's part of each.

    Reading starts at once, in the background.

    Args:
        dataset: where the pictures come from.
        image_size: side of the square images, pixels.
        batch_size: images in a global batch, over all processes.
        augmentation: how the pictures vary.
        seed: not negative; decides order and augmentation.
        start_step: number of batches to leave out at the start; costs nothing.
        process_index: which process this is, 0 … process_count − 1.
        process_count: the number of processes that share each batch.
        num_workers: worker processes that decode; 0 decodes in threads of this one.
        prefetch: batches that each worker, or this process, makes ahead of their use.
        on_bad_image: what to do with a picture that cannot be read: `stop` raises, `skip` takes the
            next readable one of the epoch's order in its place (which one depends on nothing else)
            and adds it to the iterator's `skipped`.

    Returns:
        An iterator over `{"image": uint8 [batch_size // process_count, image_size, image_size, 3],
        "label": int32 [batch_size // process_count]}`, with `close()`.

    Raises:
        UsageError: `batch_size` does not divide among the processes, a number is out of range, or,
            while iterating, a picture cannot be read.
    """
    return _training_stream(
        dataset,
        functools.partial(
            _train_example,
            size=image_size,
            augmentation=augmentation,
            may_skip=on_bad_image == "skip",
        ),
        batch_size=batch_size,
        seed=seed,
        start_step=start_step,
        process_index=process_index,
        process_count=process_count,
        num_workers=num_workers,
        num_threads=_threads(dataset.train),
        prefetch=prefetch,
        image_bytes=image_size**2 * 3,
    )


def _training_stream(
    dataset,
    example,
    *,
    batch_size,
    seed,
    start_step,
    process_index,
    process_count,
    num_workers,
    num_threads,
    prefetch,
    image_bytes,
):
    local_batch = _local_batch(batch_size, process_index, process_count)
    if seed < 0:
        raise UsageError(f"seed {seed} is negative; give 0 or more")
    if start_step < 0:
        raise UsageError(f"start step {start_step} is negative; give 0 or more")
    # Two independent streams from one seed, and no two seeds that share either.
    order_seed, augmentation_seed = (
        int(child.generate_state(1, np.uint64)[0])
        for child in np.random.SeedSequence(seed).spawn(2)
    )
    batches = (
        grain.MapDataset.source(ShuffledStream(dataset.train, order_seed))
        .random_map(example, seed=augmentation_seed)
        .slice(slice(process_index, None, process_count))
        .batch(local_batch)
        .slice(slice(start_step, None))
    )
    return Batches(
        batches,
        num_workers=num_workers,
        num_threads=num_threads,
        prefetch=prefetch,
        batch_bytes=local_batch * image_bytes,
    )


def crop_batches(
    dataset: Dataset,
    *,
    batch_size: int,
    augmentation: Augmentation,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> "Batches":
    """The stream of `train_batches`, as boxes in cached pictures instead of pixels.

    Args:
        dataset: whose training pictures are in memory (`cache.in_memory`).
        batch_size, augmentation, seed, start_step, process_index, process_count: as there.

    Returns:
        An iterator over `{"index": int32 [n], "box": int32 [n, 4], "flip": bool [n], "label": int32
        [n]}`, for `cache.crop_and_flip`.

    Raises:
        UsageError: as `train_batches`.
    """
    return _training_stream(
        dataset,
        functools.partial(_crop_example, augmentation=augmentation),
        batch_size=batch_size,
        seed=seed,
        start_step=start_step,
        process_index=process_index,
        process_count=process_count,
        num_workers=0,
        num_threads=1,
        prefetch=4,
        image_bytes=32,
    )


def loader_processes(cores: int) -> int:
    """How many processes decode files fastest on so many cores; 0 for threads of this one.

    Decoding leaves the interpreter lock alone, so a few threads scale better than processes, which
    hand each batch over; beyond `MOST_THREADED_CORES` the lock would be the limit.
    """
    return 0 if cores <= MOST_THREADED_CORES else min(16, cores - 1)


def validation_batches(
    dataset: Dataset,
    *,
    image_size: int,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
) -> "Batches":
    """All validation pictures once, in the data set's order, this process's part of each batch.

    The last batch is filled up with black images of label 0 whose mask is False. Every process gets
    the same number of batches, ceil(pictures / batch_size).

    Args:
        dataset: where the pictures come from, and how much of each is shown.
        image_size: side of the square images, pixels.
        batch_size: images in a global batch, over all processes.
        process_index: which process this is, 0 … process_count − 1.
        process_count: the number of processes that share each batch.
        num_workers: worker processes that decode; 0 decodes in threads of this one.

    Returns:
        An iterator over `{"image": uint8 [batch_size // process_count, image_size, image_size, 3],
        "label": int32 [batch_size // process_count], "mask": bool [batch_size // process_count]}`,
        with `close()`.

    Raises:
        UsageError: as `train_batches`.
    """
    local_batch = _local_batch(batch_size, process_index, process_count)
    padded = -(-len(dataset.validation) // batch_size) * batch_size
    example = functools.partial(
        _evaluation_example,
        source=dataset.validation,
        size=image_size,
        crop_fraction=dataset.evaluation_crop_fraction,
    )
    batches = (
        grain.MapDataset.range(padded)
        .slice(slice(process_index, None, process_count))
        .map(example)
        .batch(local_batch)
    )
    return Batches(
        batches,
        num_workers=num_workers,
        num_threads=_threads(dataset.validation),
        prefetch=1,
        batch_bytes=local_batch * image_size**2 * 3,
    )


@dataclass(eq=False)
class ShuffledStream:
    """An endless source: `source` in a new random order each epoch.

    Position p is picture p mod n of epoch p div n. Each epoch's order sorts n 64-bit Philox numbers
    keyed by seed and epoch: raw Philox output is what NumPy promises never to change, so the order
    outlives NumPy versions, unlike `Generator.permutation`.
    """

    source: Source
    seed: int
    _orders: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return sys.maxsize  # Grain's own word for endless

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Picture, label and, to go on from it, the stream and the position."""
        return {**self.source[self.index(position)], "stream": self, "position": position}

    def index(self, position: int, further: int = 0) -> int:
        """Which picture is at `position`, or `further` ones later in its epoch, round the end."""
        epoch, rank = divmod(position, len(self.source))
        return int(self._order(epoch)[(rank + further) % len(self.source)])

    def _order(self, epoch: int) -> np.ndarray:
        with self._lock:
            if epoch not in self._orders:
                # Threads run ahead of each other across the end of one epoch, not of two.
                for old in sorted(self._orders)[:-1]:
                    del self._orders[old]
                self._orders[epoch] = _random_order(self.seed, epoch, len(self.source))
            return self._orders[epoch]

    def __reduce__(self):
        return ShuffledStream, (self.source, self.seed)


def _random_order(seed: int, epoch: int, length: int) -> np.ndarray:
    """The positions of `length` Philox numbers in rising order, uint32.

    The upper bits of each number and, below them, its position are sorted in place: no array of
    indices is needed, and among equal upper bits the earlier comes first.
    """
    keys = np.random.Philox(key=[seed, epoch]).random_raw(length)
    position_bits = max(length - 1, 1).bit_length()
    keys >>= np.uint64(position_bits)
    keys <<= np.uint64(position_bits)
    keys |= np.arange(length, dtype=np.uint32)
    keys.sort()
    keys &= np.uint64((1 << position_bits) - 1)
    return keys.astype(np.uint32)


class Batches(Iterator[dict[str, np.ndarray]]):
    """Iterator over batches, made in the background from construction until `close`.

    Use from one thread. The arrays are the caller's to keep but not to write to.

    Attributes:
        skipped: indices of the pictures that could not be read, of the batches so far.
    """

    def __init__(
        self,
        batches: grain.MapDataset,
        *,
        num_workers: int,
        num_threads: int,
        prefetch: int,
        batch_bytes: int,
    ):
        if num_workers < 0:
            raise UsageError(f"--num_workers={num_workers} is negative; give 0 or more")
        if prefetch < 1:
            raise UsageError(f"prefetch of {prefetch} batches: give 1 or more")
        if num_workers == 0:
            options = grain.ReadOptions(num_threads, num_threads + prefetch)
            iterator = iter(batches.to_iter_dataset(options))
        else:
            iterator = iter(_in_workers(batches, num_workers, prefetch, batch_bytes))
            iterator.get_state()  # without this Grain's workers start at the first `next` only
        iterator.start_prefetch()
        self.skipped: set[int] = set()
        self._iterator = [iterator]  # in a list, for `_close` to take it out of this object's hands
        # Also when this object is dropped, and before the interpreter goes.
        self._close = weakref.finalize(self, _close, self._iterator)

    def __next__(self) -> dict[str, np.ndarray]:
        if not self._close.alive:
            raise StopIteration
        try:
            batch = next(self._iterator[0])
        except StopIteration:
            self.close()
            raise
        except UsageError as error:
            self.close()
            # A new one: Grain's carries the worker's traceback with it.
            raise UsageError(str(error)) from None
        except RuntimeError as error:
            self.close()
            if "terminated unexpectedly" not in str(error):
                raise
            raise UsageError(
                f"a worker process that reads pictures died ({_exit_code(error)}), often for want "
                "of memory; run the same command again with a smaller --num_workers"
            ) from error
        if "skipped" in batch:
            skipped = np.asarray(batch.pop("skipped"))
            self.skipped.update(skipped[skipped >= 0].tolist())
        # From a worker come views of shared memory in an array class of Grain's own.
        return {name: np.asarray(array) for name, array in batch.items()}

    def close(self) -> None:
        """Ends the threads and processes; the iterator then is at its end. Safe to call again."""
        self._close()


def _train_example(
    example: dict[str, Any],
    rng: np.random.Generator,
    *,
    size: int,
    augmentation: Augmentation,
    may_skip: bool,
) -> dict[str, Any]:
    if not may_skip:
        image = train_image(example["image"], size, augmentation, rng)
        return {"image": image, "label": np.int32(example["label"])}

    stream, position = example["stream"], example["position"]
    skipped = np.full(MOST_SKIPPED, -1, np.int64)
    for further in range(MOST_SKIPPED + 1):
        index = stream.index(position, further)
        candidate = stream.source[index] if further else example
        try:
            image = train_image(candidate["image"], size, augmentation, rng)
        except UsageError as error:
            if further == min(MOST_SKIPPED, len(stream.source) - 1):
                raise UsageError(
                    f"{further + 1} pictures in a row cannot be read; the last: {error}"
                ) from error
            skipped[further] = index
        else:
            return {"image": image, "label": np.int32(candidate["label"]), "skipped": skipped}
    raise AssertionError("the loop returns or raises")


def _crop_example(
    example: dict[str, Any], rng: np.random.Generator, *, augmentation: Augmentation
) -> dict[str, Any]:
    height, width = example["image"].shape[:2]
    box, flip = train_crop(height, width, augmentation, rng)
    return {
        "index": np.int32(example["stream"].index(example["position"])),
        "box": np.array(box, np.int32),
        "flip": np.bool_(flip),
        "label": np.int32(example["label"]),
    }


def _evaluation_example(
    position: int, *, source: Source, size: int, crop_fraction: float
) -> dict[str, Any]:
    if position >= len(source):
        black = np.zeros((size, size, 3), np.uint8)
        return {"image": black, "label": np.int32(0), "mask": np.bool_(False)}
    example = source[position]
    image = evaluation_image(decode(example["image"]), size, crop_fraction)
    return {"image": image, "label": np.int32(example["label"]), "mask": np.bool_(True)}


def _local_batch(batch_size: int, process_index: int, process_count: int) -> int:
    if batch_size < 1:
        raise UsageError(f"--batch_size={batch_size}: give 1 or more")
    if not 0 <= process_index < process_count:
        raise UsageError(f"process {process_index} of {process_count}: count them from 0")
    if batch_size % process_count:
        raise UsageError(
            f"--batch_size={batch_size} does not divide among {process_count} processes; give a "
            f"multiple, such as {-(-batch_size // process_count) * process_count}"
        )
    return batch_size // process_count


def _in_workers(
    batches: grain.MapDataset, num_workers: int, prefetch: int, batch_bytes: int
) -> grain.IterDataset:
    # Grain asks for absl flags of its own here, and absl refuses unless a program parsed them.
    for flag in (flags.FLAGS[name] for name in flags.FLAGS if name.startswith("grain_")):
        flag.present = True
    _unlink_shared_memory_at_exit()
    # Whole batches go round the workers in turn, so their number changes no batch. Within a worker
    # nothing is to be gained from threads: the queue to this process is the buffer.
    dataset = batches.to_iter_dataset(grain.ReadOptions(0, 0))
    min_shared_bytes = _MIN_SHARED_BYTES
    if not _fits_shared_memory(num_workers * (prefetch + 2) * batch_bytes):
        min_shared_bytes = sys.maxsize
    dataset = grain.experimental.WithOptionsIterDataset(
        dataset, grain.experimental.DatasetOptions(min_shm_size=min_shared_bytes)
    )
    return dataset.mp_prefetch(
        grain.MultiprocessingOptions(num_workers, prefetch), worker_init_fn=_start_worker
    )


def _fits_shared_memory(size_bytes: int) -> bool:
    """Whether batches fit: containers often have 64 MB, and going beyond kills the worker."""
    if not os.path.isdir(_SHARED_MEMORY):
        return True
    return shutil.disk_usage(_SHARED_MEMORY).free > 2 * size_bytes


@functools.cache
def _unlink_shared_memory_at_exit() -> None:
    """Grain frees shared memory in a thread, and an exit overtakes it: finish first, once."""

    def finish() -> None:
        shared = grain.multiprocessing.SharedMemoryArray
        pool, shared._del_thread_pool = getattr(shared, "_del_thread_pool", None), None
        if pool is not None:
            pool.close()
            pool.join()

    atexit.register(finish)


def _start_worker(worker_index: int, worker_count: int) -> None:
    """Leaves the end of a worker to its parent, and ends it where the parent was killed."""
    del worker_index, worker_count
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the parent decides
        signal.signal(number, signal.SIG_IGN)

    def follow_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()


def _threads(source: Source) -> int:
    """One where pictures are small: then threads lose more at the GIL than a second core gives."""
    try:
        width, height = decode(source[0]["image"]).size
    except UsageError:  # Whether that is an error is for the one who wants it.
        width, height = _PIXELS_WORTH_A_THREAD, 1
    if width * height < _PIXELS_WORTH_A_THREAD:
        return 1
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cpus or 1, _MAX_THREADS)


def _close(held: list[grain.DatasetIterator]) -> None:
    iterator = held.pop()
    # Grain stops one worker after the other, each after its batch; told before, they stop together.
    for worker in getattr(iterator, "_iterators_in_use", ()):
        if hasattr(worker, "_prefetch_should_stop"):
            worker._prefetch_should_stop.set()
    iterator.close()


def _exit_code(error: RuntimeError) -> str:
    return str(error).partition("with ")[2].partition(".")[0] or "no exit code"
