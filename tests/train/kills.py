"""Kills runs at random moments: `python -m tests.train.kills FOLDER KILLS SEED`.

Each run of a tiny network is killed (SIGKILL) after a time drawn uniformly from the life of an
uninterrupted session, and started again with the same command until it ends by itself. It then
must have ended as the uninterrupted one did: parameters and optimizer bit for bit, the record but
for its clock, `metrics.jsonl` but for its rates. Time is the processor's, so that a busy machine
changes nothing. Sessions are `launch/train.py` in copies of a process that has imported everything,
and which has not started JAX.

In the same `FOLDER` it goes on with new runs, beside the uninterrupted one that is there.
"""

import collections
import contextlib
import hashlib
import importlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import time

import jax
import numpy as np

from jaxeff.train.checkpoints import Checkpoints
from tests.launch import warm
from tests.launch.commands import NETWORK, ROOT

# A checkpoint at each other step, and evaluations in between.
FLAGS = (
    "--model=net.py:Net",
    "--dataset=synthetic",
    "--image_size=16",
    "--batch_size=32",
    "--epochs=3",
    "--eval_every=0.5",
    "--target=top1:1.0",
    "--log_every=1",
    "--checkpoint_every=2",
)
COMPLETE = 3  # The schedule is at its end, and the target not reached.
MOST_SESSIONS = 60
# Beside what commands import before they read their flags.
IMPORTED = (
    "grain",
    "jaxeff.train.loop",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "tensorboardX",
)


def start(folder: pathlib.Path, name: str) -> int:
    """Starts a session of the run `name`; returns its process's number."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        logs = {kind: str(folder / f"{name}.{kind}") for kind in ("stdout", "stderr")}
        argv = [str(ROOT / "launch" / "train.py"), *FLAGS, f"--workdir={name}"]
        warm.run(argv, str(folder), {}, **logs)
    with contextlib.suppress(OSError):  # Whichever of the two comes first.
        os.setpgid(child, child)
    return child


def processor_seconds(process: int) -> float:
    """What all threads of a process have used."""
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait(child: int, seconds: float) -> int | None:
    """The exit status of a process that ends within `seconds` of its processor time, or None."""
    while processor_seconds(child) < seconds:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def moment(workdir: pathlib.Path, lines_before: int) -> str:
    """What a session was doing when it was killed, by what it left."""
    if any("tmp" in path.name for path in workdir.glob("checkpoints/*")):
        return "writing a checkpoint"
    if any(workdir.glob(".record.json.*")) or any(workdir.glob(".metrics.jsonl.*")):
        return "writing the record or the metrics"
    return "training" if lines(workdir) > lines_before else "starting, compiling or restoring"


def lines(workdir: pathlib.Path) -> int:
    """How many there are in the metrics."""
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def outcome(workdir: pathlib.Path) -> dict[str, object]:
    """What must be the same to the last bit, however often the run was killed."""
    checkpoints = Checkpoints(workdir / "checkpoints")
    state, progress = checkpoints.restore()
    checkpoints.close()
    arrays = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        arrays.update(np.ascontiguousarray(leaf).tobytes())
    record = json.loads((workdir / "record.json").read_text())
    for name in ("run_id", "created", "command", "timing", "software"):
        del record[name]
    for point in record["curve"]:
        del point["seconds"]
    metrics = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        for name in ("examples_per_second", "input_wait_fraction"):
            line.pop(name, None)
    sums = [progress[name] for name in ("step", "loss_sum", "loss_count")]
    return {"arrays": arrays.hexdigest(), "sums": sums, "record": record, "metrics": metrics}


def uninterrupted(folder: pathlib.Path, name: str) -> float:
    """Lets a run end by itself; returns the seconds of processor time that it took."""
    _, status, used = os.wait4(start(folder, name), 0)
    if os.waitstatus_to_exitcode(status) != COMPLETE:
        raise RuntimeError(f"{status}: {(folder / f'{name}.stderr').read_text()}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    folder, kills, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(NETWORK)
    warm.import_everything()
    for module in IMPORTED:
        importlib.import_module(module)
    if not (folder / "life").exists():
        uninterrupted(folder, "first")  # It fills the compilation cache.
        life = uninterrupted(folder, "whole")
        (folder / "life").write_text(str(life))
    life = float((folder / "life").read_text())
    print(f"an uninterrupted session takes {life:.1f} s of processor time", flush=True)
    ended, moments, runs, sessions = {}, collections.Counter(), 0, 0
    draw = random.Random(seed)
    while sum(moments.values()) < kills:
        name, status = f"seed{seed}run{runs}", None
        runs += 1
        for _ in range(MOST_SESSIONS):
            sessions += 1
            before, child = lines(folder / name), start(folder, name)
            status = wait(child, draw.uniform(0, life))
            if status is not None:
                break
            time.sleep(draw.uniform(0, 0.05))  # Also when it waits for a disk.
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            moments[moment(folder / name, before)] += 1
            print(f"{sum(moments.values())} kills, {runs} runs: {dict(moments)}", flush=True)
        if status is None:
            uninterrupted(folder, name)
        elif status != COMPLETE:
            raise RuntimeError(f"{name}: {status}: {(folder / f'{name}.stderr').read_text()}")
        ended[name] = folder / name
    # Orbax starts JAX, so all comparing comes after the last fork.
    expected, lost = outcome(folder / "whole"), []
    for name, workdir in ended.items():
        found = outcome(workdir)
        differing = [key for key in expected if found[key] != expected[key]]
        if differing:
            lost.append(name)
            print(f"{name} differs in {', '.join(differing)}", flush=True)
        else:
            shutil.rmtree(workdir)
    figures = {
        "kills": sum(moments.values()),
        "runs": runs,
        "sessions": sessions,
        "moments": dict(moments),
        "lost": lost,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
