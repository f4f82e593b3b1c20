"""A run whose damaged examples were replaced or removed goes on where the user accepts that."""

import dataclasses
import shutil

import numpy as np
import optax
import pytest

from jaxeff import records, train
from jaxeff.data.dataset import ArraySource
from jaxeff.errors import UsageError
from jaxeff.train import accounting
from jaxeff.train.progress import Progress
from jaxeff.train.trainer import Trainer
from jaxeff.train.workdir import check_same_run
from tests.train.tiny_run import tiny_run


def run(workdir, epochs=2, fingerprint=None, train_count=None, validation_count=None, **fields):
    """A run on the synthetic examples, or on the first ones of each split."""
    whole = tiny_run(workdir, epochs=epochs, **fields)
    dataset = whole.task.dataset

    def first(source, count):
        return ArraySource(source.images[:count], source.labels[:count])

    dataset = dataclasses.replace(
        dataset,
        train=first(dataset.train, train_count),
        validation=first(dataset.validation, validation_count),
        fingerprint=fingerprint or dataset.fingerprint,
    )
    return dataclasses.replace(whole, task=dataclasses.replace(whole.task, dataset=dataset))


class Killed(BaseException):
    """As if the process had ended there."""


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The workdir of a run that was killed at the end of the second of its two epochs."""
    workdir, evaluate, calls = tmp_path_factory.mktemp("begun"), Trainer.evaluate, []

    def evaluate_once(trainer):
        calls.append(trainer)
        if len(calls) > 1:
            raise Killed
        return evaluate(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "evaluate", evaluate_once)
        with pytest.raises(Killed):
            train.train_to_target(run(workdir))
    return workdir


@pytest.fixture
def interrupted(begun, tmp_path):
    """A copy of that workdir, and its record."""
    shutil.copytree(begun, tmp_path / "run")
    record = records.read(tmp_path / "run" / "record.json")
    assert len(record.curve) == 1
    return tmp_path / "run", record


def test_changed_data_is_refused_and_the_message_says_how_to_go_on(interrupted):
    workdir, before = interrupted
    with pytest.raises(UsageError, match=r"dataset\.fingerprint .* --accept_changed_data"):
        train.train_to_target(run(workdir, fingerprint="changed"))
    assert records.read(workdir / "record.json") == before


def test_accepted_the_run_goes_on_and_its_record_shows_it(interrupted):
    workdir, before = interrupted
    after = train.train_to_target(run(workdir, fingerprint="changed", accept_changed_data=True))
    assert after.status == "completed"
    assert after.run_id == before.run_id
    assert after.curve[0] == before.curve[0]
    assert len(after.curve) == 2
    assert after.dataset.fingerprint == "changed"
    (change,) = after.dataset.accepted_changes
    assert change == {
        "step": before.curve[0].step,
        "fingerprint": before.dataset.fingerprint,
        "train_examples": 500,
        "validation_examples": 101,
        "skipped": None,
    }
    assert records.read(workdir / "record.json") == after
    # Afterwards it is a run on the changed data, which needs no further flag.
    again = train.train_to_target(run(workdir, fingerprint="changed"))
    assert again.dataset.accepted_changes == after.dataset.accepted_changes


def test_examples_may_be_fewer(interrupted):
    workdir, _ = interrupted
    changed = run(workdir, fingerprint="c", train_count=470, validation_count=97, epochs=2)
    with pytest.raises(UsageError, match="accept_changed_data"):
        train.train_to_target(changed)
    after = train.train_to_target(dataclasses.replace(changed, accept_changed_data=True))
    assert (after.dataset.train_examples, after.dataset.validation_examples) == (470, 97)
    assert after.dataset.accepted_changes[0]["train_examples"] == 500
    assert after.curve[-1].step == int(np.ceil(2 * 470 / 32))


def test_fewer_examples_are_refused_where_phases_would_begin_at_other_steps(interrupted):
    workdir, before = interrupted
    phases = [{"from_epoch": 1.0, "batch_size": None, "changes": {"image_size": 16}}]
    before = dataclasses.replace(before, recipe={**before.recipe, "phases": phases})
    fewer = dataclasses.replace(before.dataset, fingerprint="changed", train_examples=470)
    with pytest.raises(UsageError, match="phases, which begin at other steps with 470 training"):
        check_same_run(workdir, dataclasses.replace(before, dataset=fewer), before.to_json(), True)
    replaced = dataclasses.replace(before.dataset, fingerprint="changed")
    check_same_run(workdir, dataclasses.replace(before, dataset=replaced), before.to_json(), True)


def test_examples_may_not_be_more(interrupted):
    workdir, _ = interrupted
    more = run(workdir, fingerprint="changed", accept_changed_data=True)
    images, labels = more.task.dataset.train.images, more.task.dataset.train.labels
    longer = ArraySource(np.concatenate([images, images[:32]]), np.append(labels, labels[:32]))
    dataset = dataclasses.replace(more.task.dataset, train=longer)
    more = dataclasses.replace(more, task=dataclasses.replace(more.task, dataset=dataset))
    with pytest.raises(UsageError, match=r"train_examples is 500 .* 532 here.*not added"):
        train.train_to_target(more)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"seed": 1}, "seed"), ({"lr": 0.01}, "recipe.lr"), ({"target": "top1:0.5"}, "target.value")],
)
def test_nothing_else_may_differ(interrupted, change, field):
    workdir, _ = interrupted
    for fields in ({"fingerprint": "changed"}, {"fingerprint": "changed", "train_count": 470}):
        changed = run(workdir, accept_changed_data=True, **fields, **change)
        with pytest.raises(UsageError, match=f"{field} is"):
            train.train_to_target(changed)


def test_another_optimizer_is_not_taken_for_one_of_fewer_steps(interrupted):
    workdir, _ = interrupted
    changed = run(workdir, fingerprint="changed", train_count=470, accept_changed_data=True)
    recipe = dataclasses.replace(changed.recipe, optimizer=optax.adam(1e-3))
    adam = dataclasses.replace(changed, recipe=recipe)
    with pytest.raises(UsageError, match=r"recipe\.optimizer is"):
        train.train_to_target(adam)


def test_the_flag_changes_nothing_where_the_data_is_the_same(interrupted):
    workdir, before = interrupted
    after = train.train_to_target(run(workdir, accept_changed_data=True))
    assert after.dataset == before.dataset
    assert after.dataset.accepted_changes is None


def test_examples_skipped_before_the_change_stay_in_the_record(tmp_path):
    """They were numbered in the data of then."""
    whole = run(tmp_path)
    cost = accounting.training_cost(whole.make_module(axis_name=None), whole.recipe, whole.task)

    def progress(**fields):
        changed = run(tmp_path, **fields)
        task = dataclasses.replace(changed.task, on_bad_image="skip")
        return Progress(dataclasses.replace(changed, task=task), cost)

    first = progress()
    first.skipped = {3, 499}
    second = progress(fingerprint="changed", train_count=498)
    second.resume(first.to_json())
    record = second.record()
    assert record.dataset.skipped == {"count": 0, "names": []}
    assert record.dataset.accepted_changes[0]["skipped"]["count"] == 2
