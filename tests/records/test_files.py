import copy
import dataclasses
import json

import pytest

from jaxeff import records
from jaxeff.errors import UsageError
from tests.records.example import run


@pytest.fixture
def record():
    return run(top1=(0.4, 0.6), level=0.5, software=records.software())


def test_what_is_written_is_read_again(record, tmp_path):
    path = tmp_path / "record.json"
    records.write(path, record)
    assert records.read(path) == record
    assert json.loads(path.read_text())["schema_version"] == 2


def _changed(fields, path, value):
    *parents, last = path
    fields = copy.deepcopy(fields)
    place = fields
    for key in parents:
        place = place[key]
    place[last] = value
    return fields


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "params"), "12", r"\$.model.params: '12' is not of type 'integer'"),
        (("curve", 1, "metrics", "top1"), "0.5", r"\$.curve\[1\].metrics.top1"),
        (("curve", 0, "train_loss"), float("nan"), "NaN is not a JSON number"),
        (("compute", "train_flops"), -1, r"\$.compute.train_flops"),
        (("compute", "segments"), [], r"\$.compute.segments"),
        (("task", "metrics", "top1"), "up", r"\$.task.metrics.top1"),
        (("status",), "done", r"\$.status"),
        (("surprise",), 1, "surprise"),
        (("created",), "yesterday", r"\$.created"),
        (("compute", "teraflop_s_days"), 1.0, "is not compute.train_flops / 8.64e16"),
        (("compute", "segments", 0, "flops_per_step"), 7001, "whole number of steps"),
        (("compute", "segments", 0, "from_step"), 3, "begin at step 0"),
        (("compute", "segments", 0, "macs_forward_per_example"), 96, "paper_flops is not 3 x"),
        (("target", "value"), 0.3, "not the first step of the curve that meets the target"),
        (("target", "metric"), "top2", "none of task.metrics"),
        (("target", "step"), 10, "charged up to target.step"),
        (("target", "epoch"), None, "target.epoch do not follow"),
        (("target", "stays_from_epoch"), 1, "stays_from_epoch is not"),
        (("curve", 0, "metrics"), {"loss": 1.0}, "have the metrics that task.metrics names"),
        (("curve", 0, "examples"), 99, "step x batch_size"),
        (("curve", 0, "train_flops"), 99, "step x flops_per_step"),
        (("curve", 0, "step"), 20, "steps do not rise"),
    ],
)
def test_a_wrong_record_is_refused_and_the_field_named(record, tmp_path, path, value, message):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(_changed(record.to_json(), path, value)))
    with pytest.raises(UsageError, match=message) as error:
        records.read(wrong)
    assert str(wrong) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"recipe": ' + "[" * 1000 + "]" * 1000 + "}", "nested (too|more than 100) deep"),
        ("[" * 100_000, "nested too deep"),
        ('{"recipe": ' + "[" * 300 + "]" * 300 + "}", "nested more than 100 deep"),
        ('{"recipe": ' + '{"a": ' * 300 + "1" + "}" * 301, "nested more than 100 deep"),
        ('{"lr": 1' + 400 * "0" + "}", "an integer of 401 digits"),
        ('{"lr": ' + 5000 * "9" + "}", "an integer of 5000 digits"),
        ('{"lr": 1e400}', "not finite"),
        ('{"lr": -1e400}', "not finite"),
        (r'{"command": "\ud800"}', "half of a character"),
        (r'{"recipe": {"\udfff": 1}}', r"\$.recipe: a name in it is no text"),
    ],
)
def test_json_that_nothing_can_go_on_with_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        records.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("compute", "train_flops"), 1e308, "greater than the maximum of 1e"),
        (("curve", 0, "metrics", "loss"), 1e308, "greater than the maximum of 1e"),
        (("timing", "train_seconds"), 1e308, "greater than the maximum of 1e"),
        (("recipe", "epochs"), 1e308, "greater than the maximum of 1e"),
        (("model", "params"), 10**40, "more than 40 digits"),
        (("model", "name"), "x" * 2001, "is too long"),
        (("recipe", "eval_every"), [0.5], "recipe.eval_every"),
        (("recipe", "dtype"), ["float32"], "recipe.dtype"),
    ],
)
def test_numbers_and_names_have_bounds(record, path, value, message):
    with pytest.raises(UsageError, match=message):
        records.from_json(_changed(record.to_json(), path, value))


def test_a_file_that_does_not_end_is_not_read_to_its_end(record):
    with pytest.raises(UsageError, match="at most 20 MB"):
        records.read("/dev/zero")


def test_names_in_other_encodings_are_written_out(record, tmp_path):
    path = tmp_path / "record.json"
    records.write(path, dataclasses.replace(record, command="train --data_dir=caf\udce9 ü"))
    assert records.read(path).command == r"train --data_dir=caf\udce9 ü"


def test_a_wrong_record_is_not_written_over_a_right_one(record, tmp_path):
    path = tmp_path / "record.json"
    records.write(path, record)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="status"):
        records.write(path, dataclasses.replace(record, status="done"))
    diverged = dataclasses.replace(record.curve[0], train_loss=float("nan"))
    with pytest.raises(UsageError, match=r"\$.curve\[0\].train_loss: the number is not finite"):
        records.write(path, dataclasses.replace(record, curve=(diverged, record.curve[1])))
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seed": NaN}', "\x00\xff"])
def test_a_file_that_is_no_record_is_one_clear_line(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(UsageError) as error:
        records.read(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
