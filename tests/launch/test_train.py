import functools
import json
import re
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from jaxeff import records
from tests.launch.commands import NETWORK, ROOT, assert_one_line_and_exit_2, run_quickly

FLAGS = re.findall(
    r"\w+",
    """
    model dataset data_dir image_size batch_size epochs recipe lr target stop_at_target eval_every
    seed dtype workdir num_workers log_every checkpoint_every profile coordinator_address
    num_processes process_id train_split validation_split split_seed normalise check_data
    accept_changed_data
    """,
)
_train = functools.partial(run_quickly, "train")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two classes, five images each, train and validation."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("bright", "dark"):
            (folder / split / label).mkdir(parents=True)
            for i in range(5):
                level = 200 if label == "bright" else 20
                pixels = (rng.random((40, 48, 3)) * 50 + level).astype(np.uint8)
                PIL.Image.fromarray(pixels).save(folder / split / label / f"{i}.png")
    return folder


def test_help_is_a_page_and_names_every_flag():
    finished = _train("--help")
    assert finished.returncode == 0
    assert "python launch/train.py --model=shufflenet_v2" in finished.stdout
    for flag in FLAGS:
        assert f"--{flag}" in finished.stdout or f"--[no]{flag}" in finished.stdout, flag


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["--model is missing", "shufflenet_v2"]),
        (["--model=shufflenet"], ["unknown model 'shufflenet'", "shufflenet_v2"]),
        (["--modle=alexnet"], ["modle", "model"]),
        (["--model=alexnet", "--dataset=digit"], ["digit", "digits"]),
        (["--model=alexnet", "--recipe=papr"], ["unknown recipe 'papr'", "paper"]),
        (["--model=alexnet", "--target=0.9"], ["--target=0.9", "top1:0.95"]),
        (["--model=alexnet", "--epochs=-1"], ["--epochs=-1"]),
        (["--model=alexnet", "--eval_every=0"], ["--eval_every=0"]),
        (["--model=alexnet", "--seed=-1"], ["seed"]),
        (["--model=alexnet", "--dtype=float16"], ["dtype", "bfloat16"]),
        (["--model=alexnet", "digits"], ["unexpected argument 'digits'"]),
        (["--model=alexnet", "--dataset=image_folder"], ["--data_dir"]),
        (["--model=alexnet", "--dataset=image_folder", "--data_dir=/nowhere"], ["/nowhere"]),
        (["--model=alexnet", "--num_processes=2"], ["--coordinator_address"]),
        (["--model=alexnet", "--train_split=train[:50%]"], ["--train_split", "'digits'"]),
        (["--model=alexnet", "--split_seed=1"], ["--split_seed=1", "'digits'"]),
        (["--model=alexnet", "--dataset=arrays"], ["--data_dir=FILE", ".npz"]),
        (["--model=alexnet", "--log_to=tensorbord"], ["--log_to=tensorbord", "tensorboard, wandb"]),
        (["--model=alexnet", "--log_to=tensorboard,w.py:W"], ["w.py: cannot be read"]),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_2(flags, words, tmp_path):
    assert_one_line_and_exit_2(run_quickly("train", *flags, cwd=tmp_path), *words)
    assert not list(tmp_path.iterdir())


def test_a_batch_that_the_devices_cannot_share_is_refused(tmp_path):
    finished = _train("--model=alexnet", "--batch_size=30", devices=4, cwd=tmp_path)
    assert_one_line_and_exit_2(finished, "--batch_size=30", "4 devices", "28 or 32")


def test_a_folder_of_images_needs_a_target(images, tmp_path):
    finished = _train(
        "--model=alexnet", "--dataset=image_folder", f"--data_dir={images}", cwd=tmp_path
    )
    assert_one_line_and_exit_2(finished, "--target is missing", "top1:0.55")


def test_training_on_images_leaves_a_valid_record_and_says_what_it_took(images, tmp_path):
    flags = (
        "--model=mobilenet_v1_x0_25",
        "--dataset=image_folder",
        f"--data_dir={images}",
        "--image_size=64",
        "--recipe=small",
        "--batch_size=4",
        "--epochs=2",
        "--target=top1:1.0",
        "--nostop_at_target",
        "--num_workers=1",
        f"--workdir={tmp_path / 'run'}",
    )
    finished = _train(*flags)
    record = records.read(tmp_path / "run" / "record.json")
    assert finished.returncode == (0 if record.target.reached else 3), finished.stderr
    assert record.status == "completed"
    assert [point.step for point in record.curve] == [3, 5]
    assert "launch/train.py --model=mobilenet_v1_x0_25" in record.command
    assert record.environment.kernels.startswith("cpu: ")
    assert f"{record.compute.train_flops:.4g}" in finished.stdout
    assert str(tmp_path / "run" / "record.json") in finished.stdout
    again = _train(*flags)
    assert again.returncode == finished.returncode
    assert "already complete" in again.stdout


@pytest.mark.slow
def test_a_file_that_is_no_picture_ends_the_run_with_its_name_or_is_skipped(images, tmp_path):
    folder = tmp_path / "broken"
    for picture in images.rglob("*.png"):
        copy = folder / picture.relative_to(images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(picture.read_bytes())
    (folder / "train" / "dark" / "0.png").write_text("not a picture")
    arguments = (
        "--model=mobilenet_v1_x0_25",
        "--cpu_kernels=xla",
        "--dataset=image_folder",
        f"--data_dir={folder}",
        "--image_size=64",
        "--target=top1:1.0",
        "--batch_size=10",
        "--epochs=1",
        f"--workdir={tmp_path / 'run'}",
    )
    assert_one_line_and_exit_2(_train(*arguments), "train/dark/0.png")
    skipping = _train(*arguments, "--on_bad_image=skip")
    assert skipping.returncode in (0, 3), skipping.stderr
    assert "1 training images: unreadable" in skipping.stdout
    record = records.read(tmp_path / "run" / "record.json")
    assert record.dataset.skipped["count"] == 1
    assert record.dataset.skipped["names"][0].endswith("train/dark/0.png")
    assert record.curve[-1].examples == 10
    assert record.environment.kernels == "xla"


def test_a_run_that_cannot_learn_exits_4(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    finished = _train(
        f"--model={tmp_path}/net.py:Net",
        "--cpu_kernels=xla",
        "--dataset=synthetic",
        "--image_size=32",
        "--epochs=1",
        "--lr=1e30",
        f"--workdir={tmp_path}",
    )
    assert finished.returncode == 4, finished.stderr
    assert json.loads((tmp_path / "record.json").read_text())["status"] == "diverged"


def test_what_is_set_is_in_the_name_of_the_default_folder():
    program = (
        "import sys; sys.path.insert(0, 'launch'); import train; from absl import flags; "
        "flags.FLAGS(['train', '--lr=0.5', '--target=top1:0.9', '--seed=2', '--eval_every=1']); "
        "print(train._overridden())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "['lr0.5', 'targettop1_0.9']\n"
