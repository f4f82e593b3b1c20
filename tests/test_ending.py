import subprocess
import sys

from tests.launch.commands import ROOT

PROGRAM = """
import multiprocessing, threading, time
from multiprocessing import shared_memory
from jaxeff.ending import end

kept = shared_memory.SharedMemory(create=True, size=99)
multiprocessing.get_context("fork").Process(target=time.sleep, args=(999,)).start()
threading.Thread(target=time.sleep, args=(999,)).start()
end(7, "the last line")
"""


def test_a_process_ends_at_once_and_nothing_is_said_after_its_last_line():
    """The shared memory that it leaves is freed by Python's tracker, which warns of that."""
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert finished.returncode == 7
    assert finished.stderr.splitlines()[-1] == "the last line"
