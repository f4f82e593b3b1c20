"""What makes a record valid: its schema, and numbers that do not contradict each other."""

import datetime
import functools
import itertools
import json
import math
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import jsonschema
import jsonschema_rs

from jaxeff import compute
from jaxeff.errors import UsageError
from jaxeff.records.record import SCHEMA_VERSION, Record, crossing

# Bounds that no record of a run comes near. Beyond them arithmetic overflows and recursion ends.
MOST_DIGITS = 40
MOST_DEPTH = 100
_BEYOND = 10**MOST_DIGITS
# The first networks with weights, and further than a plan.
YEARS = range(1940, 2101)

# Differences by which sums in another order, or printed and read again, may be off.
_RELATIVE, _OF_SECONDS = 1e-9, 1e-6
# Whether the label is among the k likeliest: what is measured of a classification.
_TOP_K = re.compile(r"(.*)top(\d{1,9})")


def validate(fields: Any, source: str = "record") -> None:
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
    for where, problem in _unusable(fields):
        raise UsageError(f"{source}: not a valid record at {where}: {problem}")
    # jsonschema_rs is a hundred times faster; jsonschema explains what is wrong.
    if not _fast_validator(version).is_valid(fields):
        error = jsonschema.exceptions.best_match(_validator(version).iter_errors(fields))
        reason = one_line(error.message)
        raise UsageError(f"{source}: not a valid record at {error.json_path}: {reason}")


def one_line(text: str) -> str:
    """`text` without line breaks; of more than 200 characters, those in the middle are left out."""
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:100]} … {text[-100:]}"


@functools.cache
def _validator(version):
    return jsonschema.Draft202012Validator(_schema(version))


@functools.cache
def _fast_validator(version):
    return jsonschema_rs.Draft202012Validator(_schema(version))


def _schema(version):
    path = pathlib.Path(__file__).with_name(f"record_v{version}.schema.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _unusable(value: object) -> Iterator[tuple[str, str]]:
    """Values that JSON may hold and nothing can go on with, each with its place."""
    # A stack, since recursion ends where the depth is to be found out. A place is `(above, key)`.
    stack: list[tuple[Any, Any, int]] = [({"$": value}, None, 0)]
    while stack:
        container, above, depth = stack.pop()
        if depth > MOST_DEPTH:
            yield _path(above), f"it is nested more than {MOST_DEPTH} deep"
            return
        children: Iterable[tuple[Any, Any]]
        if isinstance(container, dict):
            children = container.items()
            if not all(isinstance(key, str) and _is_text(key) for key in container):
                yield _path(above), "a name in it is no text"
                return
        else:
            children = enumerate(container)
        for key, child in children:
            if isinstance(child, float):
                if not math.isfinite(child):
                    yield _path((above, key)), "the number is not finite"
            elif isinstance(child, str):
                if not _is_text(child):
                    yield _path((above, key)), "the text holds half of a character"
            elif isinstance(child, int):
                if not -_BEYOND < child < _BEYOND:
                    yield _path((above, key)), f"the number has more than {MOST_DIGITS} digits"
            elif isinstance(child, dict | list):
                stack.append((child, (above, key), depth + 1))


def _path(place):
    """Such as `$.curve[1].epoch`."""
    keys = []
    while place is not None:
        place, key = place
        keys.append(f"[{key}]" if isinstance(key, int) else f".{key}")
    return one_line("".join(reversed(keys)).removeprefix("."))


def _is_text(text):
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _contradictions(fields: dict) -> Iterator[str]:
    """What the schema cannot say: what does not follow from that from which it follows."""
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
    yield from _wrong_dates(record)
    yield from _wrong_charge(record)
    yield from _wrong_curve(record)
    yield from _wrong_target(record, direction)
    yield from _wrong_timing(record)
    yield from _wrong_data(record)


def _wrong_dates(record):
    for name, text, parse in (
        ("created", record.created, datetime.datetime.fromisoformat),
        ("model.published", record.model.published, datetime.date.fromisoformat),
    ):
        try:
            year = None if text is None else parse(text).year
        except ValueError:
            yield f"{name} {text!r} is no date"
        else:
            if year is not None and year not in YEARS:
                yield f"{name} {text!r} is not in {YEARS[0]} to {YEARS[-1]}"


def _wrong_curve(record):
    """Of each evaluation: its numbers from its step, and what rises with it."""
    schedule, curve = record.compute.schedule, record.curve
    for name in ("step", "epoch", "seconds"):
        values = [getattr(point, name) for point in curve]
        if values != sorted(values if name == "seconds" else set(values)):
            yield f"curve: the {name.removesuffix('s')}s do not rise"
    for point in curve:
        where = f"curve: step {point.step}"
        # Where the data changed, phases of the recipe began at other steps before.
        if len(schedule.segments) == 1 or not _data_of(record, point.step):
            if point.examples != schedule.examples(point.step):
                yield f"{where} does not have step x batch_size examples"
            if not _close(point.train_flops, schedule.train_flops(point.step)):
                yield f"{where} does not have step x flops_per_step FLOPs"
            if not _completes(record, point):
                yield f"{where} is not the first that has seen epoch x train_examples examples"
        for metrics in filter(None, (point.metrics, point.ema_metrics)):
            yield from _wrong_accuracies(record, where, metrics)
    if curve and curve[-1].epoch > record.recipe["epochs"] * (1 + _RELATIVE):
        yield "curve: it goes on after recipe.epochs"
    yield from _missing_evaluations(record)


def _completes(record, point):
    """Whether the point's step is the first at which its epoch is complete."""
    schedule, data = record.compute.schedule, _data_of(record, point.step)
    train_examples = data["train_examples"] if data else record.dataset.train_examples
    wanted = point.epoch * train_examples
    slack = 1e-6 * schedule.segment_at(point.step - 1).batch_size + _RELATIVE * wanted
    before = schedule.examples(point.step - 1)
    return (before < wanted + slack or point.step == 1) and point.examples >= wanted - slack


def _data_of(record, step):
    """The data up to a change that the user accepted after `step`; None for the present data."""
    changes = record.dataset.accepted_changes or ()
    return next((change for change in changes if step <= change["step"]), None)


def _missing_evaluations(record):
    """Without one of them, the target would seem to be met later, or never."""
    every = record.recipe.get("eval_every")
    # After a change of the data, the step of an evaluation may lie behind.
    if not isinstance(every, int | float) or record.dataset.accepted_changes:
        return
    most = every + max(s.batch_size for s in record.compute.segments) / (
        record.dataset.train_examples
    )
    epochs = [0.0, *(point.epoch for point in record.curve)]
    for before, after in itertools.pairwise(epochs):
        if after - before > most * (1 + _RELATIVE):
            yield f"curve: no evaluation between the epochs {before:g} and {after:g}"


def _wrong_accuracies(record, where, metrics):
    kinds = {}
    for name, value in metrics.items():
        if _is_accuracy(record, name):
            if not 0 <= value <= 1:
                yield f"{where}: {name} is {value:g}, and no fraction"
            kind, k = _TOP_K.fullmatch(name).groups()
            kinds.setdefault(kind, []).append((int(k), value, name))
    for kind in kinds.values():
        for (_, value, name), (_, larger, other) in itertools.pairwise(sorted(kind)):
            if value > larger + _RELATIVE:
                yield f"{where}: {name} is above {other}"


def _is_accuracy(record, metric):
    return "num_classes" in record.task and _TOP_K.fullmatch(metric)


def _wrong_target(record, direction):
    """The target and the status, by the curve."""
    target, curve, status = record.target, record.curve, record.status
    if _is_accuracy(record, target.metric) and not 0 < target.value <= 1:
        yield f"target.value {target.value:g} is no fraction"
    found = crossing(curve, target.metric, target.value, direction)
    if target.step != found.step:
        yield "target.step is not the first step of the curve that meets the target"
    if target.reached != found.reached or target.epoch != found.epoch:
        yield "target.reached and target.epoch do not follow from the curve"
    if target.stays_from_epoch != found.stays_from_epoch:
        yield "target.stays_from_epoch is not the first epoch from which on the target is met"
    if status == "reached" and not target.reached:
        yield "status is reached, and no evaluation meets the target"
    if status == "completed" and not record.dataset.accepted_changes:
        last = curve[-1].epoch if curve else 0.0
        if not math.isclose(last, record.recipe["epochs"], rel_tol=_RELATIVE):
            yield "status is completed, and the curve does not end at recipe.epochs"


def _wrong_charge(record):
    """The compute: to the target, or over all steps of a run that has not met it."""
    cost, schedule, target = record.compute, record.compute.schedule, record.target
    charged = schedule.step_of(cost.train_flops)
    if not _close(charged, round(charged)):
        yield "compute.train_flops is no whole number of steps"
    step = round(charged)
    if not _close(schedule.paper_flops(step), cost.paper_flops):
        yield "compute.paper_flops is not 3 x macs_forward_per_example x the examples charged"
    if target.step is not None:
        if not _close(charged, target.step):
            yield "compute.train_flops is not charged up to target.step"
        return
    last = record.curve[-1].step if record.curve else 0
    if step < last:
        yield "compute.train_flops is less than the last evaluation's"
    if record.status == "completed" and step > last and not record.dataset.accepted_changes:
        yield "compute.train_flops is more than the last evaluation's, and status is completed"
    batch_size = max(segment.batch_size for segment in schedule.segments)
    most = record.recipe["epochs"] * _most_train_examples(record) + batch_size
    if schedule.examples(step) > most * (1 + _RELATIVE):
        yield "compute.train_flops is more than recipe.epochs take"


def _most_train_examples(record):
    changes = record.dataset.accepted_changes or ()
    return max([record.dataset.train_examples, *(change["train_examples"] for change in changes)])


def _wrong_timing(record):
    """What the seconds say of the number of steps, and of the utilization."""
    timing, target, curve = record.timing, record.target, record.curve
    schedule, peak = record.compute.schedule, record.hardware.peak_flops_per_second
    if curve and curve[-1].seconds > timing.train_seconds * (1 + _OF_SECONDS) + _OF_SECONDS:
        yield "curve: its seconds are more than timing.train_seconds"
    if peak is None and timing.model_flops_utilization is not None:
        yield "timing.model_flops_utilization has no peak to be of"
    if timing.train_seconds == 0:
        return
    examples = timing.examples_per_second * timing.train_seconds
    if target.reached:
        # The run may have gone on after it.
        least = curve[-1].examples
        if examples < least * (1 - _OF_SECONDS):
            yield "timing.examples_per_second x train_seconds are fewer than the curve's examples"
        if record.status == "diverged" and examples < schedule.examples(target.step + 1) * (
            1 - _OF_SECONDS
        ):
            yield "status is diverged, and nothing was trained after the target was reached"
        return
    step = round(schedule.step_of(record.compute.train_flops))
    if not math.isclose(examples, schedule.examples(step), rel_tol=_OF_SECONDS):
        yield "timing.examples_per_second x train_seconds are not the examples charged"
    rate = schedule.train_flops(step) / timing.train_seconds
    if peak is not None and not math.isclose(
        timing.model_flops_utilization or 0.0, rate / peak, rel_tol=_OF_SECONDS
    ):
        yield "timing.model_flops_utilization is not train_flops / train_seconds / peak"


def _wrong_data(record):
    data = record.dataset
    for skipped, train_examples, where in (
        (data.skipped, data.train_examples, "dataset"),
        *(
            (change["skipped"], change["train_examples"], "dataset.accepted_changes")
            for change in data.accepted_changes or ()
        ),
    ):
        if skipped and not len(skipped["names"]) <= skipped["count"] <= train_examples:
            yield f"{where}: skipped.count is below the names, or above train_examples"
    steps = [change["step"] for change in data.accepted_changes or ()]
    if steps != sorted(steps):
        yield "dataset.accepted_changes: the steps do not rise"
    if record.hardware.process_count > record.hardware.device_count:
        yield "hardware: more processes than devices"
    (first, *later), recipe = record.compute.segments, record.recipe
    if not later and not recipe.get("phases") and first.batch_size != recipe["batch_size"]:
        yield "compute.segments: batch_size is not recipe.batch_size"


def _close(a, b):
    return math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_RELATIVE)
