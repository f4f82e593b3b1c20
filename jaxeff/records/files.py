"""Reading and writing `record.json`: whole and valid, or not at all."""

import json
import os

from jaxeff.atomic import as_path, write_atomically
from jaxeff.errors import UsageError
from jaxeff.records import validation, version1
from jaxeff.records.record import Record


def read(path: str | os.PathLike) -> Record:
    """Reads and validates the record at `path`, of this version or an earlier one.

    Raises:
      UsageError: the file is missing, is no JSON or is no valid record.
    """
    path = as_path(path)
    try:
        fields = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        reason = validation.one_line(str(error))
        raise UsageError(f"{path}: not a readable record ({reason})") from error
    return from_json(fields, source=str(path))


def from_json(fields: object, source: str = "record") -> Record:
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
