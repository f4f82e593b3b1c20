import copy
import json
import os

import pytest

from jaxeff import records
from jaxeff.errors import UsageError

FLOPS_PER_STEP, BATCH_SIZE, MACS = 6000, 10, 95


def _point(step, top1):
    return {
        "step": step,
        "epoch": step / 10,
        "images": step * BATCH_SIZE,
        "train_flops": step * FLOPS_PER_STEP,
        "train_loss": 1.5,
        "top1": top1,
        "top5": 1.0,
        "validation_loss": 1.6,
        "seconds": 0.5 * step,
    }


@pytest.fixture
def record():
    return {
        "schema_version": 1,
        "run_id": "abc",
        "created": "2026-01-02T03:04:05+00:00",
        "command": "python launch/train.py --model=m",
        "model": {"name": "m", "params": 12, "image_size": 8, "num_classes": 10},
        "recipe": {"name": "small", "epochs": 2, "batch_size": BATCH_SIZE, "lr": 0.1},
        "dataset": {
            "name": "d",
            "train_examples": 100,
            "validation_examples": 50,
            "fingerprint": "f",
        },
        "target": {"metric": "top1", "value": 0.5, "reached": True, "step": 20, "epoch": 2},
        "compute": {
            "flops_per_step": FLOPS_PER_STEP,
            "flops_per_image": FLOPS_PER_STEP / BATCH_SIZE,
            "macs_forward_per_image": MACS,
            "convention": "as counted",
            "train_flops": 20 * FLOPS_PER_STEP,
            "teraflop_s_days": 20 * FLOPS_PER_STEP / 8.64e16,
            "paper_flops": 3 * MACS * 200,
            "paper_teraflop_s_days": 3 * MACS * 200 / 8.64e16,
        },
        "curve": [_point(10, 0.4), _point(20, 0.6)],
        "hardware": {
            "platform": "cpu",
            "device_kind": "cpu",
            "device_count": 1,
            "process_count": 1,
            "peak_flops_per_second": None,
        },
        "timing": {
            "compile_seconds": 1.0,
            "train_seconds": 10.0,
            "eval_seconds": 1.0,
            "images_per_second": 20.0,
            "model_flops_utilization": None,
        },
        "software": records.software(),
        "seed": 0,
        "status": "reached",
    }


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
