"""Measures how fast training is on this machine.

    python launch/benchmark.py step --models=paper --against=torch,native

times one training step of each model against PyTorch's (pip install -e '.[bench]') and against our
own model in XLA's native form of every layer. All do the same work; each runs in a process of its
own; they take turns, so that what else the machine does hits all alike. `ours/its` is our speed
over the contender's (the median of the turns, with the least and the most). On a GPU, compare with
torch-compile in bfloat16:

    python launch/benchmark.py step --models=paper --against=torch-compile --dtype=bfloat16 \\
        --batch_size=256 --image_size=224

    python launch/benchmark.py loop --models=shufflenet_v2

is what the training loop costs: the same number of steps by the whole loop with its input pipeline,
by the loop on one batch that is already on the devices, and by the bare compiled step on that
batch, in turns.
"""

import cli
from absl import flags

_MODELS = flags.DEFINE_string(
    "models", "shufflenet_v2", "Architectures: names with commas between, paper or all."
)
_AGAINST = flags.DEFINE_list(
    "against", "torch", "step: contenders, of torch, torch-compile and native."
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side of the images in pixels. Default: 64, or the data set's."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images a step.", lower_bound=1)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "step: of the arithmetic; PyTorch's by autocast."
)
_THREADS = flags.DEFINE_integer("threads", None, "step: of the CPU. Default: all.", lower_bound=1)
_TURNS = flags.DEFINE_integer("turns", 5, "Turns of each contender.", lower_bound=1)
_TURN_SECONDS = flags.DEFINE_float("turn_seconds", 2.0, "step: about how long a turn lasts.")
_STEPS = flags.DEFINE_integer("steps", 20, "loop: steps a turn.", lower_bound=1)
_DATASET = flags.DEFINE_string("dataset", "digits", "loop: data set, as for train.py.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "loop: folder of the data set.")
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", 0, "loop: processes that decode images; 0: threads."
)
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "What to print.")


def step() -> int:
    """The training step of each model against its peers."""
    from benchmarks import step
    from benchmarks.contenders import CONTENDERS

    import models
    from jaxeff.errors import UsageError

    for name in _AGAINST.value:
        if name not in CONTENDERS or name == "jaxeff":
            others = ", ".join(key for key in CONTENDERS if key != "jaxeff")
            raise UsageError(f"--against={name}: give some of {others}")
    step.run(
        models.select(_MODELS.value),
        _AGAINST.value,
        image_size=_IMAGE_SIZE.value or 64,
        batch_size=_BATCH_SIZE.value,
        dtype=_DTYPE.value,
        threads=_THREADS.value,
        turns=_TURNS.value,
        turn_seconds=_TURN_SECONDS.value,
        as_json=_FORMAT.value == "json",
    )
    return 0


def loop() -> int:
    """What the training loop costs over the bare compiled step."""
    from benchmarks import loop

    import models

    for model in models.select(_MODELS.value):
        loop.run(
            model,
            _DATASET.value,
            data_dir=_DATA_DIR.value,
            image_size=_IMAGE_SIZE.value,
            batch_size=_BATCH_SIZE.value,
            num_workers=_NUM_WORKERS.value,
            steps=_STEPS.value,
            rounds=_TURNS.value,
            as_json=_FORMAT.value == "json",
        )
    return 0


def main(command) -> int:
    """Runs the benchmark that the first argument names."""
    return command()


if __name__ == "__main__":
    cli.run(main, __doc__, {"step": step, "loop": loop})
