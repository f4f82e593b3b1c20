"""Files that are there whole or not at all, on this machine's disks and in a bucket."""

import os
import pathlib
import tempfile

from etils import epath


def is_remote(path: str | os.PathLike) -> bool:
    """Whether `path` is an address such as `gs://bucket/run`."""
    return "://" in os.fspath(path)


def as_path(path: str | os.PathLike) -> pathlib.Path | epath.Path:
    """`path` as an object with pathlib's methods, wherever it leads."""
    return epath.Path(path) if is_remote(path) else pathlib.Path(path)


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Puts `content` at `path` so that a reader, or a crash, never sees a part of it."""
    if is_remote(path):  # An object appears when all of it is there.
        epath.Path(path).write_bytes(content)
        return
    path = pathlib.Path(path)
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
