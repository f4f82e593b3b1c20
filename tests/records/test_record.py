import copy
import json
import os

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
    assert json.loads(path.read_text())["schema_version"] == 1


def _changed(record, path, value):
    *parents, last = path
    place = record
    for key in parents:
        place = place[key]
    place[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "params"), "12", r"\$.model.params: '12' is not of type 'integer'"),
        (("curve", 1, "top1"), 1.5, r"\$.curve\[1\].top1"),
        (("curve", 0, "train_loss"), float("nan"), r"\$.curve\[0\].train_loss.*not finite"),
        (("compute", "train_flops"), -1, r"\$.compute.train_flops"),
        (("status",), "done", r"\$.status"),
        (("surprise",), 1, "surprise"),
        (("compute", "teraflop_s_days"), 1.0, "is not compute.train_flops / 8.64e16"),
        (("compute", "flops_per_image"), 7.0, "flops_per_step is not"),
        (("target", "value"), 0.3, "not the first step of the curve that meets the target"),
        (("target", "step"), 10, "charged up to target.step"),
        (("target", "epoch"), None, "if and only if target.reached"),
        (("curve", 0, "images"), 99, "step x batch_size"),
        (("curve", 0, "step"), 20, "steps do not rise"),
        (("created",), "yesterday", r"\$.created"),
    ],
)
def test_a_wrong_record_is_refused_and_the_field_named(record, tmp_path, path, value, message):
    good = tmp_path / "record.json"
    records.write(good, record)
    before = good.read_bytes()
    wrong = copy.deepcopy(record)
    _changed(wrong, path, value)
    with pytest.raises(UsageError, match=message):
        records.write(good, wrong)
    assert good.read_bytes() == before
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    with pytest.raises(UsageError, match=r"wrong\.json"):
        records.read(tmp_path / "wrong.json")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seed": NaN}', "\x00\xff"])
def test_a_file_that_is_no_record_is_one_clear_line(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(UsageError) as error:
        records.read(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    path.write_bytes(b"old")

    def crash(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="disk full"):
        records.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_software_names_the_versions_that_count():
    versions = records.software()
    assert set(versions) == {
        "python",
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "jaxeff",
        "git_commit",
        "git_dirty",
    }
