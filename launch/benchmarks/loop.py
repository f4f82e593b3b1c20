"""What the training loop costs over the bare compiled step."""

import contextlib
import functools
import itertools
import json
import pathlib
import tempfile
import time

import jax
import numpy as np

from jaxeff import data, tasks, train
from jaxeff.train.display import Display
from jaxeff.train.loop import Session


def run(
    model,
    dataset_name: str,
    *,
    data_dir: str | None,
    image_size: int | None,
    batch_size: int,
    num_workers: int,
    steps: int,
    rounds: int,
    as_json: bool,
) -> None:
    """Prints images per second, and time relative to the bare step, as medians over the rounds.

    The same number of steps by the whole loop with its input pipeline, by the loop on one batch
    that is already on the devices, and by the bare compiled step on that batch, in turns.
    `model` is a `networks.ModelSpec`.

    Raises:
      UsageError: the data set is unknown or unreadable.
    """
    dataset = data.load(dataset_name, data_dir=data_dir, image_size=image_size)
    epochs = (3 * rounds + 2) * steps * batch_size / len(dataset.train)
    recipe = train.resolve(
        "small",
        model.name,
        train_examples=len(dataset.train),
        batch_size=batch_size,
        epochs=epochs,
    )
    seconds = {"loop with input": [], "loop": [], "bare step": []}
    with tempfile.TemporaryDirectory() as folder:
        task = tasks.ImageClassification(dataset, dataset.image_size)
        training = train.Run(
            model=model.name,
            make_module=functools.partial(model.make_module, dataset.num_classes, "float32"),
            task=task,
            recipe=recipe,
            target=tasks.parse_target("top1:1.0", task.metrics),
            workdir=pathlib.Path(folder),
            num_workers=num_workers,
            log_every=max(1, steps // 4),
        )
        display = Display(training.total_steps, training.log_every, "images", silent=True)
        with (
            contextlib.closing(Session(training, display)) as session,
            contextlib.closing(session.trainer.host_batches(start_step=0)) as host_batches,
        ):
            trainer = session.trainer
            batches = trainer.device_batches(host_batches, start_step=0)
            resident = next(batches)

            def through_loop(source):
                session.take_steps(session.progress.step + steps, source)

            def bare():
                for _ in range(steps):
                    loss = trainer.take_step(resident)
                jax.block_until_ready((trainer.state, loss))

            turns = {
                "loop with input": functools.partial(through_loop, batches),
                "loop": functools.partial(through_loop, itertools.repeat(resident)),
                "bare step": bare,
            }
            through_loop(batches)
            for _ in range(rounds):
                for name, turn in turns.items():
                    started = time.perf_counter()
                    turn()
                    seconds[name].append(time.perf_counter() - started)
    bare_seconds = np.array(seconds["bare step"])
    results = {
        name: {
            "images_per_second": float(steps * batch_size / np.median(values)),
            "time_over_bare_step": float(np.median(np.array(values) / bare_seconds)),
        }
        for name, values in seconds.items()
    }
    if as_json:
        print(json.dumps({"model": model.name, "batch_size": batch_size, **results}))
    else:
        print(f"{model.name}, {dataset.name} at {dataset.image_size} px, batch {batch_size}")
        for name, result in results.items():
            print(
                f"  {name:<16}{result['images_per_second']:8.1f} images/s"
                f"{result['time_over_bare_step']:8.3f} x the bare step"
            )
