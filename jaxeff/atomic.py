"""Files that are there whole or not at all."""

import os
import pathlib
import tempfile


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Puts `content` at `path` so that a reader, or a crash, never sees a part of it."""
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
