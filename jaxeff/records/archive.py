"""Records of many runs in one file, and those that come with the package."""

import functools
import importlib.resources
import io
import json
import lzma
import os
import pathlib
import tarfile
from collections.abc import Mapping

from jaxeff.atomic import write_atomically
from jaxeff.errors import UsageError
from jaxeff.records import validation
from jaxeff.records.files import LARGEST_BYTES as LARGEST_RECORD
from jaxeff.records.files import parse
from jaxeff.records.record import Record

# Of an archive, and of all that is in it.
LARGEST_BYTES, LARGEST_CONTENT = 50_000_000, 2_000_000_000
SHIPPED = "shipped.tar.xz"


def write_archive(path: str | os.PathLike, records: Mapping[str, Record]) -> None:
    """Writes `NAME/record.json` of each record into a tar file that xz compresses.

    The same records give the same bytes. A record takes about a kilobyte in it.

    Args:
      path: of the file.
      records: by the name of the run's folder.
    """
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:xz", preset=9) as archive:
        for name, record in sorted(records.items()):
            text = json.dumps(record.to_json(), indent=1).encode()
            member = tarfile.TarInfo(f"{name}/record.json")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    write_atomically(pathlib.Path(path), content.getvalue())


def read_archive(path: str | os.PathLike) -> dict[str, Record]:
    """The records of a file of `write_archive`, or of any tar file with `record.json` files.

    Nothing is written to disk, whatever the names in it say.

    Raises:
      UsageError: it cannot be read, is too large, or holds a file that is no valid record.
    """
    path, found = pathlib.Path(path), {}
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UsageError(f"{path}: an archive has at most {LARGEST_BYTES / 1e6:.0f} MB")
        left = LARGEST_CONTENT
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                left -= member.size
                if left < 0:
                    raise UsageError(
                        f"{path}: its files have more than {LARGEST_CONTENT:.0e} bytes"
                    )
                folder, _, name = member.name.rpartition("/")
                if not member.isfile() or name != "record.json":
                    continue
                if (file := archive.extractfile(member)) is not None:
                    content = file.read(LARGEST_RECORD + 1)
                    found[folder] = parse(content, f"{path}: {folder}")
    except (OSError, tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as error:
        reason = validation.one_line(str(error))
        raise UsageError(f"{path}: not a readable archive of records ({reason})") from error
    return found


@functools.cache
def shipped() -> Mapping[str, Record]:
    """The records that come with the package, by the name of the run's folder."""
    with importlib.resources.as_file(importlib.resources.files("jaxeff.records") / SHIPPED) as path:
        return read_archive(path)
