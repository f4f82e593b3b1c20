"""Runs a command of `launch/` as a person would."""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[2]
# Small, with what makes a run more than its data: running statistics and dropout.
NETWORK = """
from flax import linen as nn

class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(nn.Conv(16, (5, 5), strides=2)(x))
        x = nn.BatchNorm(not train)(x)
        x = nn.Dropout(0.3, deterministic=not train)(x.mean((1, 2)))
        return nn.Dense(self.num_classes)(x)
"""


def run_command(name, *arguments, devices=1, cwd=ROOT, timeout=300):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags}
    return subprocess.run(
        [sys.executable, str(ROOT / "launch" / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=timeout,
    )


def run_quickly(name, *arguments, devices=1, cwd=ROOT, env=None, missing=()):
    """As `run_command`, in a copy of a process that has imported everything already.

    That saves seconds. JAX has read the settings that it reads when it is imported, which are those
    of the tests. Modules that are `missing` are as if they were not installed.
    """
    command = [str(ROOT / "launch" / f"{name}.py"), *arguments]
    return run_copy(command, devices, cwd, env, missing)


def run_copy(command, devices=1, cwd=ROOT, env=None, missing=()):
    """Runs `python command…` as `run_quickly` does."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, kind) for kind in ("stdout", "stderr")]
        request = {"argv": command, "cwd": str(cwd), "env": {"XLA_FLAGS": flags, **(env or {})}}
        request["missing"] = list(missing)
        request |= {path.name: str(path) for path in paths}
        warm = _warm_process()
        warm.stdin.write(json.dumps(request) + "\n")
        warm.stdin.flush()
        status = int(warm.stdout.readline())
        return subprocess.CompletedProcess(command, status, *(p.read_text() for p in paths))


@functools.cache
def _warm_process():
    """Ends with this process, since its standard input does."""
    return subprocess.Popen(
        [sys.executable, str(pathlib.Path(__file__).with_name("warm.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def assert_one_line_and_exit_2(finished, *words):
    assert finished.returncode == 2, finished.stderr
    assert finished.stderr.count("\n") == 1, finished.stderr
    for word in words:
        assert word in finished.stderr
