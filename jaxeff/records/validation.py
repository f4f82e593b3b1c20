"""What makes a record valid: its schema, and numbers that do not contradict each other."""

import functools
import json
import math
import pathlib

import jsonschema
import jsonschema_rs

from jaxeff import compute
from jaxeff.compute import CostSchedule
from jaxeff.errors import UsageError
from jaxeff.records.record import SCHEMA_VERSION, Record, crossing


def validate(fields: object, source: str = "record") -> None:
    """Checks the JSON of a record against its schema and its numbers against each other.

    Args:
      fields: as `json.loads` returns them.
      source: where they are from, for the message.

    Raises:
      UsageError: names the first field that is wrong, and how.
    """
    check_schema(fields, source, SCHEMA_VERSION)
    for problem in _contradictions(fields):
        raise UsageError(f"{source}: the record contradicts itself: {problem}")


def check_schema(fields: object, source: str, version: int) -> None:
    """Checks the JSON of a record against the schema of `version` alone.

    Raises:
      UsageError: names the first field that is wrong, and how.
    """
    where = _first_not_finite(fields)
    if where is not None:
        raise UsageError(f"{source}: not a valid record at {where}: the number is not finite")
    # jsonschema_rs is a hundred times faster; jsonschema explains what is wrong.
    if not _fast_validator(version).is_valid(fields):
        error = jsonschema.exceptions.best_match(_validator(version).iter_errors(fields))
        reason = one_line(error.message)
        raise UsageError(f"{source}: not a valid record at {error.json_path}: {reason}")


def one_line(text: str) -> str:
    """`text` without line breaks, cut after 200 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:200] + "…"


@functools.cache
def _validator(version):
    return jsonschema.Draft202012Validator(_schema(version))


@functools.cache
def _fast_validator(version):
    return jsonschema_rs.Draft202012Validator(_schema(version))


def _schema(version):
    path = pathlib.Path(__file__).with_name(f"record_v{version}.schema.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _contradictions(fields):
    """What the schema cannot say: totals that do not follow from their factors."""
    for total, unit in (
        ("train_flops", "teraflop_s_days"),
        ("paper_flops", "paper_teraflop_s_days"),
    ):
        if not _close(compute.teraflop_s_days(fields["compute"][total]), fields["compute"][unit]):
            yield f"compute.{unit} is not compute.{total} / 8.64e16"
    starts = [segment["from_step"] for segment in fields["compute"]["segments"]]
    if starts[0] != 0 or starts != sorted(set(starts)):
        yield "compute.segments do not begin at step 0 and rise"
        return
    directions, metric = fields["task"]["metrics"], fields["target"]["metric"]
    missing = [p["step"] for p in fields["curve"] if set(p["metrics"]) != set(directions)]
    if missing:
        yield f"curve: step {missing[0]} does not have the metrics that task.metrics names"
        return
    has_average = fields["recipe"]["ema"] is not None
    for point in fields["curve"]:
        if set(point["ema_metrics"] or {}) != (set(directions) if has_average else set()):
            yield f"curve: step {point['step']}: ema_metrics are not what recipe.ema and task say"
            return
    record = Record.from_json(fields)
    try:
        direction = record.direction(metric)
    except KeyError:
        yield f"target.metric {metric!r} is none of task.metrics"
        return
    target, curve = record.target, record.curve
    yield from _wrong_totals(record.compute, target, curve)
    found = crossing(curve, metric, target.value, direction)
    if target.step != found.step:
        yield "target.step is not the first step of the curve that meets the target"
    if target.reached != found.reached or target.epoch != found.epoch:
        yield "target.reached and target.epoch do not follow from the curve"
    if target.stays_from_epoch != found.stays_from_epoch:
        yield "target.stays_from_epoch is not the first epoch from which on the target is met"


def _wrong_totals(cost, target, curve):
    schedule: CostSchedule = cost.schedule
    charged = schedule.step_of(cost.train_flops)
    if not _close(charged, round(charged)):
        yield "compute.train_flops is no whole number of steps"
    if not _close(schedule.paper_flops(round(charged)), cost.paper_flops):
        yield "compute.paper_flops is not 3 x macs_forward_per_example x the examples charged"
    if target.step is not None and not _close(charged, target.step):
        yield "compute.train_flops is not charged up to target.step"
    steps = [point.step for point in curve]
    if steps != sorted(set(steps)):
        yield "curve: the steps do not rise"
    for point in curve:
        if point.examples != schedule.examples(point.step):
            yield f"curve: step {point.step} does not have step x batch_size examples"
        if not _close(point.train_flops, schedule.train_flops(point.step)):
            yield f"curve: step {point.step} does not have step x flops_per_step FLOPs"


def _close(a, b):
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


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
