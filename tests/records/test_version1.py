"""Records that jaxeff 0.1.0 wrote (`python launch/train.py …` of its last commit) are read."""

import json
import pathlib

import pytest

from jaxeff import records
from jaxeff.errors import UsageError

FOLDER = pathlib.Path(__file__).parent / "version1"


@pytest.mark.parametrize("name", ["reached", "missed"])
def test_a_record_of_version_1_says_the_same_in_version_2(name):
    old = json.loads((FOLDER / f"{name}.json").read_text())
    record = records.read(FOLDER / f"{name}.json")
    assert record.schema_version == 2
    assert record.model.name == old["model"]["name"]
    assert record.task["image_size"] == old["model"]["image_size"]
    assert record.recipe["lr"] == old["recipe"]["lr"]
    assert record.recipe["optimizer"]["chain"][1] == {"trace": {"decay": 0.9}}
    for field in ("metric", "value", "reached", "step", "epoch"):
        assert getattr(record.target, field) == old["target"][field]
    for field in ("train_flops", "teraflop_s_days", "paper_flops", "paper_teraflop_s_days"):
        assert getattr(record.compute, field) == old["compute"][field]
    (segment,) = record.compute.segments
    assert segment.flops_per_step == old["compute"]["flops_per_step"]
    assert segment.macs_forward_per_example == old["compute"]["macs_forward_per_image"]
    for point, before in zip(record.curve, old["curve"], strict=True):
        assert point.examples == before["images"]
        assert point.metrics == {
            "loss": before["validation_loss"],
            "top1": before["top1"],
            "top5": before["top5"],
        }
    assert records.from_json(record.to_json()) == record


def test_a_broken_record_of_version_1_is_refused_and_the_field_named(tmp_path):
    fields = json.loads((FOLDER / "reached.json").read_text())
    fields["curve"][3]["top1"] = 1.5
    (tmp_path / "record.json").write_text(json.dumps(fields))
    with pytest.raises(UsageError, match=r"\$.curve\[3\].top1"):
        records.read(tmp_path / "record.json")


def test_a_record_of_version_1_that_contradicts_itself_is_refused(tmp_path):
    fields = json.loads((FOLDER / "reached.json").read_text())
    fields["target"]["step"] -= 23
    (tmp_path / "record.json").write_text(json.dumps(fields))
    with pytest.raises(UsageError, match="contradicts itself"):
        records.read(tmp_path / "record.json")
