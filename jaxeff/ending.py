"""The end of a process whose threads may wait for each other for ever."""

import contextlib
import multiprocessing
import os
import sys
import threading
import typing
from multiprocessing import resource_tracker

_SECONDS_FOR_THE_TRACKER = 2


def end(status: int, last_line: str = "") -> typing.NoReturn:
    """Ends this process and those that it started, whatever they wait for.

    Args:
      status: exit status.
      last_line: what standard error ends with; nothing comes after it.
    """
    for child in multiprocessing.active_children():
        child.kill()
    # It frees the shared memory that they leave, and says so.
    stop = threading.Thread(target=_stop_resource_tracker, daemon=True)
    stop.start()
    stop.join(_SECONDS_FOR_THE_TRACKER)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        if last_line:
            print(last_line, file=sys.stderr)
        sys.stderr.flush()
    os._exit(status)


def _stop_resource_tracker():
    with contextlib.suppress(Exception):
        resource_tracker._resource_tracker._stop()
