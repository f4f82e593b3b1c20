"""The folder of a run: who may use it, and the files that grow while the run goes on."""

import contextlib
import difflib
import errno
import fcntl
import json
import math
import os
import pathlib
import socket
import tempfile
import time
from collections.abc import Mapping

from etils import epath

from jaxeff import extras, records
from jaxeff.atomic import as_path, is_remote, write_atomically
from jaxeff.errors import UsageError

Folder = pathlib.Path | epath.Path

# What makes two runs the same run. Where and how fast it runs may change between sessions.
# Checkpoints of earlier versions hold another state.
GOES_ON_FROM = ("0.4.", "0.5.", "0.6.", "0.7.", "0.8.", "0.9.")
IDENTITY = ("model", "task", "recipe", "dataset", "target", "seed")


def folder(path: str | os.PathLike) -> Folder:
    """The folder of a run by its name, on a disk or in a bucket of Google Cloud Storage.

    Raises:
      UsageError: it is somewhere else, what reads it is not installed, or a home is unknown.
    """
    if not is_remote(path):
        try:
            return pathlib.Path(path).expanduser()
        except RuntimeError as error:
            raise UsageError(f"--workdir={path}: {error}; give the folder's full name") from error
    if not os.fspath(path).startswith("gs://"):
        raise UsageError(
            f"--workdir={path}: checkpoints can be kept on a disk and in gs://bucket/folder"
        )
    extras.require("gcs", f"--workdir={path}")
    return as_path(path)


@contextlib.contextmanager
def hold(workdir: Folder, is_writer: bool):
    """Makes the folder and keeps other runs out of it.

    In a bucket nothing keeps them out.

    Args:
      workdir: folder of the run.
      is_writer: whether this process writes there (the first of a run of several).

    Raises:
      UsageError: the folder cannot be written, or another run is using it.
    """
    if not is_writer:
        yield
        return
    if is_remote(workdir):
        _try_writing(workdir)
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = open(workdir / ".lock", "w")  # noqa: SIM115 (held until the run ends)
    except OSError as error:
        raise UsageError(
            f"--workdir={workdir}: cannot be written ({error.strerror}); give a folder that can"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"--workdir={workdir}: another run is using it; wait for it or give another folder"
            ) from error
        except OSError:
            pass  # A file system without locks.
        for name in ("record.json", "curve.png", "metrics.jsonl"):
            for left_over in workdir.glob(f".{name}.*"):  # Of a process that was killed.
                left_over.unlink()
        yield


@contextlib.contextmanager
def writing(workdir: Folder):
    """Says what is to be done where a file of the run cannot be written.

    Raises:
      UsageError: the disk is full or read-only, or the folder has gone.
    """
    check_there(workdir)
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())[:200]
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        # Of a full disk, the name would be of a temporary file.
        what = f"--workdir={workdir}" if is_full or not error.filename else error.filename
        remedy = "make room" if is_full else "mend that"
        raise UsageError(
            f"{what}: cannot be written ({reason}); checkpoints that are there "
            f"stay whole: {remedy}, and run the same command again"
        ) from error


def check_there(workdir: Folder) -> None:
    """Raises `UsageError` where the folder has gone since the run began."""
    if not is_remote(workdir) and not workdir.is_dir():
        raise UsageError(
            f"--workdir={workdir} has been moved or removed since the run began; put it back, and "
            "run the same command again"
        )


def progress_without_checkpoint(workdir: Folder) -> str | None:
    """What to say where a record shows progress that no checkpoint holds; None elsewhere."""
    path = workdir / "record.json"
    curve = records.read(path).curve if path.exists() else ()
    if not curve:
        return None
    return (
        f"the record in {workdir} is of step {curve[-1].step}, and there is no checkpoint: "
        "starting again from step 0"
    )


def check_shared(workdir: Folder, seconds: float = 10) -> None:
    """Raises `UsageError` where this process does not see the folder that another has made."""
    deadline = time.monotonic() + seconds
    while not is_remote(workdir) and not workdir.is_dir():
        if time.monotonic() > deadline:
            raise UsageError(
                f"--workdir={workdir} is not seen on {socket.gethostname()}: give a folder on "
                "storage that all hosts share"
            )
        time.sleep(0.2)


def _try_writing(workdir):
    try:
        probe = workdir / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except Exception as error:  # Of the bucket's library, of the network, of credentials.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(
            f"--workdir={workdir}: cannot be written ({reason}); give a folder in a bucket that "
            "can, or `gcloud auth application-default login` first"
        ) from error


def check_same_run(
    workdir: Folder, record: records.Record, earlier=None, accept_changed_data: bool = False
) -> None:
    """Raises `UsageError` where `workdir` holds another run than that of `record`.

    Args:
      workdir: folder of the run.
      record: of this run.
      earlier: JSON of the record that was found; None reads `record.json`, where there is one.
      accept_changed_data: the data may differ, as where examples were replaced or removed: its
        fingerprint, and how many examples there are, which may not be more than before.
    """
    path = workdir / "record.json"
    if earlier is None:
        if not path.exists():
            return
        try:
            earlier = records.read(path).to_json()
        except UsageError as error:
            raise UsageError(
                f"{error}; remove that file: the same command writes it again from the checkpoint"
            ) from error
    version = earlier["software"]["jaxeff"]
    if not version.startswith(GOES_ON_FROM):
        raise UsageError(
            f"--workdir={workdir} holds a run of jaxeff {version}, from whose checkpoints this "
            "version cannot go on; give another --workdir"
        )
    ours, theirs = _identity(record.to_json()), _identity(earlier)
    differing = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
    data_changed = _FINGERPRINT in differing
    if data_changed and accept_changed_data:
        for key in _COUNTS:
            if ours[key] > theirs[key]:
                raise UsageError(
                    f"--accept_changed_data: {key} is {theirs[key]:,} in {workdir} and "
                    f"{ours[key]:,} here; examples may be replaced or removed, not added: give "
                    "another --workdir"
                )
        if "dataset.train_examples" in differing:
            if record.recipe.get("phases"):
                raise UsageError(
                    "--accept_changed_data: the recipe has phases, which begin at other steps with "
                    f"{ours['dataset.train_examples']:,} training examples, so that the steps of "
                    "before would be charged wrongly; give another --workdir"
                )
            for key in _IN_STEPS:
                ours[key], theirs[key] = map(_without_numbers, (ours.get(key), theirs.get(key)))
        accepted = {_FINGERPRINT, *_COUNTS}
        differing = [
            key for key in differing if key not in accepted and ours.get(key) != theirs.get(key)
        ]
    for key in differing:
        hint = (
            "; where damaged files were replaced or removed, --accept_changed_data goes on with "
            "the run, and its record says so"
            if data_changed and not accept_changed_data
            else ""
        )
        raise UsageError(
            f"--workdir={workdir} holds another run: {key} is {theirs.get(key)!r:.200} there "
            f"and {ours.get(key)!r:.200} here; give another --workdir, or the same flags to "
            f"resume{hint}"
        )


def check_same_sources(workdir: Folder, sources: Mapping[str, str]) -> None:
    """Raises `UsageError` where a file of the user has changed since the run in `workdir` began.

    Args:
      workdir: folder of the run, whose `source` holds copies.
      sources: texts of the files by relative path.
    """
    if not (workdir / "record.json").exists():
        return
    for name, text in sources.items():
        try:
            earlier = (workdir / "source" / name).read_text(encoding="utf-8")
        except OSError:
            continue
        if text == earlier:
            continue
        changes = list(difflib.ndiff(earlier.splitlines(), text.splitlines()))
        added = sum(line.startswith("+ ") for line in changes)
        removed = sum(line.startswith("- ") for line in changes)
        lines = "line" if added == 1 else "lines"
        raise UsageError(
            f"{name} changed since this run began: {added} {lines} added, {removed} removed; give "
            f"another --workdir, or put back {workdir}/source/{name}"
        )


def write_sources(workdir: Folder, sources: Mapping[str, str]) -> None:
    """Puts copies of the user's files into `workdir/source`."""
    for name, text in sources.items():
        path = workdir / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())


_FINGERPRINT = "dataset.fingerprint"
_COUNTS = ("dataset.train_examples", "dataset.validation_examples")
# Schedules count in steps, so their numbers follow from the number of training examples, and
# from the recipe's name, source and flags, which are compared themselves.
_IN_STEPS = ("recipe.optimizer", "recipe.schedule", "recipe.evaluation_params")
_OUTCOME = (
    "dataset.skipped",
    "dataset.accepted_changes",
    "target.reached",
    "target.step",
    "target.epoch",
    "target.stays_from_epoch",
)


def _without_numbers(value):
    """What is said of an optimizer, with every number left out, and the digests of arrays."""
    if isinstance(value, dict):
        kept = ((key, child) for key, child in value.items() if key != "sha256")
        return [
            (key if not key.isdecimal() else "", _without_numbers(child)) for key, child in kept
        ]
    if isinstance(value, list):
        return [_without_numbers(child) for child in value]
    return value if isinstance(value, str) else None


def _identity(record):
    """What makes a run this run, by dotted name."""
    flat = {}
    for section in IDENTITY:
        value = record[section]
        if isinstance(value, dict):
            flat |= {f"{section}.{key}": child for key, child in value.items()}
        else:
            flat[section] = value
    return {key: value for key, value in flat.items() if key not in _OUTCOME}


class MetricLog:
    """`metrics.jsonl`: numbers by step.

    It grows line by line, which no object in a bucket can: there it is a copy of a local file, as
    of the last `publish`, and so is what others write beside it, into `folder`.

    Args:
      workdir: where they are written.
      step: what an earlier session wrote after this step is dropped, since it comes again.

    Attributes:
      folder: where it grows, on this machine: the workdir, or what is copied there.
      dropped: lines of an earlier session that were damaged.
    """

    def __init__(self, workdir: Folder, step: int):
        self._workdir = self.folder = workdir
        if is_remote(workdir):
            self._temporary = tempfile.TemporaryDirectory(prefix="jaxeff-")
            self.folder = pathlib.Path(self._temporary.name)
        lines, self.dropped = _lines_up_to(workdir / "metrics.jsonl", step)
        path = self.folder / "metrics.jsonl"
        write_atomically(path, b"".join(lines))
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, kind: str, numbers: dict[str, float]) -> None:
        """Adds one line."""
        line = {"step": step, "kind": kind}
        for name, number in numbers.items():
            line[name] = number if math.isfinite(number) else None  # JSON has no word for it.
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def publish(self) -> None:
        """Copies the files of `folder` to where the run is, if that is not this machine."""
        if self.folder is self._workdir:
            return
        for path in filter(pathlib.Path.is_file, self.folder.iterdir()):
            write_atomically(self._workdir / path.name, path.read_bytes())

    def close(self) -> None:
        """Closes the file, and publishes it."""
        self._file.close()
        self.publish()


def _lines_up_to(path, step):
    """The lines of the steps up to `step`, and how many there were that are none.

    The last line of a killed run may be a part of one, which is no damage.
    """
    if not path.exists():
        return [], 0
    kept, damaged = [], 0
    *lines, _part = path.read_bytes().split(b"\n")
    for line in lines:
        try:
            if json.loads(line.decode())["step"] <= step:
                kept.append(line + b"\n")
        except (ValueError, KeyError, TypeError):
            damaged += 1
    return kept, damaged
