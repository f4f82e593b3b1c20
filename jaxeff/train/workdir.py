"""The folder of a run: who may use it, and the files that grow while the run goes on."""

import contextlib
import fcntl
import json
import math
import pathlib
import sys

from jaxeff import records
from jaxeff.errors import UsageError

# What makes two runs the same run. Where and how fast it runs may change between sessions.
IDENTITY = ("model", "recipe", "dataset", "target", "seed")


@contextlib.contextmanager
def hold(workdir: pathlib.Path, is_writer: bool):
    """Makes the folder and keeps other runs out of it.

    Args:
      workdir: folder of the run.
      is_writer: whether this process writes there (the first of a run of several).

    Raises:
      UsageError: the folder cannot be written, or another run is using it.
    """
    if not is_writer:
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
        yield


def check_same_run(workdir: pathlib.Path, record: dict, earlier: dict) -> None:
    """Raises `UsageError` where `earlier`, found in `workdir`, is a record of another run."""
    for section in IDENTITY:
        ours, theirs = _flat(section, record[section]), _flat(section, earlier[section])
        for key in sorted({*ours, *theirs}):
            if key in _OUTCOME or ours.get(key) == theirs.get(key):
                continue
            raise UsageError(
                f"--workdir={workdir} holds another run: {key} is {theirs.get(key)!r} there and "
                f"{ours.get(key)!r} here; give another --workdir, or the same flags to resume"
            )


_OUTCOME = ("target.reached", "target.step", "target.epoch")


def _flat(name, section):
    section = json.loads(json.dumps(section))
    if not isinstance(section, dict):
        return {name: section}
    return {f"{name}.{key}": value for key, value in section.items()}


class MetricLog:
    """`metrics.jsonl` and TensorBoard's event files: numbers by step.

    Args:
      workdir: where they are written.
      step: what an earlier session wrote after this step is dropped, since it comes again.
    """

    def __init__(self, workdir: pathlib.Path, step: int):
        path = workdir / "metrics.jsonl"
        records.write_atomically(path, "".join(_lines_up_to(path, step)).encode())
        self._file = path.open("a", encoding="utf-8")
        self._events = _summary_writer(str(workdir), purge_step=step + 1)

    def write(self, step: int, prefix: str, numbers: dict[str, float]) -> None:
        """Adds one line, and a TensorBoard scalar `prefix/name` for each number."""
        line = {"step": step, "kind": prefix}
        for name, number in numbers.items():
            line[name] = number if math.isfinite(number) else None  # JSON has no word for it.
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, number in numbers.items():
            self._events.add_scalar(f"{prefix}/{name}", number, step)

    def close(self) -> None:
        """Flushes both."""
        self._file.close()
        self._events.close()


def _summary_writer(*args, **kwargs):
    """tensorboardX's, without PyTorch: where that is installed it would import it for its tensors.

    A second's work, and more than a hundred megabytes.
    """
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hide:
            del sys.modules["torch"]
    return SummaryWriter(*args, **kwargs)


def _lines_up_to(path, step):
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step:
                yield line
        except (ValueError, KeyError, TypeError):
            return  # The last line of a killed run.
