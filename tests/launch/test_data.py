"""Data of one's own through the commands: what a user hears of it, and what the record keeps."""

import functools
import itertools
import json

import numpy as np
import PIL.Image
import pytest

from jaxeff import records
from tests.launch.commands import NETWORK, assert_one_line_and_exit_2, run_quickly

MODEL = "--model=mobilenet_v1_x0_25"
_train = functools.partial(run_quickly, "train")
_evaluate = functools.partial(run_quickly, "evaluate")


@pytest.fixture
def folder(tmp_path):
    """Two classes, five images each, train and valid."""
    rng = np.random.default_rng(0)
    root = tmp_path / "shades"
    for split, label, i in itertools.product(("train", "valid"), ("bright", "dark"), range(5)):
        (root / split / label).mkdir(parents=True, exist_ok=True)
        pixels = (rng.random((40, 48, 3)) * 50 + 200 * (label == "bright")).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(root / split / label / f"{i}.png")
    return root


def flags(folder, workdir, *further):
    return (
        MODEL,
        "--dataset=image_folder",
        f"--data_dir={folder}",
        "--image_size=32",
        "--batch_size=4",
        "--recipe=small",
        "--epochs=1",
        "--target=top1:1.0",
        "--nostop_at_target",
        f"--workdir={workdir}",
        *further,
    )


def test_arrays_train_and_evaluate_with_the_numbers_of_the_run(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 6
    images = (rng.random((40, 16, 16)) * 40 + 30 * labels[:, None, None]).astype(np.uint8)
    file = tmp_path / "mine.npz"
    np.savez(file, images=images, labels=labels)
    (tmp_path / "net.py").write_text(NETWORK)
    workdir = tmp_path / "run"
    finished = _train(
        f"--model={tmp_path}/net.py:Net",
        "--dataset=arrays",
        f"--data_dir={file}",
        "--split_seed=3",
        "--normalise=measured",
        "--image_size=32",
        "--batch_size=8",
        "--epochs=1",
        "--target=top5:1.0",
        f"--workdir={workdir}",
    )
    assert finished.returncode in (0, 3), finished.stderr
    record = records.read(workdir / "record.json")
    assert record.dataset.name == "mine"
    assert (record.dataset.train_examples, record.dataset.validation_examples) == (34, 6)
    assert record.task["split_seed"] == 3
    assert record.task["mean"] == pytest.approx([images.mean() / 255] * 3, abs=0.05)

    evaluated = _evaluate(f"--workdir={workdir}", f"--data_dir={file}", "--format=json")
    assert evaluated.returncode == 0, evaluated.stderr
    result = json.loads(evaluated.stdout)
    assert result["fingerprint"] == record.dataset.fingerprint
    # Another mean than that of the run would give another loss.
    assert result["loss"] == pytest.approx(record.curve[-1].metrics["loss"], rel=1e-4)


@pytest.mark.slow
def test_what_is_not_read_is_said_and_top5_of_two_classes_is_no_target(folder, tmp_path):
    (folder / "train" / "dark" / "list.txt").write_text("x")
    finished = _train(*flags(folder, tmp_path / "run", "--cache=memory"))
    assert finished.returncode in (0, 3), finished.stderr
    assert "note: passed over, not read as images: 1 .txt (train/dark/list.txt)" in finished.stdout
    finished = _train(*flags(folder, tmp_path / "other", "--target=top5:0.9"))
    assert_one_line_and_exit_2(finished, "--target=top5:0.9", "top1:0.9")
    assert not (tmp_path / "other").exists()


def test_all_that_cannot_be_read_is_named_before_the_first_step(folder, tmp_path):
    cut = folder / "train" / "dark" / "0.png"
    cut.write_bytes(cut.read_bytes()[:2000])
    (folder / "valid" / "bright" / "3.png").write_text("no image")
    arguments = flags(folder, tmp_path / "run")
    finished = _train(*arguments)
    assert_one_line_and_exit_2(finished, "1 of 10 images", "valid/bright/3.png")
    assert "train/dark" not in finished.stderr
    finished = _train(*arguments, "--check_data")
    assert_one_line_and_exit_2(
        finished, "--check_data: 2 of 20 images", "valid/bright/3.png", "train/dark/0.png"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_damaged_file_is_replaced_and_the_same_run_goes_on(folder, tmp_path):
    workdir = tmp_path / "run"
    arguments = flags(folder, workdir)
    damaged = folder / "train" / "dark" / "0.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:2000])
    assert_one_line_and_exit_2(_train(*arguments), "dark/0.png", "--accept_changed_data")
    damaged.write_bytes(whole)
    assert_one_line_and_exit_2(_train(*arguments), "fingerprint", "--accept_changed_data")
    finished = _train(*arguments, "--accept_changed_data")
    assert finished.returncode in (0, 3), finished.stderr
    record = records.read(workdir / "record.json")
    assert record.status == "completed"
    # No step of a checkpoint was trained on the damaged data.
    assert record.dataset.accepted_changes is None


@pytest.mark.slow
def test_a_run_keeps_the_normalisation_that_it_began_with(folder, tmp_path):
    workdir = tmp_path / "run"
    arguments = flags(folder, workdir, "--normalise=measured")
    assert _train(*arguments).returncode in (0, 3)
    before = records.read(workdir / "record.json")
    PIL.Image.new("RGB", (9, 9), "white").save(folder / "train" / "dark" / "0.png")
    finished = _train(*arguments, "--accept_changed_data")
    assert finished.returncode in (0, 3), finished.stderr
    assert "note: the data changed at step 3, accepted" in finished.stdout
    after = records.read(workdir / "record.json")
    assert after.task == before.task
    (change,) = after.dataset.accepted_changes
    assert change["fingerprint"] == before.dataset.fingerprint != after.dataset.fingerprint
