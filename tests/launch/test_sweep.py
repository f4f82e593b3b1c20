"""Many runs, killed and taken up again, to one table."""

import collections
import csv
import dataclasses
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from jaxeff.errors import UsageError
from tests.launch.commands import ROOT, assert_one_line_and_exit_2, run_command, run_quickly
from tests.records import example

sys.path.append(str(ROOT / "launch"))
import sweep_runs

NETS = """
import jax.numpy as jnp
from flax import linen as nn


class Wide(nn.Module):
    num_classes: int
    width: int = 32

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Conv(self.width, (5, 5), 4)(x))
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))


class Narrow(Wide):
    width: int = 8


class Broken(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.num_classes)(x.mean((1, 2))) / 0.0
"""
COMMON = (
    "--dataset=synthetic",
    "--recipe=small",
    "--eval_every=0.5",
    "--noreport",
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "nets.py").write_text(NETS, encoding="utf-8")
    return tmp_path


def _flags(folder, *nets, target="top1:0.5", seeds="0-2", further=""):
    models = ",".join(f"{folder}/nets.py:{net}" for net in nets)
    return (
        f"--models={models}",
        f"--seeds={seeds}",
        f"--target={target}",
        f"--train_flags=--image_size=16 --epochs=6 {further}",
        *COMMON,
    )


def _table(out):
    with open(out / "factors.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_other_seeds_wait_for_the_program_that_the_first_compiles(tmp_path, monkeypatch):
    first, second, third = (
        sweep_runs.Configuration(tmp_path, model, None, "digits", ()) for model in "abc"
    )
    waiting = [c.run(seed) for c in (first, second, third) for seed in (0, 1)]
    running, begun = [], collections.Counter()

    def start():
        run = sweep_runs.next_run(waiting, running, begun)
        waiting.remove(run)
        running.append(run)
        begun[run.configuration] += 1
        return run

    assert [start() for _ in range(2)] == [first.run(0), second.run(0)]
    running.remove(first.run(0))
    # A configuration that has no seed yet comes before the second seed of one that has.
    assert [start(), start()] == [third.run(0), first.run(1)]
    # No seed waits for a first that has evaluated.
    evaluated = example.run()
    with monkeypatch.context() as patch:
        patch.setattr(
            sweep_runs, "_read", lambda path: evaluated if "b-digits" in str(path) else None
        )
        assert sweep_runs.next_run(waiting, running, begun) == second.run(1)
    # Where nothing else is left, a seed compiles for itself rather than wait.
    assert start() == second.run(1)
    running.remove(third.run(0))
    assert start() == third.run(1)


@pytest.mark.slow
def test_a_sweep_killed_again_and_again_ends_with_the_same_table(folder):
    flags = (*_flags(folder, "Wide", "Narrow"), "--reference=Wide", "--parallel=2")
    done = run_command("sweep", *flags, f"--out={folder / 'whole'}")
    assert done.returncode == 0, done.stderr + done.stdout
    rows = _table(folder / "whole")
    assert {row["model"] for row in rows} == {"Wide", "Narrow"}
    for row in rows:
        assert row["seeds"] == "0 1 2"
        assert float(row["train_flops_low"]) <= float(row["train_flops"])
    assert "x less than Wide" in done.stdout

    chance, out = random.Random(0), folder / "killed"
    command = [sys.executable, str(ROOT / "launch" / "sweep.py"), *flags, f"--out={out}"]
    command.append("--nokeep_checkpoints")
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        time.sleep(chance.uniform(3, 9))
        process.send_signal(number)
        process.communicate(timeout=120)
        if number == signal.SIGTERM:  # Before it listens, there is nothing to lose.
            assert process.returncode in (0, 75, -signal.SIGTERM)
        else:
            _wait_for_orphans(out)
    again = run_command("sweep", *flags, f"--out={out}", "--nokeep_checkpoints")
    assert again.returncode == 0, again.stderr + again.stdout
    assert (out / "factors.csv").read_text() == (folder / "whole" / "factors.csv").read_text()

    assert not list(out.glob("*/checkpoints"))
    assert len(list((folder / "whole").glob("*/checkpoints"))) == 6

    third = run_command("sweep", *flags, f"--out={out}")
    assert "6 of 6 runs are done already" in third.stdout
    plan = run_command("sweep", *flags, f"--out={out}", "--dry_run")
    assert plan.stdout.count(": done, ") == 6


def _wait_for_orphans(out):
    """A killed sweep leaves its runs behind; they end by themselves, and hold their folders."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
        if str(out) not in listed.stdout:
            return
        time.sleep(0.5)
    raise AssertionError("a run of the killed sweep did not end")


@pytest.mark.slow
def test_a_run_that_diverges_is_infinite_and_one_that_fails_is_named(folder):
    out = folder / "out"
    flags = _flags(folder, "Wide", "Broken", further="--log_every=1")
    done = run_command("sweep", *flags, "--reference=Wide", f"--out={out}")
    assert done.returncode == 0, done.stdout
    rows = {row["model"]: row for row in _table(out)}
    assert rows["Broken"]["missed"] == "3"
    assert rows["Broken"]["train_flops"] == "inf"
    assert float(rows["Broken"]["factor"]) == 0
    assert "3 never got there" in done.stdout
    # One record is damaged beyond repair, and its run cannot be started again.
    workdir = next(out.glob("Wide*s1"))
    shutil.rmtree(workdir)
    workdir.write_text("no folder")
    failed = run_command("sweep", *flags, "--reference=Wide", f"--out={out}")
    assert failed.returncode == 1
    assert f"failed: {workdir.name}" in failed.stdout
    assert {row["seeds"] for row in _table(out)} == {"0 2", "0 1 2"}


@pytest.mark.slow
def test_one_seed_and_two_have_no_interval_and_say_so(folder):
    for seeds, text in (("0", "1 seed to"), ("0,1", "2 seeds to")):
        out = folder / seeds
        done = run_command("sweep", *_flags(folder, "Wide", seeds=seeds), f"--out={out}")
        assert done.returncode == 0, done.stdout
        assert text in done.stdout
        assert "(no interval)" in done.stdout
        assert "alexnet was not measured" in done.stdout
        assert _table(out)[0]["train_flops_low"] == ""


def test_a_file_says_what_flags_say_and_flags_win(folder):
    lines = {
        "models": f"{folder}/nets.py:Wide",
        "seeds": [0, 1],
        "dataset": "synthetic",
        "target": "top1:0.3",
        "train_flags": "--image_size=16 --epochs=2",
    }
    (folder / "sweep.yaml").write_text(json.dumps(lines), encoding="utf-8")
    flags = (f"--config={folder / 'sweep.yaml'}", f"--out={folder / 'out'}", "--dry_run")
    assert "2 runs" in run_quickly("sweep", *flags).stdout
    assert "3 runs" in run_quickly("sweep", *flags, "--seeds=0-2").stdout
    (folder / "sweep.yaml").write_text("sedes: 3", encoding="utf-8")
    assert_one_line_and_exit_2(run_quickly("sweep", *flags), "sedes is no flag of sweep.py")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--seeds=a",), ("--seeds=a", "0-4")),
        (("--seeds=1,1",), ("each seed once",)),
        (("--models=resnet5",), ("resnet50",)),
        (("--train_flags=--seed=3",), ("--seed=3", "sweep's own")),
        (("--train_flags='",), ("--train_flags",)),
        (("--until=soon",), ("--until=soon", "10%")),
        (("--until=-1",), ("--until=-1",)),
        (("--config=nowhere.yaml",), ("nowhere.yaml", "cannot be read")),
    ],
)
def test_a_wrong_flag_is_one_line(flags, words):
    assert_one_line_and_exit_2(run_quickly("sweep", "--dry_run", *flags), *words)


def test_a_reference_that_is_no_part_of_the_sweep_is_one_line_before_any_run(tmp_path):
    flags = ("--models=squeezenet1_1,resnet18", "--seeds=0", "--reference=vgg11")
    finished = run_quickly("sweep", *flags, f"--out={tmp_path / 'out'}")
    assert_one_line_and_exit_2(
        finished, "--reference=vgg11", "squeezenet1_1, resnet18", "report.py"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", [("--known",), ("--find_level",), ("--pack=runs.tar.xz",), ()])
def test_a_folder_that_cannot_be_written_is_one_line_at_once(tmp_path, flags):
    (tmp_path / "file").touch()
    if "--known" not in flags:
        flags = ["--models=squeezenet1_1", "--seeds=0", *flags]
    for folder in ("file", "file/below"):
        finished = run_quickly("sweep", *flags, f"--out={tmp_path / folder}")
        assert_one_line_and_exit_2(finished, "--out=", "cannot be written")
    packed = run_quickly("sweep", *flags, f"--out={tmp_path}/o", f"--pack={tmp_path}/file/r.tar.xz")
    if "--known" not in flags:
        assert_one_line_and_exit_2(packed, f"--pack={tmp_path}/file/r.tar.xz", "cannot be written")


@pytest.mark.slow
def test_seeds_are_added_until_the_interval_is_narrow(folder):
    flags = _flags(folder, "Wide", target="top1:0.3")
    done = run_command("sweep", *flags, f"--out={folder / 'out'}", "--until=1%", "--most_seeds=5")
    assert done.returncode == 0, done.stdout
    assert _table(folder / "out")[0]["seeds"] == "0 1 2 3 4"


def test_what_is_known_is_printed_for_a_data_set_and_a_level(tmp_path):
    flags = ("--known", "--dataset=cifar10-jpeg", "--target=top1:0.65,top1:0.72")
    done = run_quickly("sweep", *flags, f"--out={tmp_path / 'known'}")
    assert done.returncode == 0, done.stderr
    headings = [line for line in done.stdout.splitlines() if line.endswith(":")]
    assert headings == [f"cifar10-jpeg at 64 px, to top1:{level}:" for level in (0.65, 0.72)]
    assert done.stdout.count("| shufflenet_v2 | 3 | ") == 2
    table = _table(tmp_path / "known")
    assert len({(row["model"], row["level"]) for row in table}) == 30
    assert (tmp_path / "known" / "factors.png").is_file()
    other = run_quickly("sweep", "--known", "--dataset=cifar100")
    assert_one_line_and_exit_2(other, "--dataset=cifar100", "cifar10-jpeg, digits")
    both = run_quickly("sweep", "--known", "--dataset=cifar10-jpeg", "--target=top1:0.9")
    assert_one_line_and_exit_2(both, "--dataset=cifar10-jpeg", "measurements to top1:0.9 on digits")
    for ignored in ("--reference=resnet18", "--models=alexnet", "--seeds=0", "--recipe=cifar"):
        refused = run_quickly("sweep", "--known", ignored)
        assert_one_line_and_exit_2(refused, ignored.partition("=")[0], "beside --known")
    harder = run_quickly("sweep", "--known", "--target=top1:0.99")
    assert_one_line_and_exit_2(harder, "top1:0.99", "those on cifar10-jpeg to top1:0.72")


def test_two_files_of_one_name_are_refused(folder):
    (folder / "other").mkdir()
    (folder / "other" / "nets.py").write_text(NETS, encoding="utf-8")
    flags = _flags(folder, "Wide")[1:]
    both = f"--models={folder}/nets.py:Wide,{folder}/other/nets.py:Wide"
    done = run_quickly("sweep", both, *flags, f"--out={folder / 'out'}", "--dry_run")
    assert_one_line_and_exit_2(done, "two configurations are both called Wide")


@pytest.mark.slow
def test_a_file_that_has_changed_is_refused(folder):
    flags = (*_flags(folder, "Wide", seeds="0"), f"--out={folder / 'out'}")
    assert run_command("sweep", *flags).returncode == 0
    (folder / "nets.py").write_text(NETS.replace("(5, 5)", "(3, 3)"), encoding="utf-8")
    changed = run_quickly("sweep", *flags, "--dry_run")
    assert_one_line_and_exit_2(changed, "has changed since", "--out")


def test_every_flag_is_in_the_name_of_a_run(folder):
    flags = _flags(folder, "Wide", further="--lr=0.5")
    plan = run_quickly("sweep", *flags, f"--out={folder / 'out'}", "--dry_run").stdout
    assert "Wide-synthetic-small-targettop1_0.5-eval_every0.5-image_size16-epochs6-lr0.5-s0" in plan
    assert not os.path.exists(folder / "out")
    # What is shown only makes no other run.
    flags = _flags(folder, "Wide", further="--lr=0.5 --log_every=1 --noprofile --num_workers=0")
    again = run_quickly("sweep", *flags, f"--out={folder / 'out'}", "--dry_run").stdout
    assert re.findall("^(.*-s0):", again, re.M) == re.findall("^(.*-s0):", plan, re.M) != []
    assert re.search(r"take about \d+:\d\d:\d\d \(h:mm:ss\)", plan)


def test_a_search_does_not_wait_for_that_of_another_network(tmp_path, monkeypatch):
    needs = {"quick": 3.0, "slow": 7.0}  # epochs of the shortest schedule that gets there
    trained = {}
    configurations = {
        model: sweep_runs.Configuration(tmp_path, model, None, "digits", ()) for model in needs
    }

    def write(run, epochs, top1):
        record = example.run(run.configuration.model, (top1,), seed=run.seed, level=0.5)
        recipe = {**record.recipe, "epochs": epochs, "eval_every": 2 * epochs}
        point = dataclasses.replace(record.curve[0], epoch=epochs)
        record = dataclasses.replace(record, recipe=recipe, curve=(point,), status="completed")
        run.workdir.mkdir(parents=True)
        (run.workdir / "record.json").touch()
        trained[run.workdir] = record

    monkeypatch.setattr(sweep_runs, "_read", lambda path: trained.get(path.parent))

    for configuration in configurations.values():
        for seed in range(3):
            write(configuration.run(seed), 10.0, 0.4)

    class Pool:
        """Trains one run after the other, those of `quick` first; what is there is done."""

        def do(self, runs, then):
            waiting, self.order = list(runs), []
            while waiting:
                run = min(waiting, key=lambda run: run.configuration.model)
                waiting.remove(run)
                if not run.is_done:
                    model = run.configuration.model
                    epochs = float(re.search(r"epochs([\d.]+)", run.name)[1])
                    write(run, epochs, 0.6 if epochs >= needs[model] else 0.4)
                    self.order.append(run)
                waiting += then(run)
            return []

    pool = Pool()
    failed, budgets = sweep_runs.search_budgets(pool, configurations.values(), range(3), 0.1)
    assert not failed
    for model, need in needs.items():
        shortest = min(length for length, met, _ in budgets[f"{model}-digits"].lengths if met)
        assert need <= shortest <= 1.1 * need
    models = [run.configuration.model for run in pool.order]
    assert models == sorted(models)  # All lengths of one, then the other's.
    assert len(models) == len(set(pool.order))

    again = Pool()
    assert sweep_runs.search_budgets(again, configurations.values(), range(3), 0.1)[1] == budgets
    assert not again.order  # Nothing is trained twice.


@pytest.mark.slow
def test_levels_and_budgets_of_one_sweep_also_after_an_interruption(folder):
    flags = (
        *_flags(folder, "Wide", "Narrow", target="top1:0.5,top1:0.3"),
        "--reference=Wide",
        "--budget",
        "--budget_precision=50%",
    )
    command = [sys.executable, str(ROOT / "launch" / "sweep.py"), *flags]
    command.append(f"--out={folder / 'out'}")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 1000
    while not list(folder.glob("out/budgets/*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 75
    done = run_command("sweep", *flags, f"--out={folder / 'out'}", timeout=2000)
    assert done.returncode == 0, done.stderr + done.stdout

    rows = {(row["model"], row["level"]): row for row in _table(folder / "out")}
    assert len(rows) == 4
    for model in ("Wide", "Narrow"):
        easy, hard = rows[model, "top1:0.3"], rows[model, "top1:0.5"]
        assert float(easy["train_flops"]) < float(hard["train_flops"])
        assert easy["budget_flops"] == ""
        ends = [float(hard[f"budget_epochs{end}"]) for end in ("_low", "", "_high")]
        assert ends == sorted(ends)
        lengths = [path.parent.name for path in folder.glob(f"out/budgets/{model}-*/record.json")]
        assert len(lengths) == len(set(lengths))
    # Three seeds of each length, and nothing else, were trained.
    runs = [path.parent.name.rpartition("-s") for path in folder.glob("out/budgets/*/record.json")]
    assert {name: sorted(s for n, _, s in runs if n == name) for name, _, _ in runs} == {
        name: ["0", "1", "2"] for name, _, _ in runs
    }
    assert "lengths that end at the level" in done.stdout
    again = run_command("sweep", *flags, f"--out={folder / 'out'}", timeout=2000)
    assert again.stdout.splitlines()[-9:] == done.stdout.splitlines()[-9:]


@pytest.mark.slow
def test_a_level_is_proposed_with_its_evidence(folder):
    flags = [flag for flag in _flags(folder, "Wide", seeds="0-3") if "--target" not in flag]
    flags = [flag.replace("--models", "--reference") for flag in flags]
    done = run_command("sweep", "--find_level", *flags, f"--out={folder / 'out'}")
    assert done.returncode == 0, done.stderr + done.stdout
    (path,) = folder.glob("out/level-*.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert f"proposed: --target=top1:{found['level']:g}" in done.stdout
    assert found["seeds"] == 4
    assert found["knee"] <= found["level"]
    assert "--find_level" in found["command"]
    at_level = next(c for c in found["candidates"] if c["level"] == found["level"])
    assert at_level["reached"] == 4


def test_a_sweep_becomes_job_files(tmp_path):
    flags = ("--models=alexnet,vgg11", "--seeds=0,1", "--out=gs://bucket/digits")
    settings = "--emit_settings=nodes=2,gpus_per_node=4"
    done = run_quickly("sweep", *flags, "--emit=slurm", settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sbatch jobs/slurm.sbatch" in done.stdout
    commands = (tmp_path / "jobs" / "commands.txt").read_text().splitlines()
    assert commands[0] == (
        "jaxeff train --model=alexnet --dataset=digits --eval_every=1 --seed=0 "
        "--workdir=gs://bucket/digits/alexnet-digits-s0"
    )
    assert len(commands) == 4
    assert "#SBATCH --nodes=2" in (tmp_path / "jobs" / "slurm.sbatch").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["jobs"]
    wrong = run_quickly("sweep", *flags, "--emit=tpu", settings, cwd=tmp_path)
    assert_one_line_and_exit_2(wrong, "there is no setting nodes")


def test_levels_are_of_one_metric():
    both = run_quickly("sweep", "--dry_run", "--target=top1:0.9,top5:0.99")
    assert_one_line_and_exit_2(both, "one metric")
    assert_one_line_and_exit_2(run_quickly("sweep", "--dry_run", "--target=top1"), "top1:0.9")


@pytest.mark.slow
def test_a_plan_tells_the_time_of_what_was_never_run(folder):
    out = folder / "out"
    first = run_command("sweep", *_flags(folder, "Wide", seeds="0"), f"--out={out}")
    assert first.returncode == 0
    plan = run_command("sweep", *_flags(folder, "Wide", "Narrow"), f"--out={out}", "--dry_run")
    lines = plan.stdout.splitlines()
    assert sum(": done, " in line for line in lines) == 1
    assert sum(re.search(r": \d+:\d\d:\d\d$", line) is not None for line in lines) == 5
    assert re.search(r"what is missing take about \d+:\d\d:\d\d \(h:mm:ss\)$", lines[-1])


def test_a_run_on_another_folder_of_that_name_is_not_taken_for_done(tmp_path):
    folders = [tmp_path / name / "train" for name in ("one", "two")]
    for folder in folders:
        folder.mkdir(parents=True)

    def configured(folder):
        return sweep_runs.Configuration(
            tmp_path / "out", "alexnet", None, "image_folder", (f"--data_dir={folder}",)
        ).run(0)

    run = configured(folders[0])
    record = example.run()
    flags = shlex.join(run.flags())
    record = dataclasses.replace(record, command=f"python launch/train.py {flags}")
    run.workdir.mkdir(parents=True)
    (run.workdir / "record.json").write_text(json.dumps(record.to_json()), encoding="utf-8")
    assert run.is_done
    link = tmp_path / "linked"
    link.symlink_to(folders[0].parent)
    assert configured(link / "train").is_done
    with pytest.raises(UsageError, match=f"another folder of that name than {folders[1]}"):
        configured(folders[1]).is_done  # noqa: B018
