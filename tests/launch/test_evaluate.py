import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

import models
from jaxeff import data
from jaxeff.tasks.image_classification import normalise
from models.torch_weights import convert, read_state_dict, torch_name
from tests.launch.commands import ROOT, assert_one_line_and_exit_2, run_quickly
from tests.models import seeded

_evaluate = functools.partial(run_quickly, "evaluate")
NAME = "mobilenet_v1_x0_25"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights in PyTorch's names and layout, for ten classes."""
    module = models.create(NAME, 10)
    images = np.zeros((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    state = {}
    for path, leaf in traverse_util.flatten_dict(shapes).items():
        axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(leaf.shape), (0,))
        shape = tuple(leaf.shape[axis] for axis in axes)
        state[torch_name(path)] = seeded.weight(torch_name(path), shape)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    safetensors.numpy.save_file(state, path)
    return path, state


def test_pytorch_weights_are_measured_over_every_image(weights):
    path, state = weights
    finished = _evaluate(
        f"--model={NAME}",
        f"--torch_weights={path}",
        "--dataset=synthetic",
        "--image_size=64",
        "--batch_size=32",
        "--format=json",
        devices=4,
    )
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    dataset = data.load("synthetic", image_size=64)
    (batch,) = data.validation_batches(dataset, 64, batch_size=101)
    images = normalise(batch["image"], dataset.mean, dataset.std)
    logits = np.asarray(models.create(NAME, 10).apply(convert(NAME, state), images))
    ranks = (logits > logits[np.arange(101), batch["label"]][:, None]).sum(-1)
    assert result["images"] == 101
    assert result["top1"] == pytest.approx((ranks < 1).mean())
    assert result["top5"] == pytest.approx((ranks < 5).mean())
    logits = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    losses = np.log(np.exp(logits).sum(-1)) - logits[np.arange(101), batch["label"]]
    assert result["loss"] == pytest.approx(losses.mean(), rel=1e-4)


@pytest.mark.slow
def test_a_pth_file_holds_the_same_weights(weights, tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[bench]'")
    path, state = weights
    arrays = {name: torch.from_numpy(array) for name, array in state.items()}
    torch.save(arrays, tmp_path / "plain.pth")
    torch.save({"state_dict": arrays, "epoch": 3}, tmp_path / "checkpoint.pt")
    expected = read_state_dict(path)
    for name in ("plain.pth", "checkpoint.pt"):
        read = read_state_dict(tmp_path / name)
        assert read.keys() == expected.keys()
        assert all(np.array_equal(read[key], expected[key]) for key in expected)
    flags = (f"--model={NAME}", "--dataset=synthetic", "--image_size=64", "--format=json")
    results = [
        json.loads(_evaluate(*flags, f"--torch_weights={file}").stdout)
        for file in (path, tmp_path / "plain.pth")
    ]
    assert results[0].pop("weights") != results[1].pop("weights")
    assert results[0] == results[1]


def test_code_in_a_pth_file_does_not_run(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[bench]'")

    class Evil:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "ran",)

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    assert_one_line_and_exit_2(
        _evaluate(f"--model={NAME}", f"--torch_weights={tmp_path / 'evil.pth'}"), "evil.pth"
    )
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_evaluated_is_one_line_and_exit_2(weights, tmp_path):
    path, _ = weights
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    (tmp_path / "weights.txt").write_text("")
    for flags, words in (
        ([], ["--workdir=FOLDER or --model"]),
        ([f"--torch_weights={path}"], ["--model is missing"]),
        (["--model=alexnet", f"--torch_weights={path}"], ["not those of alexnet"]),
        ([f"--model={NAME}", f"--torch_weights={tmp_path}/none.pth"], ["no such file"]),
        ([f"--model={NAME}", f"--torch_weights={tmp_path}/weights.txt"], [".safetensors"]),
        ([f"--model={NAME}", f"--torch_weights={tmp_path}/broken.safetensors"], ["broken"]),
        ([f"--workdir={tmp_path}"], ["no run of train.py"]),
    ):
        assert_one_line_and_exit_2(run_quickly("evaluate", *flags), *words)


# In a process of its own, since importing a command defines its flags.
FIND = """
import dataclasses, json, sys
import evaluate
from tests.records.example import run

for name, settings, data_dir in json.loads(sys.argv[1]):
    record = run()
    record = dataclasses.replace(
        record,
        task={**record.task, **settings},
        dataset=dataclasses.replace(record.dataset, name=name),
    )
    print(evaluate.dataset_of(record, data_dir))
"""


def test_a_folder_is_read_as_one_whatever_it_is_called(tmp_path):
    images, prepared = tmp_path / "images", tmp_path / "prepared"
    (images / "train").mkdir(parents=True)
    (prepared / "imagenet2012").mkdir(parents=True)
    cases = [
        ("digits", {}, None, "digits"),
        ("digits", {}, str(images), "image_folder"),
        ("imagenet2012", {}, str(images), "image_folder"),
        ("imagenet2012", {}, str(prepared), "imagenet2012"),
        ("cifar10", {"train_split": "train[:90%]"}, None, "cifar10"),
        ("flowers", {}, str(images), "image_folder"),
        ("digits", {"source": "arrays"}, "mine.npz", "arrays"),
    ]
    found = subprocess.run(
        [sys.executable, "-c", FIND, json.dumps([case[:3] for case in cases])],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'launch'}"},
        check=True,
    )
    assert found.stdout.split() == [case[3] for case in cases]
