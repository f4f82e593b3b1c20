"""Measures how fast training is on this machine.

    python launch/benchmark.py loop --model=shufflenet_v2

What the training loop costs: the same number of steps by the whole loop with its input pipeline, by
the loop on one batch that is already on the devices, and by the bare compiled step on that batch,
in turns. Prints images per second, and time relative to the bare step, as medians over the rounds.
"""

import cli
from absl import flags

_MODEL = flags.DEFINE_string("model", "shufflenet_v2", "Architecture.")
_DATASET = flags.DEFINE_string("dataset", "digits", "Data set, as for train.py.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data set, where it needs one.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, "Side of the images in pixels.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images a step.", lower_bound=1)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Processes that decode images; 0: threads.")
_STEPS = flags.DEFINE_integer("steps", 20, "Steps a turn.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Turns of each.", lower_bound=1)
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "What to print.")


def loop() -> int:
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

    import models
    from jaxeff import data, train

    models.check(_MODEL.value)
    dataset = data.load(_DATASET.value, data_dir=_DATA_DIR.value, image_size=_IMAGE_SIZE.value)
    steps, rounds, batch_size = _STEPS.value, _ROUNDS.value, _BATCH_SIZE.value
    epochs = (3 * rounds + 2) * steps * batch_size / len(dataset.train)
    recipe = train.resolve("small", _MODEL.value, batch_size=batch_size, epochs=epochs)
    seconds = {"loop with input": [], "loop": [], "bare step": []}
    with tempfile.TemporaryDirectory() as folder:
        run = train.Run(
            model=_MODEL.value,
            make_module=functools.partial(models.create, _MODEL.value, len(dataset.class_names)),
            dataset=dataset,
            recipe=recipe,
            target=train.parse_target("top1:1.0"),
            image_size=dataset.image_size,
            workdir=pathlib.Path(folder),
            num_workers=_NUM_WORKERS.value,
            log_every=max(1, steps // 4),
        )
        with (
            contextlib.closing(train.Session(run, is_first_process=True, silent=True)) as session,
            contextlib.closing(session.training_images()) as images,
        ):
            batches = train.to_devices(images)
            resident = next(batches)

            def through_loop(source):
                session.train_until(session.step + steps, source, lambda: False)

            def bare():
                for _ in range(steps):
                    session.state, loss = session.train_step(session.state, resident)
                jax.block_until_ready((session.state, loss))

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
    if _FORMAT.value == "json":
        print(json.dumps({"model": _MODEL.value, "batch_size": batch_size, **results}))
    else:
        print(f"{_MODEL.value}, {dataset.name} at {dataset.image_size} px, batch {batch_size}")
        for name, result in results.items():
            print(
                f"  {name:<16}{result['images_per_second']:8.1f} images/s"
                f"{result['time_over_bare_step']:8.3f} x the bare step"
            )
    return 0


def main(command) -> int:
    """Runs the benchmark that the first argument names."""
    return command()


if __name__ == "__main__":
    cli.run(main, __doc__, {"loop": loop})
