"""Reading and writing `record.json`: whole and valid, or not at all."""

import json
import os
from typing import Any

from jaxeff.atomic import as_path, write_atomically
from jaxeff.errors import UsageError
from jaxeff.records import validation, version1
from jaxeff.records.record import Record

LARGEST_BYTES = 20_000_000
"""The size of a record of 50 000 evaluations; no record of a run is larger."""


def read(path: str | os.PathLike) -> Record:
    """Reads and validates the record at `path`, of this version or an earlier one.

    Raises:
      UsageError: the file is missing, too large, no JSON or no valid record.
    """
    path = as_path(path)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = validation.one_line(str(error))
        raise UsageError(f"{path}: not a readable record ({reason})") from error
    return parse(content, str(path))


def parse(content: bytes, source: str) -> Record:
    """The record in the bytes of a `record.json`, of this version or an earlier one.

    Args:
      content: of the file.
      source: where it is from, for the message.

    Raises:
      UsageError: it is too large, no JSON or no valid record.
    """
    try:
        if len(content) > LARGEST_BYTES:
            raise ValueError(f"a record has at most {LARGEST_BYTES / 1e6:.0f} MB")
        fields = json.loads(
            content.decode(), parse_constant=_refuse_constant, parse_int=_short_integer
        )
    except RecursionError as error:
        raise UsageError(f"{source}: not a readable record (nested too deep)") from error
    except ValueError as error:
        reason = validation.one_line(str(error))
        raise UsageError(f"{source}: not a readable record ({reason})") from error
    return from_json(fields, source)


def from_json(fields: Any, source: str = "record") -> Record:
    """The record of parsed JSON, of this version or an earlier one.

    Args:
      fields: as `json.loads` returns them.
      source: where they are from, for the message.

    Raises:
      UsageError: names the first field that is wrong, and how.
    """
    if isinstance(fields, dict) and fields.get("schema_version") == 1:
        validation.check_schema(fields, source, version=1)
        fields = version1.upgrade(fields)
    validation.validate(fields, source)
    return Record.from_json(fields)


def write(path: str | os.PathLike, record: Record) -> None:
    """Validates `record` and writes it to `path`, whole or not at all.

    Raises:
      UsageError: the record is not valid; what stood at `path` is left as it was.
    """
    fields = record.to_json()
    validation.validate(fields, source=str(path))
    text = json.dumps(fields, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())


def _refuse_constant(name):
    raise ValueError(f"{name} is not a JSON number")


def _short_integer(digits):
    """The integer; a longer one takes Python a time that grows with the square of its length."""
    if len(digits) > validation.MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)
