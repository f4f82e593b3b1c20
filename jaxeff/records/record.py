"""Reading, writing and checking `record.json` (schema: `record.schema.json` beside this file)."""

import functools
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import subprocess
import tempfile

import jsonschema
import jsonschema_rs

import jaxeff
from jaxeff import compute
from jaxeff.errors import UsageError

SCHEMA_VERSION = 1


def read(path: str | os.PathLike) -> dict:
    """Reads and validates the record at `path`.

    Raises:
      UsageError: the file is missing, is no JSON or is no valid record.
    """
    path = pathlib.Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a readable record ({_one_line(error)})") from error
    validate(record, source=str(path))
    return record


def write(path: str | os.PathLike, record: dict) -> None:
    """Validates `record` and writes it to `path`, whole or not at all.

    Raises:
      UsageError: the record is not valid; what stood at `path` is left as it was.
    """
    validate(record, source=str(path))
    text = json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())


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


def validate(record: object, source: str = "record") -> None:
    """Checks `record` against the schema and its numbers against each other.

    Args:
      record: as `json.loads` returns it.
      source: where it is from, for the message.

    Raises:
      UsageError: names the first field that is wrong, and how.
    """
    where = _first_not_finite(record)
    if where is not None:
        raise UsageError(f"{source}: not a valid record at {where}: the number is not finite")
    # A hundred times faster than the other, which explains what is wrong.
    if not _fast_validator().is_valid(record):
        error = jsonschema.exceptions.best_match(_validator().iter_errors(record))
        raise UsageError(f"{source}: not a valid record at {error.json_path}: {_one_line(error)}")
    for problem in _contradictions(record):
        raise UsageError(f"{source}: the record contradicts itself: {problem}")


def software() -> dict:
    """Versions of what takes part in a measurement, and the commit of jaxeff's source tree."""
    commit, dirty = _git_state(pathlib.Path(jaxeff.__file__).parent)
    versions = {
        name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")
    }
    return {
        "python": platform.python_version(),
        **versions,
        "jaxeff": jaxeff.__version__,
        "git_commit": commit,
        "git_dirty": dirty,
    }


def _git_state(folder):
    """The commit and whether tracked files differ from it; None twice outside a checkout."""

    def git(*arguments):
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout

    try:
        if not git("ls-files", "__init__.py"):
            return None, None
        return git("rev-parse", "HEAD").strip(), bool(git("status", "--porcelain", "-uno").strip())
    except (OSError, subprocess.SubprocessError):
        return None, None


@functools.cache
def _validator():
    return jsonschema.Draft202012Validator(_schema())


@functools.cache
def _fast_validator():
    return jsonschema_rs.Draft202012Validator(_schema())


def _schema():
    path = pathlib.Path(__file__).with_name("record.schema.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _contradictions(record):
    """What the schema cannot say: totals that do not follow from their factors."""
    cost, target, curve = record["compute"], record["target"], record["curve"]
    batch_size = record["recipe"]["batch_size"]
    for total, share in (
        ("train_flops", "teraflop_s_days"),
        ("paper_flops", "paper_teraflop_s_days"),
    ):
        if not _close(compute.teraflop_s_days(cost[total]), cost[share]):
            yield f"compute.{share} is not compute.{total} / 8.64e16"
    if not _close(cost["flops_per_image"] * batch_size, cost["flops_per_step"]):
        yield "compute.flops_per_step is not compute.flops_per_image x recipe.batch_size"
    steps = cost["train_flops"] / cost["flops_per_step"]
    images = steps * batch_size
    if not _close(compute.paper_flops(cost["macs_forward_per_image"], images), cost["paper_flops"]):
        yield "compute.paper_flops is not 3 x macs_forward_per_image x the images of train_flops"
    if target["reached"] != (target["step"] is not None) or target["reached"] != (
        target["epoch"] is not None
    ):
        yield "target.step and target.epoch must be there if and only if target.reached"
    if target["reached"] and not _close(steps, target["step"]):
        yield "compute.train_flops is not charged up to target.step"
    numbers = [point["step"] for point in curve]
    if numbers != sorted(set(numbers)):
        yield "curve: the steps do not rise"
    for point in curve:
        if point["images"] != point["step"] * batch_size:
            yield f"curve: step {point['step']} does not have step x batch_size images"
        if not _close(point["train_flops"], point["step"] * cost["flops_per_step"]):
            yield f"curve: step {point['step']} does not have step x flops_per_step FLOPs"
    met = [point["step"] for point in curve if point[target["metric"]] >= target["value"]]
    if target["step"] != (met[0] if met else None):
        yield "target.step is not the first step of the curve that meets the target"


def _close(a, b):
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _first_not_finite(value, where="$"):
    if isinstance(value, float) and not math.isfinite(value):
        return where
    children = ()
    if isinstance(value, dict):
        children = ((f"{where}.{key}", child) for key, child in value.items())
    elif isinstance(value, list):
        children = ((f"{where}[{i}]", child) for i, child in enumerate(value))
    found = (_first_not_finite(child, place) for place, child in children)
    return next((place for place in found if place is not None), None)


def _refuse_constant(name):
    raise ValueError(f"{name} is not a JSON number")


def _one_line(error):
    text = error.message if isinstance(error, jsonschema.ValidationError) else str(error)
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:200] + "…"
