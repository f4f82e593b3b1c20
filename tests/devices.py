"""Calls a test's function in a process that has four devices."""

import json
import os
import pathlib
import subprocess
import sys


def on_four_devices(module: str, function: str) -> object:
    """What `function()` of `module` returns there, as JSON."""
    code = (
        f"import json, jax; from {module} import {function}; "
        f"assert jax.device_count() == 4; print(json.dumps({function}()))"
    )
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[1],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
