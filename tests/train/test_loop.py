import dataclasses
import json
import math
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxeff import data, records, train
from jaxeff.errors import UsageError
from jaxeff.train import loop, output
from jaxeff.train.curve import draw_curve
from tests.launch.commands import run_copy
from tests.train.tiny_run import tiny_run

ROOT = pathlib.Path(__file__).parents[2]


def _start(workdir, *settings, devices=1):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {
        "XLA_FLAGS": flags,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-m", "tests.train.tiny_run", str(workdir), *settings]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _trained(workdir, *settings, devices=1):
    """The record of a run in one process, which nothing interrupts."""
    program = str(ROOT / "tests" / "train" / "tiny_run.py")
    cpu = {"JAX_PLATFORMS": "cpu"}
    done = run_copy([program, str(workdir), *settings], devices=devices, env=cpu)
    assert done.returncode == 0, done.stderr
    return records.from_json(json.loads(done.stdout.splitlines()[-1]))


def _record(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return records.from_json(json.loads(out.splitlines()[-1]))


def _numbers(record):
    """What a run measured, without its clock."""
    return [dataclasses.replace(point, seconds=0.0) for point in record.curve]


class Lines:
    """A writer of one's own: lines as in `metrics.jsonl`, in a file of its own."""

    def __init__(self, folder, record, step):
        self.folder, self.lines = folder, [{"run": record.run_id, "step": step}]

    def write(self, step, kind, numbers):
        self.lines.append({"step": step, "kind": kind, **numbers})

    def close(self):
        (self.folder / "lines.json").write_text(json.dumps(self.lines))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 3 epochs that nothing interrupted, and its workdir."""
    workdir = tmp_path_factory.mktemp("whole")
    to = (train.writers.TensorBoard, Lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "draw_curve", draw_curve)
        return train.train_to_target(tiny_run(workdir, writers=to)), workdir


def test_a_run_writes_what_it_promises(whole):
    record, workdir = whole
    assert records.read(workdir / "record.json") == record
    assert (workdir / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert list(workdir.glob("events.out.tfevents.*"))
    assert list((workdir / "checkpoints").iterdir())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "validation"] == [1, 2, 3]


def test_writers_are_told_what_the_log_holds(whole):
    record, workdir = whole
    first, *told = json.loads((workdir / "lines.json").read_text())
    assert first == {"run": record.run_id, "step": 0}
    assert told == [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    assert {line["kind"] for line in told} == {"train", "validation"}


def test_every_validation_image_counts_once(whole):
    """101 images, which 32 does not divide: accuracies are whole multiples of 1 / 101."""
    record, _ = whole
    images = len(data.load("synthetic").validation)
    assert images % 32
    for point in record.curve:
        for metric in ("top1", "top5"):
            hits = point.metrics[metric] * images
            np.testing.assert_allclose(hits, round(hits))


def test_an_epoch_is_every_training_image_and_the_charge_is_what_was_seen(whole):
    record, _ = whole
    images = record.dataset.train_examples
    for point in record.curve:
        assert 0 <= point.examples - point.epoch * images < 32
    assert record.compute.train_flops == record.curve[-1].train_flops


def test_the_same_seed_gives_the_same_curve_to_the_last_bit(whole, tmp_path):
    record, _ = whole
    assert _numbers(train.train_to_target(tiny_run(tmp_path))) == _numbers(record)


def test_another_seed_gives_another_curve(whole, tmp_path):
    record, _ = whole
    assert _numbers(train.train_to_target(tiny_run(tmp_path, seed=1))) != _numbers(record)


def test_the_run_stops_at_the_first_evaluation_that_meets_the_target(whole, tmp_path):
    curve = whole[0].curve
    level = max(point.metrics["top1"] for point in curve)
    first = next(i for i, point in enumerate(curve) if point.metrics["top1"] >= level)
    assert first > 0, "a later epoch must cross a level of its own"
    record = train.train_to_target(tiny_run(tmp_path, target=f"top1:{level}"))
    assert record.status == "reached"
    assert record.target == records.Target(
        metric="top1",
        value=level,
        reached=True,
        step=curve[first].step,
        epoch=first + 1,
        stays_from_epoch=first + 1,
    )
    assert _numbers(record) == _numbers(whole[0])[: first + 1]
    assert record.compute.train_flops == curve[first].train_flops


def test_going_on_after_the_target_keeps_the_crossing(whole, tmp_path):
    curve = whole[0].curve
    run = tiny_run(tmp_path, target=f"top1:{curve[0].metrics['top1']}", stop_at_target=False)
    record = train.train_to_target(run)
    assert (record.status, record.target.epoch) == ("completed", 1)
    assert len(record.curve) == 3
    assert record.compute.train_flops == curve[0].train_flops


def test_a_complete_run_is_not_trained_again(whole):
    record, workdir = whole
    again = train.train_to_target(tiny_run(workdir))
    assert again == record


def _run_processes(workdir, processes, devices):
    """The same run in several processes on this machine, `devices` devices in each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    common = (f"coordinator={address}", f"processes={processes}")
    started = [_start(workdir, *common, f"id={i}", devices=devices) for i in range(processes)]
    return [_record(process) for process in started]


@pytest.mark.parametrize(
    ("processes", "devices"), [(1, 4), (2, 2), pytest.param(4, 1, marks=pytest.mark.slow)]
)
def test_devices_and_processes_change_neither_the_counts_nor_the_curve_beyond_rounding(
    whole, tmp_path, processes, devices
):
    one, _ = whole
    if processes == 1:
        shared = [_trained(tmp_path, devices=devices)]
    else:
        shared = _run_processes(tmp_path, processes, devices)
    hardware = shared[0].hardware
    assert (hardware.process_count, hardware.device_count) == (processes, processes * devices)
    assert shared[0].compute == one.compute
    for record in shared[1:]:
        assert _numbers(record) == _numbers(shared[0])
    for a, b in zip(one.curve, shared[0].curve, strict=True):
        assert (a.step, a.examples, a.train_flops) == (b.step, b.examples, b.train_flops)
        np.testing.assert_allclose(a.train_loss, b.train_loss, rtol=1e-3)
        np.testing.assert_allclose(a.metrics["loss"], b.metrics["loss"], rtol=1e-2)


@pytest.mark.parametrize("devices", [1, 4])
def test_images_kept_on_the_devices_give_the_run_of_the_host(whole, tmp_path, devices):
    record, _ = whole
    cached = _trained(tmp_path, "cache_on_devices=True", devices=devices)
    ours, theirs = cached.compute.segments[0], record.compute.segments[0]
    assert ours.flops_per_step > theirs.flops_per_step  # The devices crop, and that is charged.
    assert ours.macs_forward_per_example == theirs.macs_forward_per_example
    for ours, theirs in zip(cached.curve, record.curve, strict=False):
        assert ours.examples == theirs.examples
    # The same crops but for rounding to a grey level.
    first, host = cached.curve[0], record.curve[0]
    assert first.train_loss == pytest.approx(host.train_loss, rel=0.02)
    assert first.metrics["loss"] == pytest.approx(host.metrics["loss"], rel=0.1)


def test_a_signal_ends_the_run_after_a_checkpoint_and_the_rest_is_as_if_it_had_not(whole, tmp_path):
    process = _start(tmp_path, "log_every=1")
    while not (tmp_path / "metrics.jsonl").exists() or not (
        (tmp_path / "metrics.jsonl").read_text().count("\n") > 3
    ):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    interrupted = _record(process)
    assert interrupted.status == "interrupted"
    assert len(interrupted.curve) < 3
    resumed = train.train_to_target(tiny_run(tmp_path))
    assert resumed.run_id == interrupted.run_id
    assert _numbers(resumed) == _numbers(whole[0])


@pytest.mark.parametrize(
    ("quick", "share", "every", "saved"),
    [
        (math.inf, 0.0, 0, [16, 32, 47]),
        (0.0, 1e9, 0, [16, 32, 47]),
        (0.0, 0.0, 0, [16, 47]),
        (0.0, 0.0, 20, [16, 20, 40, 47]),
    ],
    ids=["quick", "seldom", "slow", "asked for"],
)
def test_checkpoints_that_would_take_too_long_are_left_out(
    quick, share, every, saved, tmp_path, monkeypatch
):
    steps = []

    class Noted(loop.Checkpoints):
        def save(self, step, *arguments):
            steps.append(step)
            super().save(step, *arguments)

    monkeypatch.setattr(loop, "Checkpoints", Noted)
    monkeypatch.setattr(loop, "QUICK_CHECKPOINT_SECONDS", quick)
    monkeypatch.setattr(loop, "CHECKPOINTS_SHARE", share)
    record = train.train_to_target(tiny_run(tmp_path, checkpoint_every=every))
    assert [point.step for point in record.curve] == [16, 32, 47]
    assert steps == saved


def test_a_killed_run_resumes_from_its_last_checkpoint(whole, tmp_path):
    process = _start(tmp_path, "log_every=1", "checkpoint_every=4")
    checkpoints = tmp_path / "checkpoints"
    while not checkpoints.exists() or not any(p.name.isdigit() for p in checkpoints.iterdir()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    records.read(tmp_path / "record.json")
    resumed = train.train_to_target(tiny_run(tmp_path, log_every=1))
    assert _numbers(resumed) == _numbers(whole[0])
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"] == "train"]
    assert steps == list(range(1, resumed.curve[-1].step + 1))


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(tmp_path):
    record = train.train_to_target(tiny_run(tmp_path, lr=1e30))
    assert record.status == "diverged"
    assert records.read(tmp_path / "record.json").status == "diverged"


@pytest.mark.parametrize(
    ("change", "field"),
    [({"seed": 7}, "seed"), ({"lr": 0.5}, "recipe.lr"), ({"batch_size": 16}, "")],
)
def test_a_workdir_of_another_run_is_refused_and_left_alone(whole, change, field):
    _, workdir = whole
    before = (workdir / "record.json").read_bytes()
    with pytest.raises(UsageError, match=f"holds another run: {field}"):
        train.train_to_target(tiny_run(workdir, **change))
    assert (workdir / "record.json").read_bytes() == before


def test_two_runs_cannot_share_a_workdir(tmp_path):
    from jaxeff.train import workdir

    with (
        workdir.hold(tmp_path, is_writer=True),
        pytest.raises(UsageError, match="another run is using it"),
    ):
        train.train_to_target(tiny_run(tmp_path))


def test_an_unwritable_workdir_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        train.train_to_target(tiny_run(tmp_path / "file" / "run"))


def test_evaluations_fall_on_complete_epochs_and_on_the_end(tmp_path):
    run = tiny_run(tmp_path, epochs=2.5, eval_every=1.0)
    images, batch = run.task.train_examples, 32
    assert list(run.evaluations().values()) == [1, 2, 2.5]
    for step, epoch in run.evaluations().items():
        assert step * batch >= epoch * images > (step - 1) * batch
    assert run.total_steps == max(run.evaluations())


def test_a_workdir_of_jaxeff_0_1_is_refused_and_left_alone(tmp_path):
    old = pathlib.Path(__file__).parents[1] / "records" / "version1" / "reached.json"
    (tmp_path / "record.json").write_bytes(old.read_bytes())
    with pytest.raises(UsageError, match=r"a run of jaxeff 0\.1\.0"):
        train.train_to_target(tiny_run(tmp_path))
    assert (tmp_path / "record.json").read_bytes() == old.read_bytes()
