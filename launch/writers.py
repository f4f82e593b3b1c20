"""What `--log_to` names: packaged writers, and those of the user's own files."""

import pathlib
from collections.abc import Sequence

import user_files

from jaxeff import extras
from jaxeff.errors import UsageError


def load_all(names: Sequence[str]) -> tuple:
    """The writers of these names, in order, as `jaxeff.train.Run` takes them.

    Args:
      names: each of `jaxeff.train.writers.WRITERS`, or `FILE.py:NAME`.

    Raises:
      UsageError: there is no such writer, its extra is not installed, or its file does not run.
    """
    return tuple(_load(name.strip()) for name in names if name.strip())


def _load(name):
    from jaxeff.train.writers import WRITERS

    if name in WRITERS:
        if name in extras.MODULES:
            extras.require(name, f"--log_to={name}")
        return WRITERS[name]
    place, _, thing = name.rpartition(":")
    if not place.endswith(".py") or not thing.isidentifier():
        known = ", ".join(WRITERS)
        raise UsageError(f"--log_to={name}: give some of {known}, or your own as FILE.py:NAME")
    file = user_files.run_file(pathlib.Path(place).expanduser())
    make = file.constant(thing)
    if not callable(make):
        raise UsageError(f"--log_to={name}: {file.name} has no class or function {thing}")
    return make
