"""Calls a function of a test where there are four devices: `python devices.py MODULE FUNCTION`."""

import importlib
import json
import sys


def on_four_devices(module: str, function: str) -> object:
    """What `function()` of `module` returns there, as JSON."""
    from tests.launch.commands import run_copy

    done = run_copy([__file__, module, function], devices=4, env={"JAX_PLATFORMS": "cpu"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def main():
    import jax

    del sys.path[0]  # This folder, whose `models` are tests.
    module, function = sys.argv[1:]
    assert jax.device_count() == 4
    print(json.dumps(getattr(importlib.import_module(module), function)()))


if __name__ == "__main__":
    main()
