import signal
import subprocess
import sys

import pytest

from jaxeff.train import hooks

# Python runs no signal handler while this call into C lasts, as while XLA compiles.
BUSY = """
import hashlib
from jaxeff.train import hooks

def stop():
    print("asked to stop", flush=True)

with hooks.heeding_signals(lambda text: print(text, flush=True), stop):
    print("compiling", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", {rounds})
    print("compiled", flush=True)
"""


def _busy(rounds):
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY.format(rounds=rounds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "compiling\n"
    return process


@pytest.mark.parametrize("number", hooks.STOP_SIGNALS)
def test_a_signal_during_compilation_is_heard_at_once(number):
    process = _busy(rounds=5_000_000)
    process.send_signal(number)
    out, _ = process.communicate()
    heard, *rest = out.splitlines()
    assert heard.startswith(f"{signal.Signals(number).name}: stopping after this step")
    assert rest == ["asked to stop", "compiled"]
    assert process.returncode == 0


def test_a_second_signal_ends_the_process_without_waiting():
    process = _busy(rounds=2_000_000_000)
    process.send_signal(signal.SIGTERM)
    assert "SIGTERM" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM


def test_afterwards_signals_are_as_before():
    before = [signal.getsignal(number) for number in hooks.STOP_SIGNALS]
    with hooks.heeding_signals(print, lambda: None):
        assert [signal.getsignal(number) for number in hooks.STOP_SIGNALS] != before
    assert [signal.getsignal(number) for number in hooks.STOP_SIGNALS] == before
