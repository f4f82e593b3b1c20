"""What Grain needs from outside to be quiet, safe and quick. Each function can go with its issue.

A docstring's last lines say what goes wrong without the function, in which version of Grain that
was seen, and where it is known upstream.
"""

import atexit
import functools
import gc
import mmap
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import weakref
from typing import Any

import grain
import numpy as np
from absl import flags

SHARED_MEMORY = "/dev/shm"
# Smaller arrays travel through the workers' pipe: a shared segment takes longer to create.
_MIN_SHARED_BYTES = 16 * 1024


def accept_unparsed_flags() -> None:
    """Lets Grain read the defaults of its own absl flags where no program parsed flags.

    Without it: `mp_prefetch` raises `UnparsedFlagAccessError` in every program without `absl.app`.
    Seen in: Grain 0.2.18.
    Upstream: https://github.com/google/grain/issues/1355
    """
    for name in flags.FLAGS:
        if name.startswith("grain_"):
            flags.FLAGS[name].present = True


def min_shared_bytes(in_flight_bytes: int) -> int:
    """From which size on arrays travel in shared memory: never, where it is too small for them.

    Without it: in a container, whose shared memory is often 64 MB, a worker that fills it is killed
    by SIGBUS, and Grain has no setting but this one.
    Seen in: Grain 0.2.18.
    Upstream: no issue found.

    Args:
      in_flight_bytes: of all batches that the workers may have made at one time.
    """
    if not os.path.isdir(SHARED_MEMORY):
        return _MIN_SHARED_BYTES
    fits = shutil.disk_usage(SHARED_MEMORY).free > 2 * in_flight_bytes
    return _MIN_SHARED_BYTES if fits else sys.maxsize


@functools.cache
def free_shared_memory_at_exit() -> None:
    """Has all shared memory freed before the interpreter exits.

    Without it: an exit overtakes the thread in which Grain frees it, and each segment that is left,
    or that belongs to a batch still in use, prints an AttributeError of `SharedMemoryArray.__del__`
    and counts as leaked memory.
    Seen in: Grain 0.2.18.
    Upstream: https://github.com/google/grain/issues/398
    """

    def finish() -> None:
        shared = grain.multiprocessing.SharedMemoryArray
        pool, shared._del_thread_pool = getattr(shared, "_del_thread_pool", None), None
        if pool is not None:
            pool.close()
            pool.join()
        shared.__del__ = lambda array: None
        for array in gc.get_objects():
            if type(array) is shared and isinstance(array.base, mmap.mmap):
                array.shm.unlink()

    atexit.register(finish)


def start_worker(worker_index: int, worker_count: int) -> None:
    """Runs first in each worker: only its parent may end it, and its parent's end does.

    Without it: Ctrl-C, which reaches the whole process group, kills the workers with a traceback
    each while their parent still trains to its next checkpoint; and when the parent is killed, they
    live on and hold their memory.
    Seen in: Grain 0.2.18.
    Upstream: no issue found.
    """
    del worker_index, worker_count
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def follow_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()


def create_workers(iterator: grain.DatasetIterator) -> None:
    """Makes `start_prefetch` start the workers: asking for the state creates their iterators.

    Without it: `start_prefetch` does nothing, and the first `next` waits for the workers to start.
    Seen in: Grain 0.2.18.
    Upstream: no issue found.
    """
    iterator.get_state()


def close(iterator: grain.DatasetIterator) -> None:
    """Ends an iterator's threads and processes, all workers at the same time.

    Without it: Grain ends one worker after the other, each after the batch that it is making: with
    four workers and batches of 1.6 s, in 8.3 s instead of 3.4 s.
    Seen in: Grain 0.2.18.
    Upstream: no issue found.
    """
    # A thread in this process reads the queue of each worker. The threads stop before the workers:
    # a thread that waits for a worker which has stopped waits for ever.
    threads = [
        thread
        for thread in getattr(iterator, "_iterators_in_use", ())
        if hasattr(thread, "_prefetch_should_stop") and hasattr(thread, "_stop_prefetch")
    ]
    for thread in threads:
        thread._prefetch_should_stop.set()
    for thread in threads:
        thread._stop_prefetch()
    for thread in threads:
        worker = getattr(thread, "_maybe_nonnative_parent", None)
        if hasattr(worker, "_prefetch_should_stop"):
            worker._prefetch_should_stop.set()
    iterator.close()


def close_before_exit(owner: Any, held: list[grain.DatasetIterator]) -> weakref.finalize:
    """A function that closes and frees an iterator, once; also called at exit.

    Without it: at exit Grain closes its iterators from `__del__`, when the modules that it needs
    are gone already, which prints an AttributeError and leaks shared memory.
    Seen in: Grain 0.2.18.
    Upstream: https://github.com/google/grain/issues/1196, where threads hang an exit in this way.

    Args:
      owner: the function is also called when this object is dropped.
      held: the iterator, in a list from which the function takes it, so that nothing keeps it.
    """

    def close_and_free() -> None:
        close(held.pop())

    return weakref.finalize(owner, close_and_free)


def dead_worker_exit_code(error: RuntimeError) -> str | None:
    """Which exit code a worker died with, if that is what `error` says; else None.

    One death stays unnoticed: where arrays do not travel in shared memory, a worker that is killed
    while it sends one leaves half a message in the pipe, and Grain waits for the rest for ever.

    Without it: a dead worker is a RuntimeError like any other, which tells it by its text alone.
    Seen in: Grain 0.2.18.
    Upstream: no issue found.
    """
    if "terminated unexpectedly" not in str(error):
        return None
    return str(error).partition("with ")[2].partition(".")[0] or "no exit code"


def plain_array(array: Any) -> np.ndarray:
    """The same memory as a NumPy array.

    Without it: batches from workers are of `SharedMemoryArray`, a subclass whose slices and copies
    are too, and batches from threads are not.
    Seen in: Grain 0.2.18.
    Upstream: no issue found.
    """
    return np.asarray(array)
