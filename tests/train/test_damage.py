"""Disks that fill up, files that are damaged or gone: nothing is lost, nothing wrong quietly."""

import dataclasses
import json
import os
import shutil
import threading

import numpy as np
import pytest

from jaxeff import train
from jaxeff.errors import UsageError
from jaxeff.train import hooks, parallel, workdir
from jaxeff.train.checkpoints import Checkpoints, objects
from tests.launch.bucket import served_bucket
from tests.train.tiny_run import tiny_run


@pytest.fixture
def checkpoints(tmp_path):
    """Of steps 16 and 32 of a state of 64 KiB."""
    kept = Checkpoints(tmp_path / "checkpoints")
    for step in (16, 32):
        state = {"a": np.random.default_rng(step).random(8192), "b": np.int32(step)}
        kept.save(step, state, {"step": step, "loss_sum": 0.5})
    kept.close()
    return tmp_path / "checkpoints"


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _largest(checkpoint):
    return max(_files(checkpoint / "state"), key=lambda path: path.stat().st_size)


def _flip_a_bit(checkpoint):
    path = _largest(checkpoint)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _cut(checkpoint):
    path = _largest(checkpoint)
    path.write_bytes(path.read_bytes()[:100])


def _empty(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def _other_progress(checkpoint):
    path = next(path for path in _files(checkpoint) if b"loss_sum" in path.read_bytes())
    path.write_text(path.read_text().replace("0.5", "0.6"))


def _foreign(checkpoint):
    checkpoint.rename(checkpoint.with_name("99"))


@pytest.mark.parametrize("damage", [_flip_a_bit, _cut, _empty, _other_progress, _foreign])
def test_a_damaged_checkpoint_is_put_aside_for_the_one_before(checkpoints, damage):
    damage(checkpoints / "32")
    said, again = [], Checkpoints(checkpoints)
    state, progress = again.restore(say=said.append)
    assert progress == {"step": 16, "loss_sum": 0.5}
    np.testing.assert_array_equal(state["a"], np.random.default_rng(16).random(8192))
    assert len(said) == 1
    assert "the checkpoint is damaged" in said[0]
    assert "going on from step 16" in said[0]
    again.save(32, state, {"step": 32})
    again.close()
    assert {path.name for path in checkpoints.iterdir()} == {"16", "32"}
    assert len(list((checkpoints.parent / "damaged").iterdir())) == 1


def test_damage_that_another_process_reads_counts_for_all(checkpoints, monkeypatch):
    asked = []

    def union(numbers):
        asked.append(set(numbers))
        return {1} if len(asked) == 1 else set()

    monkeypatch.setattr(parallel, "union", union)
    said, again = [], Checkpoints(checkpoints)
    assert again.restore(say=said.append)[1]["step"] == 16
    again.close()
    assert "as another process reads it" in said[0]
    assert asked == [set(), set(), set()]
    assert (checkpoints.parent / "damaged" / "checkpoint-32").is_dir()


def test_a_damaged_checkpoint_in_a_bucket_is_put_aside(checkpoints, monkeypatch):
    with served_bucket() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        run = workdir.folder("gs://bucket/damaged-run")
        kept = Checkpoints(run / "checkpoints")
        for step in (16, 32):
            kept.save(step, {"a": np.full(99, step)}, {"step": step, "loss_sum": 0.5})
        kept.close()
        damaged = run / "checkpoints" / "32"
        content = {path.relative_to(damaged): path.read_bytes() for path in objects(damaged)}
        name = next(name for name, text in content.items() if b"loss_sum" in text)
        content[name] = content[name].replace(b"0.5", b"0.6")
        (damaged / name).write_bytes(content[name])
        said, again = [], Checkpoints(run / "checkpoints")
        state, _ = again.restore(say=said.append)
        assert (state["a"] == 16).all()
        again.save(32, {"a": np.full(99, 32)}, {"step": 32})
        again.close()
        assert "going on from step 16" in said[0]
        aside = run / "damaged" / "checkpoint-32"
        assert all((aside / name).read_bytes() == text for name, text in content.items())
        assert Checkpoints(run / "checkpoints").restore()[1]["step"] == 32


def test_without_a_whole_checkpoint_the_way_out_is_said(checkpoints):
    for checkpoint in checkpoints.iterdir():
        _flip_a_bit(checkpoint)
    with pytest.raises(UsageError, match=r"16: the checkpoint is damaged.*from the start"):
        Checkpoints(checkpoints).restore(say=lambda text: None)


def test_a_file_in_the_place_of_the_checkpoints_is_one_error(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(UsageError, match="checkpoints is a file"):
        Checkpoints(tmp_path / "checkpoints")


def test_what_cannot_be_saved_is_said_with_what_is_safe(checkpoints, monkeypatch):
    kept = Checkpoints(checkpoints)

    def full(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr(kept._manager, "save", full)
    with pytest.raises(UsageError, match=r"No space left.*the last whole one is of step 32"):
        kept.save(40, {}, {})
    kept.close()


def test_damaged_lines_of_the_metrics_are_left_out_and_counted(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [b'{"step": %d}\n' % step for step in range(1, 6)]
    path.write_bytes(b"".join([*lines[:2], b"\xff\xfe\n", b'{"step": \n', *lines[2:], b'{"st']))
    log = workdir.MetricLog(tmp_path, step=4)
    log.close()
    assert log.dropped == 2
    assert path.read_bytes() == b"".join(lines[:4])


def test_files_that_killed_writes_left_are_removed(tmp_path):
    for name in (".record.json.abc", ".curve.png.abc", ".metrics.jsonl.abc"):
        (tmp_path / name).write_text("")
    (tmp_path / ".mine").write_text("")
    with workdir.hold(tmp_path, is_writer=True):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", ".mine"}


def test_a_folder_that_is_gone_or_cannot_be_written_is_one_error(tmp_path):
    with pytest.raises(UsageError, match="moved or removed"), workdir.writing(tmp_path / "gone"):
        pass
    full = r"^--workdir=.* cannot be written \(No space left on device\).*make room"
    with pytest.raises(UsageError, match=full), workdir.writing(tmp_path):
        raise OSError(28, os.strerror(28), ".record.json.abc")
    (tmp_path / "metrics.jsonl").mkdir()
    with (
        pytest.raises(UsageError, match=r"metrics\.jsonl: cannot be written \(Is a directory\)"),
        workdir.writing(tmp_path),
    ):
        workdir.MetricLog(tmp_path, step=0)


def test_threads_that_wait_for_ever_are_left_to_themselves():
    hooks.within(0.1, threading.Event().wait)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A complete run of two epochs, of 16 steps each."""
    folder = tmp_path_factory.mktemp("whole")
    return train.train_to_target(tiny_run(folder, epochs=2)), folder


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it that may be damaged."""
    shutil.copytree(whole[1], tmp_path / "run")
    return tmp_path / "run"


def _numbers(record):
    return [dataclasses.replace(point, seconds=0.0) for point in record.curve]


@pytest.mark.slow
@pytest.mark.parametrize("damage", [_flip_a_bit, _cut, _foreign])
def test_a_run_with_a_damaged_checkpoint_ends_the_same(whole, run, damage, capsys):
    damage(run / "checkpoints" / "32")
    again = train.train_to_target(tiny_run(run, epochs=2))
    assert "going on from step 16" in capsys.readouterr().out
    assert _numbers(again) == _numbers(whole[0])


@pytest.mark.slow
def test_lost_checkpoints_are_said_before_starting_again(whole, run, capsys):
    shutil.rmtree(run / "checkpoints")
    again = train.train_to_target(tiny_run(run, epochs=2))
    assert "there is no checkpoint: starting again from step 0" in capsys.readouterr().out
    assert _numbers(again) == _numbers(whole[0])


@pytest.mark.slow
def test_a_cut_record_says_that_it_may_be_removed(run):
    path = run / "record.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(UsageError, match="remove that file"):
        train.train_to_target(tiny_run(run, epochs=2))
    path.unlink()
    train.train_to_target(tiny_run(run, epochs=2))
    assert json.loads(path.read_text())["status"] == "completed"


@pytest.mark.slow
def test_a_workdir_that_is_moved_ends_the_run(tmp_path, monkeypatch):
    from jaxeff.train import output

    show, calls = output.Output.evaluation, []

    def evaluation(*arguments):
        calls.append(1)
        if len(calls) == 2:
            (tmp_path / "run").rename(tmp_path / "elsewhere")
        show(*arguments)

    monkeypatch.setattr(output.Output, "evaluation", evaluation)
    with pytest.raises(UsageError, match="moved or removed"):
        train.train_to_target(tiny_run(tmp_path / "run", epochs=2))
    assert not (tmp_path / "run").exists()
