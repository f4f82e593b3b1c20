"""Measures how fast training is on this machine.

    python launch/benchmark.py step --models=paper --against=torch,jit,xla

times one training step of each model against PyTorch's (pip install -e '.[train,bench]'), against a
user's own jax.jit of model and optimizer, and against our step as XLA alone computes it, with its
default flags. With --without=max_pool_gradient it has turns without that kernel of jaxeff.cpu too.
All do the same work; each runs in a process of its own; they take turns, so that what else the
machine does hits all alike.
`ours/its` is our speed over the contender's (the median of the turns, with the least and the most).
On a GPU, compare with torch-compile in bfloat16:

    python launch/benchmark.py step --models=paper --against=torch-compile \\
        --dtype=bfloat16 --batch_size=256 --image_size=224 --minutes=10

which begins no model that would not end in ten minutes, and names those to go on with.

    python launch/benchmark.py loop --models=shufflenet_v2

is what the training loop costs: the same number of steps by the whole loop with its input pipeline,
by the loop on one batch that is already on the devices, and by the bare compiled step on that
batch, in turns.

    python launch/benchmark.py input --data_dir=DIR \\
        --against=pil,tfdata,torch --cores=1,2

is how many images a second our input pipeline makes of the image folder DIR, beside PIL alone,
tf.data and PyTorch's DataLoader (extra bench), all on the same cores; with --against= it is alone,
and needs nothing else. With --overlap it
trains --models on DIR instead and says what the pipeline costs the devices (as `loop` does).
"""

import cli
from absl import flags

_MODELS = flags.DEFINE_string(
    "models",
    "shufflenet_v2",
    "Architectures: names with commas between, paper or all; yours as FILE.py:NAME.",
)
_MODEL_ARGS = flags.DEFINE_string("model_args", "", "Arguments of the models, such as width=64.")
_AGAINST = flags.DEFINE_list(
    "against",
    "torch",
    "step: contenders, of torch, torch-compile, jit (a user's own step) and xla (no kernels of "
    "ours). input: of pil, tfdata and torch.",
)
_WITHOUT = flags.DEFINE_list(
    "without", "", "step: kernels of jaxeff.cpu, each left out in a contender of its own."
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size",
    None,
    "Side of the images in pixels. Default: 64; the data set's for loop, 224 for input.",
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images a step.", lower_bound=1)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "step: of the arithmetic; PyTorch's by autocast."
)
_THREADS = flags.DEFINE_integer("threads", None, "step: of the CPU. Default: all.", lower_bound=1)
_TURNS = flags.DEFINE_integer("turns", 5, "Turns of each contender.", lower_bound=1)
_TURN_SECONDS = flags.DEFINE_float("turn_seconds", 2.0, "Not loop: about how long a turn lasts.")
_MINUTES = flags.DEFINE_float(
    "minutes",
    None,
    "step: begins no model that would not end within these minutes, did it take as long as the "
    "slowest before it, and names those that are left. Default: measures all.",
    lower_bound=0.0,
)
_STEPS = flags.DEFINE_integer("steps", 20, "loop: steps a turn.", lower_bound=1)
_DATASET = flags.DEFINE_string("dataset", "digits", "loop: data set, as for train.py.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "loop: folder of the data set.")
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", 0, "loop: processes that decode images; 0: threads."
)
_CORES = flags.DEFINE_list("cores", ["1"], "input: numbers of CPU cores, with commas between.")
_OVERLAP = flags.DEFINE_bool("overlap", False, "input: train, and say what the pipeline costs.")
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "What to print.")


def step() -> int:
    """The training step of each model against its peers."""
    import networks
    from benchmarks import step
    from benchmarks.contenders import CONTENDERS, without_kernels

    from jaxeff import cpu
    from jaxeff.errors import UsageError

    for name in _AGAINST.value:
        if name not in CONTENDERS or name == "jaxeff":
            others = ", ".join(key for key in CONTENDERS if key != "jaxeff")
            raise UsageError(f"--against={name}: give some of {others}")
    for name in _WITHOUT.value:
        if name not in cpu.NAMES:
            raise UsageError(f"--without={name}: give some of {', '.join(cpu.NAMES)}")
    chosen = networks.load_all(_MODELS.value, _MODEL_ARGS.value)
    for model in chosen:
        if (model.source or model.args) and any(
            name.startswith("torch") for name in _AGAINST.value
        ):
            raise UsageError(
                f"--against={','.join(_AGAINST.value)}: PyTorch has no {model.specification}"
                f"{' with --model_args' if model.args else ''}: give --against=jit or xla"
            )
    _require_torch()
    cpu.uninstall()  # Each contender installs what it computes with.
    step.run(
        chosen,
        {name: CONTENDERS[name] for name in _AGAINST.value} | without_kernels(_WITHOUT.value),
        image_size=_IMAGE_SIZE.value or 64,
        batch_size=_BATCH_SIZE.value,
        dtype=_DTYPE.value,
        threads=_THREADS.value,
        turns=_TURNS.value,
        turn_seconds=_TURN_SECONDS.value,
        minutes=_MINUTES.value,
        as_json=_FORMAT.value == "json",
    )
    return 0


def loop() -> int:
    """What the training loop costs over the bare compiled step."""
    from benchmarks import loop

    _loops(loop.run, _DATASET.value)
    return 0


def input_pipeline() -> int:
    """Our input pipeline beside its peers, or what it costs a training."""
    import os

    from benchmarks import input as pipelines
    from benchmarks import loop
    from benchmarks.contenders import INPUT_CONTENDERS

    from jaxeff.errors import UsageError

    if _DATA_DIR.value is None:
        raise UsageError("--data_dir is missing: give an image folder, with train/ in it")
    if _OVERLAP.value:
        _loops(loop.run, "image_folder")
        return 0
    against = _AGAINST.value
    for name in against:
        if name not in INPUT_CONTENDERS or name == "jaxeff":
            others = ", ".join(key for key in INPUT_CONTENDERS if key != "jaxeff")
            raise UsageError(f"--against={name}: give some of {others}, or nothing")
    _require_torch()
    most = len(os.sched_getaffinity(0))
    for number in _CORES.value:
        if not number.isdecimal() or not 1 <= int(number) <= most:
            raise UsageError(f"--cores={number}: give numbers from 1 to {most}, this machine's")
    pipelines.run(
        _DATA_DIR.value,
        against,
        image_size=_IMAGE_SIZE.value or 224,
        batch_size=_BATCH_SIZE.value,
        cores=[int(number) for number in _CORES.value],
        turns=_TURNS.value,
        turn_seconds=_TURN_SECONDS.value,
        as_json=_FORMAT.value == "json",
    )
    return 0


def _require_torch():
    from jaxeff import extras

    for name in _AGAINST.value:
        if name.startswith("torch"):
            extras.require("bench", f"--against={name}")


def _loops(run, dataset):
    import networks

    for model in networks.load_all(_MODELS.value, _MODEL_ARGS.value):
        run(
            model,
            dataset,
            data_dir=_DATA_DIR.value,
            image_size=_IMAGE_SIZE.value,
            batch_size=_BATCH_SIZE.value,
            num_workers=_NUM_WORKERS.value,
            steps=_STEPS.value,
            rounds=_TURNS.value,
            as_json=_FORMAT.value == "json",
        )


def main(command) -> int:
    """Runs the benchmark that the first argument names."""
    return command()


if __name__ == "__main__":
    cli.run(
        main,
        __doc__,
        {"step": step, "loop": loop, "input": input_pipeline},
        groups={
            "Common flags": ("models", "against", "data_dir", "image_size", "batch_size", "format"),
            "step": ("dtype", "without", "threads", "minutes"),
            "loop": ("dataset", "steps", "num_workers"),
            "input": ("cores", "overlap"),
        },
    )
