"""A process that has imported what commands import, and forks one for each request.

A command of a small network spends most of its time importing. Requests are lines of JSON
on standard input, `{"argv", "cwd", "env", "missing", "stdout", "stderr"}`; answers are exit
statuses.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import sys
import traceback

import jax

IMPORTED = (
    "flax.linen",
    "optax",
    "jaxeff.compute",
    "jaxeff.data",
    "jaxeff.measure",
    "jaxeff.records",
    "jaxeff.tasks",
    "jaxeff.train.loop",
    "matplotlib.backends.backend_agg",
    "models",
    "rich.console",
)
SECONDS = 300


def import_everything() -> None:
    """Imports what takes long, and starts no thread and no device."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # A collection in a child would copy every page of what was imported.


def main() -> None:
    import_everything()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run(**request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(
    argv: list[str],
    cwd: str,
    env: dict[str, str],
    stdout: str,
    stderr: str,
    missing: tuple[str, ...] = (),
) -> None:
    """Ends the process as `python argv…` would."""
    status = 1
    try:
        for number, path in ((1, stdout), (2, stderr)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        signal.alarm(SECONDS)  # Ends it, where it hangs.
        os.chdir(cwd)
        os.environ.update(env)
        sys.modules.update(dict.fromkeys(missing))
        jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])  # It has been read.
        sys.argv = argv
        sys.path[0] = os.path.dirname(argv[0])
        runpy.run_path(argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
