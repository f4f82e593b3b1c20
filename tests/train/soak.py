"""A long run, watched from outside: `python -m tests.train.soak FOLDER SECONDS [EPOCHS]`.

Starts `launch/train.py` on a small network, with an evaluation and a checkpoint each `EPOCHS` (15,
about a minute where the machine is free), and notes memory, descriptors, threads, processor time
and images each ten seconds in `FOLDER/soak.csv`. At the end it interrupts the run, which must exit
with 75, prints what changed from the fifth minute on, and draws `FOLDER/soak.png`.

Batches wait for a clock, so that the run takes a part of a core and its rate is its own; where the
machine is busy, images per second of processor time are the fair rate.
"""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np

from tests.launch.commands import NETWORK, ROOT

BATCH_SIZE = 32
SETTLED_SECONDS = 300
SAMPLE_SECONDS = 10
# 125 images a second at most.
RECIPE = """
import time
import optax
from jaxeff import data, train

def slowly(pixels, rng):
    time.sleep(0.008)
    return pixels

def recipe(model_name, steps_per_epoch, epochs=2000, batch_size=32, lr=1e-2):
    transforms = data.Augmentation(pixels=(slowly,))
    return train.Recipe(
        "soak", epochs, batch_size, optax.sgd(lr, momentum=0.9), lr=lr, transforms=transforms
    )
"""
COLUMNS = ("seconds", "memory_mb", "descriptors", "threads", "processor_seconds", "images")


def sample(process: int, workdir: pathlib.Path) -> tuple[float, int, int, float, int]:
    """What the run takes now: `COLUMNS` but for the first.

    Memory is what is resident, without files that are mapped.
    """
    of_process = pathlib.Path("/proc", str(process))
    status = dict(
        line.split(":", 1) for line in (of_process / "status").read_text().splitlines() if line
    )
    ticks = (of_process / "stat").read_text().rpartition(")")[2].split()[11:13]
    memory = int(status["RssAnon"].split()[0]) / 1024
    descriptors = len(os.listdir(of_process / "fd"))
    threads = int(status["Threads"])
    processor = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return memory, descriptors, threads, processor, images_so_far(workdir)


def images_so_far(workdir: pathlib.Path) -> int:
    """Of the last step in the metrics."""
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4000))
        lines = file.read().split(b"\n")[1:-1]
    return json.loads(lines[-1])["step"] * BATCH_SIZE if lines else 0


def watch(folder: pathlib.Path, seconds: float, epochs: float) -> list[list[float]]:
    """Lets the run go on for `seconds`; returns the samples, as `COLUMNS`.

    Args:
      folder: of everything.
      seconds: that it goes on for.
      epochs: between evaluations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(NETWORK)
    (folder / "soak_recipe.py").write_text(RECIPE)
    command = [
        *(sys.executable, str(ROOT / "launch" / "train.py"), "--model=net.py:Net"),
        *("--recipe=soak_recipe.py", "--dataset=synthetic", "--image_size=32"),
        *("--target=top1:1.0", "--nostop_at_target", "--log_every=1", f"--eval_every={epochs}"),
        "--workdir=run",
    ]
    rows, started = [], time.monotonic()
    with open(folder / "output.txt", "w") as output, open(folder / "soak.csv", "w") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        run = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        while run.poll() is None and time.monotonic() - started < seconds:
            time.sleep(SAMPLE_SECONDS)
            rows.append([time.monotonic() - started, *sample(run.pid, folder / "run")])
            writer.writerow(round(value, 2) for value in rows[-1])
            file.flush()
        run.send_signal(signal.SIGTERM)
        status = run.wait(60)
    if status != 75:
        raise RuntimeError(f"the run exited with {status}: see {folder}/output.txt")
    return rows


def summary(rows: list[list[float]]) -> str:
    """What memory, descriptors, threads and rates were, in the fifth minute and at the end."""
    table = np.array(rows)
    lines = [f"{table[-1, 0] / 60:.0f} minutes, {table[-1, 5]:,.0f} images"]
    settled = table[table[:, 0] >= SETTLED_SECONDS]
    tenth = max(1, len(settled) // 10)
    for name, column in zip(COLUMNS[1:4], settled.T[1:4], strict=True):
        first, last = np.median(column[:tenth]), np.median(column[-tenth:])
        lines.append(
            f"{name}: {first:.1f} at first, {last:.1f} at the end, "
            f"{column.min():.1f} to {column.max():.1f}"
        )
    for name, column in (("wall", 0), ("processor", 4)):
        pieces = np.array_split(settled, min(10, len(settled) // 2))
        rates = [(p[-1, 5] - p[0, 5]) / (p[-1, column] - p[0, column]) for p in pieces]
        lines.append(f"images a second of {name} time, by tenths: {np.round(rates, 1).tolist()}")
    return "\n".join(lines)


def draw(rows: list[list[float]], path: pathlib.Path) -> None:
    """Memory, descriptors, threads and images per second over the minutes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    table = np.array(rows)
    minutes, window = table[:, 0] / 60, 6
    seconds, processor, images = table[:, 0], table[:, 4], table[:, 5]
    ahead = images[window:] - images[:-window]
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    curves = (
        (minutes, table[:, 1], "memory, MB"),
        (minutes, table[:, 2], "descriptors"),
        (minutes, table[:, 3], "threads"),
        (minutes[window:], ahead / (processor[window:] - processor[:-window]), "processor time"),
        (minutes[window:], ahead / (seconds[window:] - seconds[:-window]), "wall time"),
    )
    places = (axes[0, 0], axes[0, 1], axes[0, 1], axes[1, 0], axes[1, 1])
    for place, (x, y, label) in zip(places, curves, strict=True):
        place.plot(x, y, linewidth=1, label=label)
    for place in axes.flat:
        place.set_ylim(0, None)
        place.grid(linewidth=0.3)
    axes[0, 0].set_title("memory, MB", fontsize=9)
    axes[0, 1].set_title("descriptors and threads", fontsize=9)
    axes[0, 1].legend(fontsize=8)
    for place, of in ((axes[1, 0], "processor"), (axes[1, 1], "wall")):
        place.set_title(f"images per second of {of} time, over a minute", fontsize=9)
        place.set_xlabel("minutes")
    FigureCanvasAgg(figure).print_png(path, metadata={})
    image = Image.open(path).convert("RGB").quantize(16)
    image.save(path, optimize=True)


def main() -> None:
    """Watches, prints and draws."""
    folder, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
    rows = watch(folder, seconds, *map(float, sys.argv[3:4] or ["15"]))
    draw(rows, folder / "soak.png")
    print(summary(rows))


if __name__ == "__main__":
    main()
