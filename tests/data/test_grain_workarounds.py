"""Each program starts workers as a user's would, and ends as it must not without a workaround."""

import subprocess
import sys

START = """
import multiprocessing, os, signal, time
from jaxeff import data

batches = data.train_batches(
    data.load("digits"), 64, data.Augmentation(), data.StreamOptions(16, num_workers=2)
)
while len(multiprocessing.active_children()) < 2:  # They start without being asked for a batch.
    time.sleep(0.01)
kept = [next(batches) for _ in range(2)]
"""
INTERRUPTED = """
signal.signal(signal.SIGINT, lambda *_: print("interrupted"))
os.killpg(0, signal.SIGINT)
kept += [next(batches) for _ in range(8)]
print("went on")
"""
KILLED = """
print("started", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def run(program):
    # Returns when nothing holds the pipes open any more, the workers included.
    return subprocess.run(
        [sys.executable, "-c", START + program],
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )


def test_workers_leave_an_interrupt_to_their_parent_and_an_exit_without_closing_is_quiet():
    done = run(INTERRUPTED)
    assert done.stdout == "interrupted\nwent on\n"
    assert done.stderr == ""
    assert done.returncode == 0


def test_workers_end_with_a_parent_that_is_killed():
    assert run(KILLED).stdout == "started\n"
