"""Trains a model until it reaches a target accuracy and reports the compute that took.

    python launch/train.py --model=shufflenet_v2

trains ShuffleNet v2 on scikit-learn's hand-written digits: no download, minutes on a laptop.

    python launch/train.py --model=resnet18 --dataset=image_folder --data_dir=/data/cifar10 \\
        --image_size=64 --recipe=small --epochs=10 --target=top1:0.6

trains on images in folders, /data/cifar10/train/<class>/*.jpg beside
/data/cifar10/{validation,val,test}/<class>/*.jpg.

What is not given comes from the data set (image size, target) and from the recipe (everything about
optimisation); the run prints what that came to. Results are in the workdir: record.json,
metrics.jsonl, curve.png, TensorBoard event files and checkpoints. The same command in the same
workdir goes on where an interrupted run stopped.

Exit status: 0 target reached; 3 schedule complete, target not reached; 4 diverged (the loss is not
finite); 75 interrupted by SIGTERM or SIGINT after a checkpoint, run the same command again; 2 wrong
flags or unreadable data.
"""

import cli
from absl import flags

_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Architecture, such as shufflenet_v2 or alexnet (a wrong name lists near ones), or your own: "
    "FILE.py:NAME or package.module:NAME, a Flax module class or a function of num_classes.",
)
_MODEL_ARGS = flags.DEFINE_string(
    "model_args", "", "Arguments of the architecture, such as width=64,depth=3,stages=(2,2)."
)
_DATASET = flags.DEFINE_string(
    "dataset",
    "digits",
    "Data set: digits (bundled, real), synthetic (bundled, procedural), image_folder (yours, see "
    "--data_dir), imagenet2012 or another classification set of TensorFlow Datasets, such as "
    "cifar10, prepared as ArrayRecord (below --data_dir, or ~/tensorflow_datasets).",
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data set, where it needs one.")
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size",
    None,
    "Side in pixels at which the network sees the images. Default: by data set.",
    lower_bound=1,
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    None,
    "Images a step, over all devices together. Default: by recipe.",
    lower_bound=1,
)
_EPOCHS = flags.DEFINE_float(
    "epochs", None, "Passes over the training images, at most. Default: by recipe."
)
_RECIPE = flags.DEFINE_string(
    "recipe",
    None,
    "Hyperparameters: paper (90 epochs, smooth decay), paper_step (its step schedule) or small. "
    "Default: small for the bundled data sets, paper otherwise.",
)
_LR = flags.DEFINE_float("lr", None, "Highest learning rate. Default: by recipe and model.")
_TARGET = flags.DEFINE_string(
    "target",
    None,
    "Validation accuracy to reach, such as top5:0.791 or top1:0.95. Default: by data set, where it "
    "has one.",
)
_STOP_AT_TARGET = flags.DEFINE_bool(
    "stop_at_target", True, "End the run at the first evaluation that reaches the target."
)
_EVAL_EVERY = flags.DEFINE_float("eval_every", 1.0, "Epochs between evaluations.")
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of parameters, order, augmentation and dropout.", lower_bound=0
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Of the arithmetic; parameters stay float32."
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the results. Default: runs/<model>-<dataset>-<recipe>-s<seed>.",
)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers",
    None,
    "Processes that decode images; 0 uses threads. Default: by data set and machine.",
    lower_bound=0,
)
_CACHE = flags.DEFINE_enum(
    "cache",
    "none",
    ["none", "memory", "device"],
    "Training images of one size: decode them all at the start, and keep them in memory or on the "
    "devices, which then crop and mirror them.",
)
_ON_BAD_IMAGE = flags.DEFINE_enum(
    "on_bad_image",
    "stop",
    ["stop", "skip"],
    "A training image that cannot be read: stop the run with its name, or take the next one in its "
    "place, count it and name it in the record. In validation it always stops.",
)
_LOG_EVERY = flags.DEFINE_integer("log_every", 20, "Steps between lines of the log.", lower_bound=1)
_CHECKPOINT_EVERY = flags.DEFINE_integer(
    "checkpoint_every",
    0,
    "Steps between checkpoints, besides the one at each evaluation.",
    lower_bound=0,
)
_PROFILE = flags.DEFINE_bool(
    "profile", False, "Trace steps 10 to 20 into <workdir>/profile, for TensorBoard or Perfetto."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address",
    None,
    "host:port of the first of several hosts, where the platform does not announce itself.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes of the run.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")

EXIT_STATUS = {"diverged": 4, "interrupted": 75}


def main() -> int:
    """Runs the training that the flags describe; returns the exit status."""
    from jaxeff import train

    train.join_processes(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    record = train.train_to_target(_run_from_flags())
    if record.status in EXIT_STATUS:
        return EXIT_STATUS[record.status]
    return 0 if record.target.reached else 3


def _run_from_flags():
    import dataclasses
    import functools
    import pathlib

    import networks

    import models
    from jaxeff import data, tasks, train
    from jaxeff.errors import UsageError

    if _MODEL.value is None:
        raise UsageError(f"--model is missing: give FILE.py:NAME or one of {models.summary()}")
    model = networks.load(_MODEL.value, _MODEL_ARGS.value)
    if not _EVAL_EVERY.value > 0:
        raise UsageError(f"--eval_every={_EVAL_EVERY.value}: give a number of epochs above 0")
    dataset = data.load(_DATASET.value, data_dir=_DATA_DIR.value, image_size=_IMAGE_SIZE.value)
    if _CACHE.value != "none":
        dataset = data.in_memory(dataset, _progress)
    recipe = train.resolve(
        _RECIPE.value or ("small" if dataset.in_memory else "paper"),
        model.name,
        batch_size=_BATCH_SIZE.value,
        epochs=_EPOCHS.value,
        lr=_LR.value,
    )
    if not dataset.horizontal_flip:
        transforms = dataclasses.replace(recipe.transforms, horizontal_flip=False)
        recipe = dataclasses.replace(recipe, transforms=transforms)
    task = tasks.ImageClassification(
        dataset,
        dataset.image_size,
        recipe.transforms,
        label_smoothing=recipe.label_smoothing,
        on_bad_image=_ON_BAD_IMAGE.value,
        cache_on_devices=_CACHE.value == "device",
    )
    target = _TARGET.value or dataset.target
    if target is None:
        raise UsageError(
            f"--target is missing, and {dataset.name} has no default: give the accuracy to reach, "
            "such as --target=top1:0.55"
        )
    workdir = f"runs/{model.name}-{dataset.name}-{recipe.name}-s{_SEED.value}"
    return train.Run(
        model=model.name,
        make_module=functools.partial(model.make_module, dataset.num_classes, _DTYPE.value),
        model_facts=model.facts,
        sources=model.sources,
        task=task,
        recipe=recipe,
        target=tasks.parse_target(target, task.metrics),
        workdir=pathlib.Path(_WORKDIR.value or workdir).expanduser(),
        dtype=_DTYPE.value,
        seed=_SEED.value,
        stop_at_target=_STOP_AT_TARGET.value,
        eval_every=_EVAL_EVERY.value,
        num_workers=_loader_processes(dataset),
        log_every=_LOG_EVERY.value,
        checkpoint_every=_CHECKPOINT_EVERY.value,
        profile=_PROFILE.value,
        command=cli.command(),
        kernels=cli.kernels(),
    )


def _progress(items):
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, "decoding", console=console, disable=not console.is_terminal)


def _loader_processes(dataset) -> int:
    """As asked for, else what suits the machine; memory takes no processes."""
    import os

    from jaxeff import data

    if _NUM_WORKERS.value is not None:
        return _NUM_WORKERS.value
    return 0 if dataset.in_memory else data.loader_processes(os.cpu_count() or 1)


if __name__ == "__main__":
    cli.run(main, __doc__)
