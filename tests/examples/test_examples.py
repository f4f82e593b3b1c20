"""Every example runs by the command on its top, here with a few small images."""

import json
import shlex
import subprocess
import sys

import pytest

from tests.launch.commands import NETWORK, ROOT, run_quickly

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# One epoch of small images in the place of the command's own.
SHORT = "--epochs=1 --image_size=16 --nostop_at_target --workdir={}/run"
# A tiny network in the place of one that an example is not about.
MODELS = {"my_model": "--model_args=width=8"}


def commands_of(path):
    """The indented lines on top of the file, each with those that a backslash joins to it."""
    docstring = path.read_text(encoding="utf-8").split('"""')[1].replace("\\\\\n", "")
    return [shlex.split(line) for line in docstring.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_by_its_command(path, tmp_path):
    commands = commands_of(path)
    assert commands
    for program, *arguments in commands:
        if program == "python":
            script, written = ROOT / arguments[0], tmp_path / arguments[-1]
            subprocess.run([sys.executable, script, written], check=True, timeout=60)
            continue
        assert program == "jaxeff"
        name, *flags = (
            part.replace("=shapes.npz", f"={tmp_path}/shapes.npz") for part in arguments
        )
        if name == "train":
            (tmp_path / "net.py").write_text(NETWORK)
            flags += shlex.split(SHORT.format(tmp_path))
            flags.append(MODELS.get(path.stem, f"--model={tmp_path}/net.py:Net"))
        done = run_quickly(name, *flags)
        assert done.returncode in (0, 3), done.stderr
        assert not done.stderr
        if name == "train":
            check_record(path.stem, json.loads((tmp_path / "run" / "record.json").read_text()))


def check_record(example, record):
    """What the example is about is in the record."""
    recipe, segments = record["recipe"], record["compute"]["segments"]
    if example == "my_model":
        assert record["model"]["name"] == "SEResNet"
        assert record["model"]["published"] == "2017-09-05"
        assert recipe["name"] == "small"
        return
    assert recipe["source"] is None if example == "my_data" else len(recipe["source"]) == 64
    if example == "my_recipe":
        assert recipe["batch_transforms"] == [{"Mixup": {"alpha": 0.2}}]
        assert record["curve"][0]["ema_metrics"]
    if example == "progressive_resizing":
        assert [segment["image_size"] for segment in segments] == [8, 12, 16]
        assert segments[0]["flops_per_step"] < segments[2]["flops_per_step"] / 2
    if example == "fewer_flops":
        assert [segment["image_size"] for segment in segments] == [12, 16]
        assert "nesterov" in json.dumps(recipe["optimizer"])
    if example == "muon":
        assert "muon" in json.dumps(recipe["optimizer"])
    if example == "my_data":
        assert record["dataset"]["name"] == "shapes"
        assert record["task"]["num_classes"] == 3
