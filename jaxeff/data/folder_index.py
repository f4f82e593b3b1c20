"""What a scan of an image folder found, kept in the user's cache folder for the next start.

A scan asks for the size of every file: seconds on a disk, minutes on a network. What it found is
used again as long as every folder that it listed has the same time of change, which the file system
moves whenever a file is added, removed or renamed in it. (A file overwritten in place keeps its
folder's time, and is not noticed.)
"""

import hashlib
import io
import os
import pathlib
import time
import zipfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxeff.atomic import write_atomically

# With fewer images than this, a scan is as quick.
FEWEST_IMAGES = 10_000
# The version of the index's format; other versions are not read.
_VERSION = 2
_THREADS = 16
# A folder may change twice within this time and keep one time of change.
_UNSETTLED_NS = 2_000_000_000


def read(root: bytes) -> dict[str, np.ndarray] | None:
    """What `write` was given for `root`, if nothing has changed since; else None."""
    try:
        with np.load(_path(root), allow_pickle=False) as file:
            arrays = dict(file)
        folders = _split(arrays.pop("folders"))
        times = arrays.pop("times")
        if int(arrays.pop("version")) != _VERSION or len(folders) != len(times):
            return None
        with ThreadPoolExecutor(_THREADS) as pool:
            now = pool.map(lambda folder: os.stat(folder).st_mtime_ns, folders, chunksize=64)
            return arrays if list(now) == times.tolist() else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def write(root: bytes, arrays: Mapping[str, np.ndarray], times: Mapping[bytes, int]) -> None:
    """Keeps `arrays` for `root`; where the cache folder cannot be written, does nothing.

    Args:
      root: the image folder.
      arrays: what to keep.
      times: time of change of each folder and file that the arrays depend on, nanoseconds.
    """
    if max(times.values()) > time.time_ns() - _UNSETTLED_NS:
        return
    folders = np.frombuffer(b"\0".join(times), np.uint8)
    content = io.BytesIO()
    np.savez_compressed(
        content, version=_VERSION, folders=folders, times=np.array(list(times.values())), **arrays
    )
    path = _path(root)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError:
        return


def _path(root: bytes) -> pathlib.Path:
    name = hashlib.sha256(os.path.realpath(root)).hexdigest()[:32]
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(caches) / "jaxeff" / "image_folders" / f"{name}.npz"


def _split(joined: np.ndarray) -> list[bytes]:
    return joined.tobytes().split(b"\0")
