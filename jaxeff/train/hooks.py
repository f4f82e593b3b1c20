"""What happens beside the loop: signals are heard, and steps are traced."""

import contextlib
import os
import pathlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import jax

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What `Profiler` traces, in steps of this session: after warm-up, and short enough to look at.
PROFILED_STEPS = range(10, 20)


@contextlib.contextmanager
def heeding_signals(say: Callable[[str], None], stop: Callable[[], None]) -> Iterator[None]:
    """Lets SIGTERM and SIGINT ask the run to stop instead of ending it; a second one ends it.

    Python runs signal handlers between two instructions of the main thread, which compiling a step
    keeps busy for seconds or minutes. A thread of its own, woken through a socket, hears them at
    once.

    Args:
      say: prints a line for people.
      stop: asks the run to stop, at once where it has nothing to save.
    """
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    heard = []

    def listen():
        while numbers := woken.recv(64):
            for number in set(numbers).intersection(STOP_SIGNALS):
                if heard:
                    os._exit(128 + number)
                heard.append(number)
                name = signal.Signals(number).name
                say(f"{name}: stopping after this step, with a checkpoint; again to end at once")
                stop()

    listener = threading.Thread(target=listen, name="signals", daemon=True)
    handlers = {number: signal.signal(number, lambda *_: None) for number in STOP_SIGNALS}
    previous = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        wake.close()
        listener.join()
        woken.close()


def within(seconds: float, function: Callable[[], object]) -> None:
    """Calls `function` in a thread and waits for `seconds`; what it raises is dropped."""

    def call():
        with contextlib.suppress(Exception):
            function()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)


class Profiler:
    """Traces the steps in `PROFILED_STEPS` of this session into `folder`, or nothing for None."""

    def __init__(self, folder: pathlib.Path | None):
        self._folder = folder
        self._tracing = False

    def before_step(self, number: int) -> None:
        """Starts the trace before step `number` of this session, from 0, where it is due."""
        if self._folder is not None and number == PROFILED_STEPS.start:
            jax.profiler.start_trace(str(self._folder))
            self._tracing = True

    def after_step(self, number: int, state) -> None:
        """Ends the trace after step `number`, which made `state`, where it is due."""
        if self._tracing and number == PROFILED_STEPS.stop:
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        """Ends a trace that is under way."""
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
