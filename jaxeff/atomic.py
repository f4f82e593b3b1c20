"""Files that are there whole or not at all, on this machine's disks and in a bucket."""

from __future__ import annotations

import os
import pathlib
import tempfile
import typing

if typing.TYPE_CHECKING:  # It imports much, for what most runs do not need.
    from etils import epath


def is_remote(path: str | os.PathLike) -> bool:
    """Whether `path` is an address such as `gs://bucket/run`."""
    return "://" in os.fspath(path)


def as_path(path: str | os.PathLike) -> pathlib.Path | epath.Path:
    """`path` as an object with pathlib's methods, wherever it leads."""
    if not is_remote(path):
        return pathlib.Path(path)
    from etils import epath

    return epath.Path(path)


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Puts `content` at `path` so that a reader, or a crash, never sees a part of it."""
    path = as_path(path)
    if is_remote(path):  # An object appears when all of it is there.
        path.write_bytes(content)
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
