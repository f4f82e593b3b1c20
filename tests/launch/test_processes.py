"""Several processes of `train.py` on 127.0.0.1, at length.

    pytest -m slow -n 0 tests/launch/test_processes.py

What needs no process, signal or kill is in `tests/train/test_hosts.py`.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.launch.bucket import served_bucket
from tests.launch.commands import NETWORK, ROOT, run_command

pytestmark = pytest.mark.slow

MIXING = """
import optax
from jaxeff import data, train

def recipe(model_name, steps_per_epoch, epochs=20, batch_size=48, lr=1e-2):
    mixed = data.OneOf((data.Mixup(0.2), data.CutMix(1.0)), (0.5, 0.5))
    return train.Recipe(
        "mixing", epochs, batch_size, optax.sgd(lr, momentum=0.9), lr=lr,
        batch_transforms=(mixed, data.RandomErasing(0.5)),
    )
"""
# Starts a program; of a run of two, the second process misreads the step in the file `misread`.
DAMAGE = """
import pathlib, runpy, sys
sys.argv = sys.argv[1:]
sys.path[:0] = [str(pathlib.Path(sys.argv[0]).parent), str(pathlib.Path(sys.argv[0]).parents[1])]
misread = pathlib.Path("misread")
if misread.exists() and "--process_id=1" in sys.argv:
    from jaxeff.train import checkpoints
    read = checkpoints.Checkpoints._read
    def misreading(self, step, like):
        if step == int(misread.read_text()):
            raise ValueError("as if")
        return read(self, step, like)
    checkpoints.Checkpoints._read = misreading
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Processes:
    """`count` processes of one run, each with `devices` devices.

    Args:
      each: further flags of a process, by its number.
      start: what starts the program, in the place of Python alone.
    """

    def __init__(self, folder, count, *flags, devices=1, each=lambda number: (), start=()):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "net.py").write_text(NETWORK)
        (folder / "mixing.py").write_text(MIXING)
        (folder / "damage.py").write_text(DAMAGE)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        xla = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
        self.started = []
        for number in range(count):
            together = (
                f"--coordinator_address={address}",
                f"--num_processes={count}",
                f"--process_id={number}",
            )
            program = str(ROOT / "launch" / "train.py")
            command = [sys.executable, *start, program, *flags, *each(number)]
            command += together if count > 1 else ()
            with (
                open(folder / f"{number}.out", "w") as out,
                open(folder / f"{number}.err", "w") as err,
            ):
                self.started.append(
                    subprocess.Popen(
                        command,
                        cwd=folder,
                        env=os.environ | {"XLA_FLAGS": xla},
                        stdout=out,
                        stderr=err,
                    )
                )

    def wait(self, seconds=400):
        """The exit statuses, and what each process said on standard error."""
        deadline = time.monotonic() + seconds
        try:
            statuses = [p.wait(deadline - time.monotonic()) for p in self.started]
        finally:
            for process in self.started:
                process.kill()
        return statuses, [
            (self.folder / f"{number}.err").read_text() for number in range(len(self.started))
        ]

    def wait_for(self, file, condition, seconds=400):
        deadline = time.monotonic() + seconds
        while not ((self.folder / file).exists() and condition((self.folder / file).read_text())):
            assert time.monotonic() < deadline
            for number, process in enumerate(self.started):
                assert process.poll() is None, (self.folder / f"{number}.err").read_text()
            time.sleep(0.02)

    def losses(self):
        lines = (self.folder / "run" / "metrics.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return [line["loss"] for line in found if line["kind"] == "train"]


SMALL = (
    "--model=net.py:Net",
    "--dataset=synthetic",
    "--image_size=16",
    "--batch_size=48",
    "--log_every=1",
    "--workdir=run",
)


@pytest.mark.parametrize(
    "flags",
    [
        ("--model=squeezenet1_1", "--image_size=32"),
        ("--recipe=mixing.py", "--target=top1:1.0"),
        ("--recipe=mixing.py", "--target=top1:1.0", "--cache=device", "--accumulate=2"),
    ],
    ids=["squeezenet", "batch transforms", "kept on the devices, in parts"],
)
def test_the_first_losses_depend_on_the_place_in_the_batch_alone(tmp_path, flags):
    seen = {}
    for count, devices in ((1, 4), (2, 2), (4, 1)):
        folder = tmp_path / f"{count}x{devices}"
        processes = Processes(folder, count, *SMALL, "--epochs=0.4", *flags, devices=devices)
        statuses, said = processes.wait()
        assert statuses == [3] * count, said
        seen[count] = processes.losses()
    assert len(seen[1]) == 5
    assert seen[2] == pytest.approx(seen[1], rel=2e-6)
    assert seen[4] == pytest.approx(seen[1], rel=2e-6)


def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    flags = (*SMALL, "--epochs=3")
    whole = Processes(tmp_path / "whole", 1, *flags, devices=4)
    assert whole.wait()[0] == [3]
    begun = Processes(tmp_path / "run", 2, *flags, "--epochs=3", devices=2)
    begun.wait_for("run/metrics.jsonl", lambda text: text.count("\n") > 7)
    begun.started[1].send_signal(signal.SIGTERM)
    assert begun.wait()[0] == [75, 75]
    assert len(begun.losses()) < len(whole.losses())
    gone_on = Processes(tmp_path / "run", 4, *flags)
    statuses, said = gone_on.wait()
    assert statuses == [3] * 4, said
    assert gone_on.losses() == pytest.approx(whole.losses(), rel=1e-3)
    assert gone_on.losses()[:10] == pytest.approx(whole.losses()[:10], rel=1e-5)


@pytest.mark.parametrize("seen_by", [(0, 1), (1,)], ids=["all", "one"])
def test_a_damaged_checkpoint_is_put_aside_by_all_and_the_run_ends_the_same(tmp_path, seen_by):
    """Where one process alone reads damage, as of its own disk's cache, all go back with it."""
    flags = (*SMALL, "--epochs=1", "--checkpoint_every=5", "--target=top1:1.0")
    whole = Processes(tmp_path / "run", 2, *flags)
    statuses, said = whole.wait()
    assert statuses == [3, 3], said
    run = tmp_path / "run" / "run"
    losses, record = whole.losses(), json.loads((run / "record.json").read_text())
    newest = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name))
    if seen_by == (0, 1):
        file = max((newest / "state").rglob("*"), key=lambda path: path.stat().st_size)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
    else:
        (tmp_path / "run" / "misread").write_text(newest.name)
    again = Processes(tmp_path / "run", 2, *flags, start=("damage.py",))
    statuses, said = again.wait()
    assert statuses == [3, 3], said
    assert (run / "damaged" / f"checkpoint-{newest.name}").is_dir()
    output = (tmp_path / "run" / "0.out").read_text()
    assert f"checkpoints/{newest.name}: the checkpoint is damaged" in output
    assert "going on from step" in output
    assert again.losses() == losses
    found = json.loads((run / "record.json").read_text())
    for point in (*record["curve"], *found["curve"]):
        del point["seconds"]
    assert found["curve"] == record["curve"]


@pytest.mark.parametrize("flag", ["seed", "batch_size", "epochs", "lr", "dataset"])
def test_a_difference_is_refused_with_its_name_on_every_process(tmp_path, flag):
    values = {"seed": (0, 1), "batch_size": (48, 24), "epochs": (1, 2), "lr": (0.1, 0.2)}
    ours, theirs = values.get(flag, ("digits", "synthetic"))
    processes = Processes(
        tmp_path, 2, *SMALL, each=lambda number: (f"--{flag}={theirs if number else ours}",)
    )
    statuses, said = processes.wait()
    assert statuses == [2, 2]
    for text in said:
        last = text.splitlines()[-1]  # Before it, they may say that they wait.
        assert "the processes differ" in last
        assert flag in last


@pytest.mark.parametrize("victim", [0, 1])
def test_the_others_leave_when_a_host_is_killed(tmp_path, victim):
    processes = Processes(tmp_path, 3, *SMALL, "--epochs=300", "--checkpoint_every=5")
    processes.wait_for("run/metrics.jsonl", lambda text: text.count("\n") > 15)
    killed = time.monotonic()
    processes.started[victim].kill()
    statuses, said = processes.wait(30)
    assert time.monotonic() - killed < 30
    for number in {0, 1, 2} - {victim}:
        assert statuses[number] == 75
        assert re.fullmatch(
            rf"jaxeff: process {victim} \(.*\) is gone; the last checkpoint in run is of step \d+: "
            r"run the same command again to go on from there\n",
            said[number],
        ), said[number]


@pytest.mark.parametrize("asked", [0, 1])
def test_all_stop_at_one_step_with_a_checkpoint_when_one_is_asked_to(tmp_path, asked):
    processes = Processes(tmp_path, 2, *SMALL, "--epochs=300")
    processes.wait_for("run/metrics.jsonl", lambda text: text.count("\n") > 15)
    processes.started[asked].send_signal(signal.SIGTERM)
    statuses, said = processes.wait(20)
    assert statuses == [75, 75], said
    step = len(processes.losses())
    assert (tmp_path / "run" / "checkpoints" / str(step)).is_dir()


def test_a_signal_is_answered_while_a_network_compiles(tmp_path):
    flags = ("--model=shufflenet_v2", "--image_size=32", "--nocompilation_cache")
    processes = Processes(tmp_path, 2, *SMALL, *flags)
    processes.wait_for("0.out", lambda text: "workdir" in text)
    time.sleep(1)
    processes.started[1].send_signal(signal.SIGTERM)
    statuses, said = processes.wait(20)
    assert statuses == [75, 75], said
    assert "interrupted at step 0, saved" in (tmp_path / "0.out").read_text()


def test_a_process_that_cannot_start_says_so_everywhere(tmp_path):
    processes = Processes(
        tmp_path, 2, *SMALL, each=lambda number: ("--data_dir=/nowhere",) if number else ()
    )
    statuses, said = processes.wait()
    assert statuses == [2, 2]
    assert "process 1" in said[0]
    assert all("--data_dir=/nowhere" in text for text in said)


def test_slurm_announces_its_processes(tmp_path):
    """As `srun` starts them on one node; the port follows from the job's number."""
    (tmp_path / "net.py").write_text(NETWORK)
    job = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
    }
    command = [sys.executable, str(ROOT / "launch" / "train.py"), *SMALL, "--epochs=0.2"]
    started = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | job | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=400)[0] for process in started]
    assert [process.returncode for process in started] == [3, 3]
    assert "in 2 processes" in outputs[0]


def test_a_run_in_a_bucket_is_whole_there_and_goes_on_from_there(tmp_path, monkeypatch):
    from etils import epath

    with served_bucket() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        flags = (
            "--model=mobilenet_v1_x0_25",
            *SMALL[1:-1],
            "--target=top1:1.0",
            "--workdir=gs://bucket/run",
        )
        finished = run_command("train", *flags, "--epochs=1", cwd=tmp_path)
        assert finished.returncode == 3, finished.stderr
        run = epath.Path("gs://bucket/run")
        names = {path.name for path in run.iterdir()}
        assert {"record.json", "metrics.jsonl", "curve.png", "checkpoints"} <= names
        assert any(name.startswith("events.out.tfevents") for name in names)
        assert (run / "metrics.jsonl").read_text().count("\n") == 12
        again = run_command("train", *flags, "--epochs=1", cwd=tmp_path)
        assert "already complete" in again.stdout
        measured = run_command("evaluate", f"--workdir={run}", "--format=json", cwd=tmp_path)
        assert measured.returncode == 0, measured.stderr
        lost = run_command("train", *flags[:-1], "--workdir=gs://none/run", cwd=tmp_path)
        assert lost.returncode == 2
        assert "--workdir=gs://none/run: cannot be written" in lost.stderr
    assert not list(tmp_path.iterdir())
