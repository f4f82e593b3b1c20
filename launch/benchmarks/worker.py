"""A contender's process: builds the step that its argument names and takes steps when told.

Started by `contenders.Contender`; speaks JSON lines on standard input and output.
"""

import importlib
import json
import os
import pathlib
import resource
import sys
import time

from jaxeff.errors import UsageError

WARM_UP_SECONDS = 1.0


def main(message: str) -> None:
    """Answers with the facts of the contender, then with the seconds of each turn."""
    # Whatever libraries print goes to standard error; standard output carries answers only.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    settings = json.loads(message)
    if cores := settings["work"].get("cores"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    try:
        step = importlib.import_module(f"benchmarks.{settings.pop('module')}").Step(**settings)
        first = _timed(step, 1)
        usual = _timed(step, 1)
        while usual < WARM_UP_SECONDS:
            usual += _timed(step, 1)
    except (UsageError, ImportError, KeyError) as error:
        answer(error=str(error).strip("'\""))
        return
    _forget_peak_memory()
    answer(compile_seconds=max(0.0, first - _timed(step, 1)), **step.facts())
    for line in sys.stdin:
        request = json.loads(line)
        if "steps" in request:
            answer(seconds=_timed(step, request["steps"]))
        elif "flops_per_step" in request:
            answer(flops_per_step=step.flops_per_step())
        else:
            answer(peak_memory_bytes=step.peak_memory_bytes() or _peak_memory_bytes())


def _timed(step, steps):
    started = time.perf_counter()
    step.take(steps)
    return time.perf_counter() - started


def _forget_peak_memory():
    """Lets the kernel's peak start anew, without what compilation took (Linux)."""
    reset = pathlib.Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


def _peak_memory_bytes():
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main(sys.argv[1])
