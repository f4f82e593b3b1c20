"""A record cannot lie: whatever follows from something else in it is recomputed."""

import copy
import dataclasses
import json
import pathlib

import pytest

from jaxeff import compute, records
from jaxeff.errors import UsageError
from tests.records.example import GROWING, averaged, regression, run

VERSION1 = pathlib.Path(__file__).parent / "version1"


def _edited(fields, edits):
    fields = copy.deepcopy(fields)
    for path, value in edits.items():
        place, *parents = fields, *path.split(".")
        for key in parents[:-1]:
            place = place[int(key) if key.lstrip("-").isdigit() else key]
        place[parents[-1]] = value
    return fields


def _missed(**changes):
    """Three evaluations, none of which meets the target."""
    return run(top1=(0.1, 0.2, 0.3), level=0.5, **changes)


def _charged(record, steps):
    """As if `steps` steps had been charged, with everything that follows from that."""
    schedule = record.compute.schedule
    train_flops, paper_flops = schedule.train_flops(steps), schedule.paper_flops(steps)
    return {
        "compute.train_flops": train_flops,
        "compute.teraflop_s_days": compute.teraflop_s_days(train_flops),
        "compute.paper_flops": paper_flops,
        "compute.paper_teraflop_s_days": compute.teraflop_s_days(paper_flops),
    }


CROSSING = run(top1=(0.4, 0.6, 0.4))
MISSED = _missed()
DENSE = _missed(recipe={**MISSED.recipe, "eval_every": 1.0})


@pytest.mark.parametrize(
    ("record", "edits", "message"),
    [
        (CROSSING, {"target.epoch": 0.001}, "target.epoch do not follow"),
        (CROSSING, {"target.stays_from_epoch": 2.0}, "stays_from_epoch is not"),
        (run(), {"status": "diverged"}, "nothing was trained after the target"),
        (MISSED, {"status": "reached"}, "no evaluation meets the target"),
        (MISSED, {"target.reached": True}, "target.reached and target.epoch do not follow"),
        (CROSSING, {"target.reached": False}, "target.reached and target.epoch do not follow"),
        (MISSED, {"status": "completed", "recipe.epochs": 4.0}, "does not end at recipe.epochs"),
        (CROSSING, {"recipe.epochs": 2.5}, "goes on after recipe.epochs"),
        (MISSED, _charged(MISSED, 15), "less than the last evaluation's"),
        (MISSED, _charged(MISSED, 60), "more than the last evaluation's, and status is completed"),
        (MISSED, {"status": "diverged"} | _charged(MISSED, 60), "more than recipe.epochs take"),
        (
            MISSED,
            {"status": "interrupted", "recipe.epochs": 9.0} | _charged(MISSED, 60),
            "are not the examples charged",
        ),
        (MISSED, {"curve.1.metrics.top5": 0.1}, "step 20: top1 is above top5"),
        (MISSED, {"curve.1.metrics.top1": 1.5, "curve.1.metrics.top5": 1.5}, "top1 is 1.5, and no"),
        (MISSED, {"target.value": 50.0}, "target.value 50 is no fraction"),
        (MISSED, {"curve.1.epoch": 0.5}, "the epochs do not rise"),
        (MISSED, {"curve.1.epoch": 2.2}, "first that has seen epoch x train_examples"),
        (MISSED, {"curve.1.epoch": 1.7}, "first that has seen epoch x train_examples"),
        (MISSED, {"curve.1.seconds": 1.0}, "the seconds do not rise"),
        (MISSED, {"timing.train_seconds": 12.0}, "its seconds are more than"),
        (MISSED, {"timing.examples_per_second": 21.0}, "are not the examples charged"),
        (run(), {"timing.examples_per_second": 19.0}, "fewer than the curve's examples"),
        (MISSED, {"timing.model_flops_utilization": 0.5}, "no peak to be of"),
        (
            MISSED,
            {"hardware.peak_flops_per_second": 1e6, "timing.model_flops_utilization": 0.5},
            "is not train_flops / train_seconds / peak",
        ),
        (MISSED, {"hardware.process_count": 2}, "more processes than devices"),
        (MISSED, {"recipe.batch_size": 20}, "batch_size is not recipe.batch_size"),
        (MISSED, {"dataset.train_examples": 200}, "first that has seen epoch x train_examples"),
        (MISSED, {"dataset.skipped": {"count": 101, "names": []}}, "above train_examples"),
        (MISSED, {"dataset.skipped": {"count": 0, "names": ["a"]}}, "below the names"),
        (DENSE, {"curve": [DENSE.to_json()["curve"][i] for i in (0, 2)]}, "no evaluation between"),
        (MISSED, {"created": "9999-99-99T00:00:00Z"}, "created '9999-99-99T00:00:00Z' is no date"),
        (MISSED, {"created": "9999-12-31T00:00:00Z"}, "is not in 1940 to 2100"),
        (MISSED, {"model.published": "9999-12-31"}, "is not in 1940 to 2100"),
        (MISSED, {"model.published": "soon"}, "model.published 'soon' is no date"),
    ],
)
def test_what_follows_from_something_else_is_recomputed(record, edits, message):
    assert records.from_json(record.to_json()) == record
    with pytest.raises(UsageError) as error:
        records.from_json(_edited(record.to_json(), edits))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"target.epoch": 0.001}, "target.epoch do not follow"),
        ({"status": "diverged"}, "nothing was trained after the target"),
        ({"target.reached": False}, "target.reached"),
        ({"curve.3.top5": 0.1}, "top1 is above top5"),
        ({"curve.3.epoch": 1.5}, "the epochs do not rise"),
        ({"curve.3.epoch": 4.5}, "first that has seen"),
        ({"timing.images_per_second": 1.0}, "fewer than the curve's"),
    ],
)
def test_a_record_of_version_1_is_held_to_the_same(edits, message):
    fields = json.loads((VERSION1 / "reached.json").read_text())
    with pytest.raises(UsageError) as error:
        records.from_json(_edited(fields, edits))
    assert message in str(error.value)


def _on_a_device(record):
    """On a device whose peak is known."""
    rate = record.compute.train_flops / record.timing.train_seconds
    return dataclasses.replace(
        record,
        hardware=dataclasses.replace(record.hardware, peak_flops_per_second=1e5),
        timing=dataclasses.replace(record.timing, model_flops_utilization=rate / 1e5),
    )


def _interrupted(record, steps):
    """Some steps after its last evaluation, of a longer schedule."""
    seconds = 0.5 * steps
    fields = _edited(
        record.to_json(),
        {
            "status": "interrupted",
            "recipe.epochs": 10.0,
            "timing.train_seconds": seconds,
            "timing.examples_per_second": record.compute.schedule.examples(steps) / seconds,
        }
        | ({} if record.target.reached else _charged(record, steps)),
    )
    return records.Record.from_json(fields)


def _changed_data(record):
    """It saw 90 images first, and 100 were there at the beginning."""
    change = {
        "step": 15,
        "fingerprint": "e",
        "train_examples": 100,
        "validation_examples": 50,
        "skipped": None,
    }
    later = dataclasses.replace(record.curve[-1], epoch=30 * 10 / 90 - 0.05)
    return dataclasses.replace(
        record,
        dataset=dataclasses.replace(
            record.dataset, train_examples=90, accepted_changes=(change, {**change, "step": 20})
        ),
        curve=(*record.curve[:-1], later),
        recipe={**record.recipe, "epochs": 4.0},
    )


@pytest.mark.parametrize(
    "record",
    [
        run(top1=(0.4, 0.6, 0.4), segments=GROWING),
        averaged((0.3, 0.4), (0.4, 0.6), 0.5),
        regression(),
        _on_a_device(_missed()),
        _interrupted(_missed(), 33),
        _interrupted(run(), 27),
        dataclasses.replace(_interrupted(run(), 27), status="diverged"),
        dataclasses.replace(_interrupted(run(), 27), status="running"),
        dataclasses.replace(run(top1=(0.4, 0.6, 0.4)), status="completed"),
        _changed_data(_missed()),
    ],
    ids=[
        "images that grow",
        "an average",
        "another task",
        "on a device",
        "interrupted between evaluations",
        "gone on after the target and interrupted",
        "gone on after the target and diverged",
        "gone on after the target",
        "completed after the target",
        "changed data",
    ],
)
def test_what_runs_write_is_valid(record):
    assert records.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_run_that_diverges_at_once_has_a_valid_record():
    record = _missed()
    fields = _edited(
        record.to_json(),
        {
            "curve": [],
            "status": "diverged",
            "timing.train_seconds": 2.0,
            "timing.examples_per_second": 15.0,
        }
        | _charged(record, 3),
    )
    assert records.from_json(fields).curve == ()


def test_accuracies_of_another_kind_are_not_taken_for_fractions():
    """A task without classes may call what it likes top-1, such as a percentage."""
    record = regression()
    fields = _edited(record.to_json(), {"task.metrics": {"loss": "min", "top1": "max"}})
    for point in fields["curve"]:
        point["metrics"]["top1"] = 98.0
    assert records.from_json(fields).curve[0].metrics["top1"] == 98.0
