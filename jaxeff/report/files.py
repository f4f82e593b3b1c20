"""Reads records, and writes the report's files."""

from __future__ import annotations

import fnmatch
import glob
import os
import pathlib
import typing
from collections.abc import Sequence

from jaxeff import extras, records
from jaxeff.atomic import as_path, is_remote, write_atomically
from jaxeff.cells import visible
from jaxeff.errors import UsageError
from jaxeff.report import audit, exchange, figures, page
from jaxeff.report.analysis import Analysis
from jaxeff.report.csv_file import csv_text
from jaxeff.report.tables import BASELINE, configuration

if typing.TYPE_CHECKING:
    from etils import epath


def find_records(
    patterns: Sequence[str],
) -> tuple[list[pathlib.Path | epath.Path], list[str]]:
    """Finds the files that match, each once and in order, and the patterns that match none.

    A pattern that names a folder stands for every `record.json` in it, at any depth, on a disk or
    in a bucket of Google Cloud Storage. Links to folders are followed; a folder that is reached
    again, such as by a link to one above it, is not searched again. Hidden files and folders match
    no `*` or `**`.

    Raises:
      UsageError: a bucket or a folder that is named cannot be read.
    """
    found, found_none = {}, []
    for pattern in patterns:
        path = os.path.expanduser(pattern)
        if is_remote(pattern):
            files = [as_path(address) for address in _in_bucket(pattern)]
            if not files:
                found_none.append(pattern)
            found |= {os.fspath(file): file for file in files}
            continue
        if "\0" in path:  # No name of a file holds it, and the system refuses to look.
            found_none.append(pattern)
            continue
        if os.path.isdir(path):
            _check_readable(pattern, path)
            path = os.path.join(glob.escape(path), "**", "record.json")
        matches = sorted(_glob(path))
        files = [pathlib.Path(match) for match in matches if os.path.isfile(match)]
        if not files:
            found_none.append(pattern)
        found |= {path.resolve(): path for path in files}
    return list(found.values()), found_none


def _check_readable(pattern, folder):
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise UsageError(f"--records={pattern}: cannot be read ({error.strerror})") from error


def _in_bucket(pattern):
    """Addresses of the files that `pattern`, or a folder of that name, stands for."""
    flag = f"--records={pattern}"
    if not pattern.startswith("gs://"):
        raise UsageError(f"{flag}: records are read from a disk and from gs://bucket/folder")
    extras.require("gcs", flag)
    import fsspec  # With `gcs`; epath has no `**`.

    try:
        bucket = fsspec.filesystem("gs")
        if bucket.isdir(pattern):
            pattern = f"{pattern.rstrip('/')}/**/record.json"
        matches = sorted(bucket.glob(pattern))
    except FileNotFoundError as error:
        raise UsageError(f"{flag}: there is no such bucket") from error
    except Exception as error:  # Of the network, of credentials.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(
            f"{flag}: cannot be read ({reason}); give a folder in a bucket that can, or `gcloud "
            "auth application-default login` first"
        ) from error
    return [f"gs://{match}" for match in matches if "/." not in match]


def read_records(
    paths: Sequence[pathlib.Path | epath.Path], progress=iter
) -> tuple[list[records.Record], list[str]]:
    """Reads valid records, and says why each other file is none or was read before.

    Of one run that was continued elsewhere the longer record is taken. Two runs with the same
    numbers at every evaluation are the same seed twice, and no further evidence.

    Args:
      paths: files.
      progress: wraps the iteration, to show it.
    """
    read, refused = [], []
    for path in progress(paths):
        try:
            read.append((path, records.read(path)))
        except UsageError as error:
            refused.append(str(error))
        except Exception as error:  # A record that nobody foresaw must not cost the others.
            reason = f"{type(error).__name__}: {error}"
            refused.append(visible(f"{path}: cannot be read ({' '.join(reason.split())[:200]})"))
    # The longest of a run first, then as they were given.
    seen, valid = {}, {}
    for number, (path, record) in sorted(enumerate(read), key=lambda one: -len(one[1][1].curve)):
        same = [key for key in _of_one_run(record) if key in seen]
        if same:
            refused.append(f"{path}: the same run as {seen[same[0]]}")
            continue
        seen |= dict.fromkeys(_of_one_run(record), path)
        valid[number] = record
    return [record for _, record in sorted(valid.items())], refused


def _of_one_run(record):
    """What no two runs have in common: the identity, and the numbers that were measured."""
    yield record.run_id, record.created, record.seed
    if record.curve:
        measured = [(point.step, point.train_flops, point.metrics) for point in record.curve]
        yield configuration(record), record.dataset.fingerprint, record.seed, str(measured)


def _glob(pattern):
    """As `glob.glob(pattern, recursive=True)`, each folder once: links may lead back."""
    parts = pattern.split(os.sep)
    if "**" not in parts:
        return glob.glob(pattern)
    start = parts.index("**")
    roots = glob.glob(os.sep.join([*parts[:start], ""])) if start else [""]
    parts = parts[start:]
    # Each folder with the places in `parts` at which the names below it may go on.
    stack, found, seen = [(root, _with_skipped(parts, {0})) for root in roots], [], set()
    while stack:
        folder, at = stack.pop()
        try:
            place = os.stat(folder or os.curdir)
            if (place.st_dev, place.st_ino) in seen:
                continue
            seen.add((place.st_dev, place.st_ino))
            with os.scandir(folder or os.curdir) as entries:
                entries = list(entries)
        except OSError:  # May not be read, or is gone.
            continue
        for entry in entries:
            path, after = os.path.join(folder, entry.name), _after(parts, at, entry.name)
            if len(parts) in after:
                found.append(path)
            if after - {len(parts)} and entry.is_dir():
                stack.append((path, after))
    return found


def _after(parts, at, name):
    """The places in the pattern `parts` behind a name that is met at one of the places `at`."""
    after = set()
    for i in at - {len(parts)}:
        if name.startswith(".") and not parts[i].startswith("."):
            continue
        if parts[i] == "**":
            after.add(i)
        elif fnmatch.fnmatchcase(name, parts[i]):
            after.add(i + 1)
    return _with_skipped(parts, after)


def _with_skipped(parts, at):
    """The places, and those behind each `**`, which may stand for no folder."""
    at = set(at)
    for i, part in enumerate(parts):
        if part == "**" and i in at:
            at.add(i + 1)
    return at


def write(analysis: Analysis, out: str | os.PathLike) -> None:
    """Writes all files of the report under `out`, each whole or not at all.

    Raises:
      UsageError: the folder cannot be written.
    """
    out = pathlib.Path(out)
    # Everything is made before the first file is replaced, so that a failure leaves the old report.
    files = {"audit.md": audit.markdown(analysis.audit, analysis.factors())}
    files |= {
        f"tables/{table.name}.csv": csv_text(table, analysis.day) for table in analysis.tables
    }
    for name, figure in figures.draw(analysis).items():
        for kind, content in zip(figures.KINDS, figures.render(figure), strict=True):
            files[f"figures/{name}.{kind}"] = content
    files["index.html"] = page.render(analysis)
    for name, content in files.items():
        _write(out / name, content)


def write_exchange(
    valid: Sequence[records.Record], path: str | os.PathLike, baseline: str = BASELINE
) -> pathlib.Path:
    """Writes `path` in the published columns and the analysis beside it; returns the latter's path.

    Rows that are in `path` already stay as they are, byte for byte. Factors are against the model
    `baseline`, where no row has the level.

    Raises:
      UsageError: the file cannot be written, or what is there is no such table.
    """
    path = pathlib.Path(path)
    if path.suffix == ".md":
        raise UsageError(f"--export_sota={path}: give a name that ends in .csv; beside it goes .md")
    try:
        existing = path.read_bytes().decode() if path.exists() else None
    except (OSError, ValueError) as error:
        raise UsageError(f"--export_sota={path}: cannot be read ({error})") from error
    rows, analysis = exchange.export(valid, baseline, existing)
    beside = path.with_suffix(".md")
    _write(path, rows)
    _write(beside, analysis)
    return beside


def _write(path, content):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
