"""A program of all devices: compiled beside the main thread, launched while the run goes on."""

import time
from collections.abc import Callable

from jaxeff.train.hosts import StopPoint


class Program:
    """A function of `parallel.pmap` that is not launched where the run stops before it.

    It is compiled ahead of its first call, in a thread: compiling takes up to minutes, in which the
    main thread could not end the run. It is compiled again where new shapes come, after
    `expect_new_shapes`.

    Args:
      function: what `parallel.pmap` returned.
      stop: where the run stops.

    Attributes:
      calls: number of calls so far.
    """

    def __init__(self, function: Callable, stop: StopPoint):
        self._function, self._stop = function, stop
        self._compile_seconds = 0.0
        self._is_compiled = False
        self.calls = 0

    def __call__(self, *arguments):
        """What the function returns, once it is queued; None where the run stops before it."""
        if not self._is_compiled:
            started = time.perf_counter()
            self._is_compiled = self._stop.compile(
                lambda: self._function.lower(*arguments).compile()
            )
            self._compile_seconds += time.perf_counter() - started
        if not (self._is_compiled and self._stop.may_launch()):
            return None
        self.calls += 1
        return self._function(*arguments)

    def expect_new_shapes(self) -> None:
        """Compiles at the next call, as at the first."""
        self._is_compiled = False

    def pop_compile_seconds(self) -> float:
        """The seconds that compiling took since this was asked before."""
        seconds, self._compile_seconds = self._compile_seconds, 0.0
        return seconds
