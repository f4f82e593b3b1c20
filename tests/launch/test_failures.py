"""An error that nobody foresaw ends a command soon, with one clear last line and the right status.

The runs take minutes: `pytest -m slow -n 0 tests/launch/test_failures.py`.
"""

import concurrent.futures
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.launch.commands import ROOT, assert_one_line_and_exit_2, run_command, run_quickly

sys.path.append(str(ROOT / "launch"))

import failures
import user_files

from jaxeff.errors import UsageError

NETWORK = """
import sys
import jax
import jax.numpy as jnp
from flax import linen as nn

class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(nn.Conv(8, (5, 5), strides=2)(x)).mean((1, 2))
        {line}
        return nn.Dense(self.num_classes)(x)
"""
RECIPE = """
import dataclasses
import numpy as np
import optax
from jaxeff import data, train

SEEN = []

@dataclasses.dataclass(frozen=True)
class Transform:
    def __call__(self, pixels, rng):
        SEEN.append(1)
        if len(SEEN) > 1500:
            {line}
        return pixels

def recipe(model_name, steps_per_epoch, epochs=10, batch_size=32, lr=1e-2):
    transforms = data.Augmentation(pixels=(Transform(),))
    return train.Recipe("own", epochs, batch_size, optax.sgd(lr), lr=lr, transforms=transforms)
"""
FLAGS = (
    "--model=net.py:Net",
    "--dataset=synthetic",
    "--image_size=16",
    "--batch_size=32",
    "--target=top1:1.0",
    "--checkpoint_every=5",
    "--workdir=run",
)


def _memory_error(jax):
    return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")


def test_a_fault_of_the_program_says_what_is_safe_and_is_status_1():
    error = KeyError("x\ny")
    error.what_is_safe = "the last checkpoint in run is of step 3"
    text, status = failures.explained(error)
    assert status == 1
    assert text.startswith("unexpected KeyError: 'x\\ny' (this may be a fault of jaxeff: report")
    assert text.endswith("; the last checkpoint in run is of step 3")


@pytest.mark.parametrize("kind", ["device", "machine"])
def test_too_little_memory_says_what_takes_less(kind):
    import jax

    if kind == "device":
        error = _memory_error(jax)
    else:
        with pytest.raises(MemoryError) as raised:
            np.ones((2**22, 2**22))
        error = raised.value
    text, status = failures.explained(error)
    assert status == 2
    assert text.startswith("out of memory (")
    assert "\n" not in text


def test_a_process_that_dies_is_told_as_such():
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        told, status = failures.explained(pool.submit(os._exit, 9).exception())
    assert status == 2
    assert told.startswith("a process that this command started died, often for want of memory")


def test_what_a_user_can_mend_is_said_as_it_is():
    assert failures.explained(UsageError("give another")) == ("give another", 2)


def test_an_error_that_comes_as_text_is_told_with_its_line(tmp_path):
    """XLA passes on what a function raises that it calls back as the text of a traceback."""
    import jax

    (tmp_path / "mine.py").write_text(
        "def host(x):\n    raise ValueError('bad value\\nof two lines')\n"
    )
    host = user_files.run_file(tmp_path / "mine.py").namespace.host
    x = np.ones(3, np.float32)
    called = jax.jit(lambda x: jax.pure_callback(host, jax.ShapeDtypeStruct(x.shape, x.dtype), x))
    with pytest.raises(jax.errors.JaxRuntimeError) as raised:
        jax.block_until_ready(called(x))
    text, status = failures.explained(raised.value.with_traceback(None))
    assert (text, status) == ("mine.py, line 2: ValueError: bad value of two lines", 2)


@pytest.mark.parametrize(
    ("line", "words"),
    [("raise KeyError('made up')", "KeyError: 'made up'"), ("sys.exit(0)", "SystemExit: 0")],
    ids=["raises", "exits"],
)
def test_an_error_while_the_network_is_traced_is_one_line(tmp_path, line, words):
    (tmp_path / "net.py").write_text(NETWORK.format(line=line))
    finished = run_quickly("train", *FLAGS, cwd=tmp_path)
    assert_one_line_and_exit_2(finished, "net.py, line 13", words)


ENDS = {
    "transform": (
        "pass",
        "raise KeyError('pixels')",
        (),
        ("recipe.py, line 14: KeyError: 'pixels'", "the last checkpoint in run is of step 4"),
    ),
    "transform in a process": (
        "pass",
        "raise KeyError('pixels')",
        ("--num_workers=1",),
        ("recipe.py, line 14: KeyError: 'pixels'", "the last checkpoint in run is of step 4"),
    ),
    "transform exits": (
        "pass",
        "raise SystemExit(0)",
        (),
        ("recipe.py, line 14: SystemExit: 0", "the last checkpoint in run is of step 4"),
    ),
    "memory of the machine": (
        "pass",
        "np.ones((2**22, 2**22))",
        (),
        ("out of memory", "--accumulate", "the last checkpoint in run is of step 4"),
    ),
    "memory of the device": (
        "x = x + jax.random.normal(jax.random.key(0), (2**20, 2**20)).sum()",
        "pass",
        (),
        ("out of memory (RESOURCE_EXHAUSTED", "--accumulate", "there is no checkpoint yet"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS)
def test_an_error_in_the_midst_of_a_run_ends_it_in_ten_seconds(tmp_path, name):
    in_network, in_transform, flags, words = ENDS[name]
    (tmp_path / "net.py").write_text(NETWORK.format(line=in_network))
    (tmp_path / "recipe.py").write_text(RECIPE.format(line=in_transform))
    finished = run_command("train", *FLAGS, "--recipe=recipe.py", *flags, cwd=tmp_path)
    assert finished.returncode == 2, finished.stderr
    last = finished.stderr.splitlines()[-1]
    assert last.startswith("train.py: ")
    for word in words:
        assert word in last
    assert "Traceback" not in finished.stderr


@pytest.mark.slow
def test_a_fault_of_the_program_in_the_midst_of_a_run_ends_it_in_ten_seconds(tmp_path):
    """One that is made: the step raises at its 40th call."""
    (tmp_path / "net.py").write_text(NETWORK.format(line="pass"))
    (tmp_path / "broken.py").write_text(
        "import sys, threading, time\n"
        f"sys.path[:0] = [{str(ROOT / 'launch')!r}, {str(ROOT)!r}]\n"
        "import runpy\n"
        "from jaxeff.train import trainer\n"
        "take_step = trainer.Trainer.take_step\n"
        "def broken(self, batch):\n"
        "    if self.train_step.calls == 40:\n"
        "        threading.Thread(target=time.sleep, args=(999,)).start()\n"
        "        print('raised', time.time(), flush=True)\n"
        "        raise ZeroDivisionError('of nobody')\n"
        "    return take_step(self, batch)\n"
        "trainer.Trainer.take_step = broken\n"
        f"sys.argv[0] = {str(ROOT / 'launch' / 'train.py')!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    finished = subprocess.run(
        [sys.executable, "broken.py", *FLAGS],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    ended = time.time()
    assert finished.returncode == 1
    raised = next(line for line in finished.stdout.splitlines() if line.startswith("raised"))
    assert ended - float(raised.split()[1]) < 10
    *before, last = finished.stderr.splitlines()
    assert last.startswith("train.py: unexpected ZeroDivisionError: of nobody")
    assert "the last checkpoint in run is of step 40, from which the same command goes on" in last
    assert any("Traceback" in line for line in before)
