import threading

import numpy as np
import pytest

from jaxeff.data import loader_processes
from jaxeff.data.concurrency import in_threads, loader_threads
from jaxeff.data.dataset import ArraySource


def test_few_cores_decode_in_threads_and_many_in_fewer_processes_than_cores():
    assert [loader_processes(cores) for cores in (1, 2, 4)] == [0, 0, 0]
    for cores in range(5, 300):
        assert 0 < loader_processes(cores) < cores


def test_small_images_are_decoded_by_one_thread_and_large_ones_by_one_a_core(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)

    def source(side):
        return ArraySource(np.zeros((1, side, side, 3), np.uint8), np.zeros(1, np.int32))

    assert loader_threads(source(64)) == 1
    assert loader_threads(source(256)) == 3


def test_an_unreadable_first_image_is_no_error_yet():
    assert loader_threads([{"image": b"no image", "label": 0}]) >= 1


def test_threads_keep_the_order_and_work_at_the_same_time():
    together = threading.Barrier(2, timeout=30)

    def square(number):
        if number < 2:
            together.wait()
        return number * number

    numbers = range(3000)  # more than are submitted at once
    assert in_threads(square, numbers, threads=2) == [number * number for number in numbers]


def test_what_one_call_raises_ends_the_others():
    called = []

    def fail(number):
        called.append(number)
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        in_threads(fail, range(100_000), threads=2)
    assert len(called) < 5000
