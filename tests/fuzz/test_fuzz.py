"""Nothing that strangers send crashes or hangs a reader: drawn by Hypothesis.

A second each in the suite, with the same inputs every time. At length, with new ones,

    JAXEFF_FUZZ_INPUTS=100000 pytest -n 0 -m slow tests/fuzz

prints how many inputs there were, how long they took and by how much the memory grew.
"""

import os
import pathlib
import resource
import signal
import tempfile
import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.targets import TARGETS

# PyTorch and TensorFlow Datasets take seconds to import.
QUICK = {"records": 10, "rows": 40, "flags": 100, "folders": 20, "weights": 40, "images": 80}
QUICK |= {"saved sets": 10, "Parquet": 10, "arrays": 30}
LIBRARIES = {
    "saved sets": "pyarrow",
    "Parquet": "pyarrow",
    "TensorFlow Datasets": "tensorflow_datasets",
    "PyTorch's weights": "torch",
}
SLOWEST_SECONDS = 20
# Hypothesis remembers what it drew, up to 30 kB an input, until it is done.
AT_A_TIME = 5000
# MB an input: TensorFlow Datasets keeps each builder in a cache of its own, 14 kB.
KEPT_BY_LIBRARY = {"TensorFlow Datasets": 0.02}
# Writing the inputs to a disk takes longer than reading them.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _hang(_signal, _frame):
    raise AssertionError(f"one input took more than {SLOWEST_SECONDS} seconds")


def _run(name, inputs, **options):
    strategy, read = TARGETS[name]
    seen = 0

    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:

        @settings(
            max_examples=inputs,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            **options,
        )
        @given(strategy)
        def every_input_is_read_or_refused(drawn):
            nonlocal seen
            seen += 1
            signal.setitimer(signal.ITIMER_REAL, SLOWEST_SECONDS)
            try:
                read(drawn, pathlib.Path(folder))
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)

        before = signal.signal(signal.SIGALRM, _hang)
        try:
            every_input_is_read_or_refused()
        finally:
            signal.signal(signal.SIGALRM, before)
    return seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", QUICK)
def test_what_strangers_send_is_read_or_refused_in_one_line(name):
    _import_library(name)
    assert _run(name, QUICK[name], derandomize=True) >= QUICK[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_what_strangers_send_at_length(name):
    _import_library(name)
    inputs = int(os.environ.get("JAXEFF_FUZZ_INPUTS", "20000"))
    _run(name, 200, phases=[Phase.generate])  # What libraries allocate once.
    memory, started, seen = _memory(), time.perf_counter(), 0
    while seen < inputs:
        seen += _run(name, min(AT_A_TIME, inputs - seen), phases=[Phase.generate])
    seconds, grown = time.perf_counter() - started, _memory() - memory
    print(f"{name}: {seen:,} inputs, {seconds:.0f} s, memory grew by {grown:.0f} MB")
    assert grown < 300 + KEPT_BY_LIBRARY.get(name, 0) * seen


def _import_library(name):
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])


def _memory():
    """The most that this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
