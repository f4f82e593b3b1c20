import threading

import jax.numpy as jnp
import pytest

from jaxeff.train import parallel
from jaxeff.train.hosts import StopPoint
from jaxeff.train.program import Program


def _doubling(stop):
    return Program(parallel.pmap(lambda x: 2 * x, in_axes=(0,), out_axes=0), stop)


def test_compiling_is_timed_and_the_seconds_are_given_once():
    stop = StopPoint()
    stop.begin()
    program = _doubling(stop)
    assert [program(jnp.full((1, 2), x)).sum() for x in (1, 2)] == [4, 8]
    assert program.calls == 2
    assert program.pop_compile_seconds() > 0
    assert program.pop_compile_seconds() == 0
    program.expect_new_shapes()
    assert program(jnp.ones((1, 3))).sum() == 6
    assert program.pop_compile_seconds() > 0


def test_nothing_is_launched_after_a_stop():
    stop = StopPoint()
    stop.begin()
    program = _doubling(stop)
    assert program(jnp.ones((1, 2))) is not None
    stop.request()
    assert program(jnp.ones((1, 2))) is None
    assert program.calls == 1


class _Slow:
    """A function whose compilation ends when it is told to."""

    def __init__(self):
        self.started, self.end = threading.Event(), threading.Event()

    def lower(self, *_):
        return self

    def compile(self):
        self.started.set()
        self.end.wait()


def test_a_stop_does_not_wait_for_the_compiler():
    stop, slow = StopPoint(), _Slow()
    stop.begin()
    asking = threading.Thread(target=lambda: slow.started.wait() and stop.request())
    asking.start()
    assert Program(slow, stop)() is None
    assert not slow.end.is_set()
    slow.end.set()
    asking.join()


def test_an_error_of_the_compilation_is_raised_where_it_was_called():
    def wrong(x):
        raise KeyError("a layer")

    stop = StopPoint()
    stop.begin()
    with pytest.raises(KeyError, match="a layer"):
        Program(parallel.pmap(wrong, in_axes=(0,)), stop)(jnp.ones((1, 2)))
