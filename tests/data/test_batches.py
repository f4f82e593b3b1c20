import gc
import itertools
import multiprocessing
import threading
import time

import grain
import numpy as np
import pytest

from jaxeff.errors import UsageError
from tests.data.numbered import numbered, training, validate


def threads_end():
    """Whether Grain's threads end, within a time that no healthy machine needs."""
    end = time.monotonic() + 60
    while grain_threads() and time.monotonic() < end:
        time.sleep(0.01)
    return not grain_threads()


def grain_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("grain-prefetch")]


def test_closing_ends_the_threads_and_the_iterator():
    batches = training(numbered(21))
    next(batches)
    assert grain_threads()
    batches.close()
    batches.close()
    with pytest.raises(StopIteration):
        next(batches)
    assert threads_end()


def test_dropping_an_iterator_ends_its_threads():
    batches = training(numbered(21))
    next(batches)
    del batches
    gc.collect()
    assert threads_end()


def test_reading_to_the_end_ends_the_threads():
    validate(numbered(1, validation=21))
    assert threads_end()


def test_batches_are_the_same_by_value_where_shared_memory_is_small_and_a_dead_worker_is_an_error(
    monkeypatch,
):
    full = type("Usage", (), {"free": 0})
    monkeypatch.setattr("jaxeff.data.grain_workarounds.shutil.disk_usage", lambda folder: full)
    options = {"batch_size": 4, "image_size": 64}
    expected, batches = (
        training(numbered(21), **options),
        training(numbered(21), num_workers=1, **options),
    )
    for _ in range(2):
        here, there = next(expected), next(batches)
        for name in ("image", "label"):
            assert type(there[name]) is np.ndarray
            assert not isinstance(there[name].base, grain.multiprocessing.SharedMemoryArray)
            np.testing.assert_array_equal(there[name], here[name])
    expected.close()

    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(UsageError, match=r"exit code -9.*smaller --num_workers"):
        list(itertools.islice(batches, 100))  # what was made before its death comes first
    with pytest.raises(StopIteration):
        next(batches)
    assert not multiprocessing.active_children()
