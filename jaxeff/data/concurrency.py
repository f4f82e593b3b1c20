"""How many threads or processes decode images.

Decoding releases the interpreter lock, so a few threads in one process scale better than processes,
which have to hand each batch over (on two cores 1.95 times one core's speed, against 1.6 to 1.8).
"""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from jaxeff.data.augment import decode
from jaxeff.data.dataset import Source
from jaxeff.errors import UsageError

# Beyond this the interpreter lock is expected to limit threads; only two cores have been measured.
MOST_THREADED_CORES = 4
_MOST_PROCESSES = 16
_MOST_THREADS = 8
# At 128 x 128 pixels two threads were slower than one, at 256 x 256 faster.
_PIXELS_WORTH_A_THREAD = 192 * 192
# Calls that `in_threads` submits at once.
_AHEAD = 1024

Item, Result = TypeVar("Item"), TypeVar("Result")


def loader_processes(cores: int) -> int:
    """How many worker processes decode files fastest on `cores` cores; 0 is threads alone."""
    return 0 if cores <= MOST_THREADED_CORES else min(_MOST_PROCESSES, cores - 1)


def in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    progress: Callable[[Iterable[Item]], Iterable[Item]] = iter,
    threads: int | None = None,
) -> list[Result]:
    """`function` of every item, in order; the first exception of any ends it.

    Args:
      function: such as one that decodes.
      items: what it takes, one at a time.
      progress: wraps the iteration over the items, to show how far it is.
      threads: how many; by default one for each core.
    """
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        # A part at a time: what `map` is given it submits at once, with an object for each.
        results = itertools.chain.from_iterable(
            pool.map(function, items[start : start + _AHEAD])
            for start in range(0, len(items), _AHEAD)
        )
        try:
            return [next(results) for _ in progress(items)]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def loader_threads(source: Source) -> int:
    """How many threads decode `source` fastest within one process.

    Small images get one thread: a second one waits longer for the interpreter lock than it decodes.
    """
    try:
        width, height = decode(source[0]["image"]).size
    except UsageError:
        # Whether the run stops for an unreadable image is decided where the image is used.
        width, height = _PIXELS_WORTH_A_THREAD, 1
    if width * height < _PIXELS_WORTH_A_THREAD:
        return 1
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cpus or 1, _MOST_THREADS)
