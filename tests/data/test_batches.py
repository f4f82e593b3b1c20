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


def test_batches_are_the_same_by_value_where_shared_memory_is_small(monkeypatch):
    full = type("Usage", (), {"free": 0})
    monkeypatch.setattr("jaxeff.data.grain_workarounds.shutil.disk_usage", lambda folder: full)
    dataset, options = numbered(1, validation=8), {"batch_size": 4, "image_size": 64}
    here, there = validate(dataset, **options), validate(dataset, num_workers=1, **options)
    for left, right in zip(here, there, strict=True):
        for name in ("image", "label", "mask"):
            assert type(right[name]) is np.ndarray
            assert not isinstance(right[name].base, grain.multiprocessing.SharedMemoryArray)
            np.testing.assert_array_equal(left[name], right[name])


def test_a_dead_worker_is_an_error_that_says_what_to_do():
    batches = training(numbered(21), num_workers=1, batch_size=4, image_size=64)
    next(batches)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(UsageError, match=r"exit code -9.*smaller --num_workers"):
        list(itertools.islice(batches, 100))  # what was made before its death comes first
    with pytest.raises(StopIteration):
        next(batches)
    assert not multiprocessing.active_children()
