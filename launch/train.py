"""Trains a model until it reaches a target accuracy and reports the compute that took.

    python launch/train.py --model=shufflenet_v2

trains ShuffleNet v2 on scikit-learn's hand-written digits: no download, minutes on a laptop.

    python launch/train.py --model=resnet18 --dataset=image_folder \\
        --data_dir=/data/cifar10 --image_size=64 --recipe=small --epochs=10 \\
        --target=top1:0.6

trains on images in folders, /data/cifar10/train/<class>/*.jpg beside
/data/cifar10/{validation,val,test}/<class>/*.jpg.

    python launch/train.py --model=mynet.py:MyNet --recipe=fast.py

trains a network of your own by a recipe of your own; examples/ has both.

What is not given comes from the data set (image size, target) and from the recipe (everything about
optimisation); the run prints what that came to. Results are in the workdir: record.json,
metrics.jsonl, curve.png, TensorBoard event files and checkpoints. The same command in the same
workdir goes on where an interrupted run stopped.

Exit status: 0 target reached; 3 schedule complete, target not reached; 4 diverged (the loss is not
finite); 75 interrupted by SIGTERM or SIGINT after a checkpoint, run the same command again; 2 wrong
flags, unreadable data, too little memory or an error in a file of your own, in one line; 1 any
other error, whose last line says what is safe.
"""

import functools

import cli
from absl import flags

_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Network: one of those above, or your own: FILE.py:NAME or package.module:NAME, a Flax module "
    "class or a function of num_classes.",
)
_MODEL_ARGS = flags.DEFINE_string(
    "model_args", "", "Arguments of the architecture, such as width=64,depth=3,stages=(2,2)."
)
_DATASET = flags.DEFINE_string(
    "dataset",
    "digits",
    "Data set: digits (bundled, real), synthetic (bundled, procedural), image_folder, arrays or hf "
    "(yours, see --data_dir), imagenet2012 or another classification set of TensorFlow Datasets, "
    "such as cifar10, prepared as ArrayRecord (below --data_dir, or ~/tensorflow_datasets).",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the data set, where it needs one: train/ and validation/ for image_folder, what "
    "datasets.save_to_disk wrote or Parquet files for hf. For arrays, an .npz file that holds "
    "train_images, train_labels, validation_images and validation_labels, or images and labels.",
)
_TRAIN_SPLIT = flags.DEFINE_string(
    "train_split",
    None,
    "Of a set of TensorFlow Datasets: the split or slice to train on, such as 'train[:90%]'.",
)
_VALIDATION_SPLIT = flags.DEFINE_string(
    "validation_split", None, "Likewise, the one to measure on, such as 'train[90%:]'."
)
_SPLIT_SEED = flags.DEFINE_integer(
    "split_seed",
    None,
    "Of arrays without a split: seed of the fifth of each class that is held out. Default: 0.",
    lower_bound=0,
)
_NORMALISE = flags.DEFINE_enum(
    "normalise",
    "imagenet",
    ["imagenet", "measured"],
    "Mean and deviation to normalise with: ImageNet's, or those of the training images (of 10,000 "
    "at equal distances, where there are more).",
)
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
    "Hyperparameters: paper (90 epochs, smooth decay), paper_step (its step schedule), small, "
    "cifar (small for tens of thousands of images: batches of 256, ten epochs), large_batch (LARS "
    "for batches of thousands; a departure from the paper), or a file of your own, FILE.py, whose "
    "recipe(model_name, steps_per_epoch) returns a jaxeff.train.Recipe. Default: small for "
    "data in memory (digits, arrays, synthetic), paper otherwise.",
)
_LR = flags.DEFINE_float("lr", None, "Highest learning rate. Default: by recipe and model.")
_TARGET = flags.DEFINE_string(
    "target",
    None,
    "Validation accuracy to reach, such as top5:0.791 or top1:0.95. Default: by data set, where it "
    "has one.",
)
_ACCUMULATE = flags.DEFINE_integer(
    "accumulate",
    None,
    "Parts in which a step computes the gradient of its batch, one after the other, where the "
    "memory is too small for all of it. Batch normalisation takes the statistics of a part. "
    "Default: by recipe.",
    lower_bound=1,
)
_STOP_AT_TARGET = flags.DEFINE_bool(
    "stop_at_target", True, "End the run at the first evaluation that reaches the target."
)
_EVAL_EVERY = flags.DEFINE_float("eval_every", 1.0, "Epochs between evaluations.")
_SEED = flags.DEFINE_integer(
    "seed",
    0,
    "Of parameters, order, augmentation and dropout.",
    lower_bound=0,
    upper_bound=2**32 - 1,  # JAX's keys have no more bits.
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Of the arithmetic; parameters stay float32."
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the results, on a disk or gs://bucket/folder. Default: "
    "runs/<model>-<dataset>-<recipe>-s<seed>, with the flags that were given before the seed.",
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
    "devices, which then crop and mirror them. Validation images are kept in memory as evaluation "
    "sees them.",
)
_CHECK_DATA = flags.DEFINE_bool(
    "check_data",
    False,
    "Decode every image before the first step, and name those that cannot be read. Without it, "
    "validation images alone are opened.",
)
_ACCEPT_CHANGED_DATA = flags.DEFINE_bool(
    "accept_changed_data",
    False,
    "Go on with the run in the workdir although its data has changed, such as where damaged images "
    "were replaced or removed. Its record says so.",
)
_ON_BAD_IMAGE = flags.DEFINE_enum(
    "on_bad_image",
    "stop",
    ["stop", "skip"],
    "A training image that cannot be read: stop the run with its name, or take the next one in its "
    "place, count it and name it in the record. In validation it always stops.",
)
_LOG_EVERY = flags.DEFINE_integer("log_every", 20, "Steps between lines of the log.", lower_bound=1)
_LOG_TO = flags.DEFINE_list(
    "log_to",
    ["tensorboard"],
    "Where to write the numbers of a run besides its folder, with commas between: tensorboard, "
    "wandb, mlflow (the last two: extras of that name), or your own, FILE.py:NAME, a class or "
    "function of a folder, a record and a step (jaxeff.train.writers). Nothing: --log_to=",
)
_CHECKPOINT_EVERY = flags.DEFINE_integer(
    "checkpoint_every",
    0,
    "Steps between checkpoints, besides those at evaluations, which are left out where they would "
    "take more than a twentieth of the time.",
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
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes",
    None,
    "Processes of the run; 1 keeps this one alone, whatever the platform announces.",
    lower_bound=1,
)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")

_JOIN_TIMEOUT = flags.DEFINE_float(
    "join_timeout", 300, "Seconds to wait for the other processes at the start.", lower_bound=1
)

EXIT_STATUS = {"diverged": 4, "interrupted": 75}


def main() -> int:
    """Runs the training that the flags describe; returns the exit status."""
    import failures

    from jaxeff import train

    link = train.join_processes(
        _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value, _JOIN_TIMEOUT.value
    )
    with train.ending_together(link, failures.explained):
        run = _run_from_flags()  # First, since the loop takes a second to import.
        record = train.train_to_target(run, link)
    if record.target.reached:
        _print_spread(record)
    if record.status in EXIT_STATUS:
        return EXIT_STATUS[record.status]
    return 0 if record.target.reached else 3


def _print_spread(record) -> None:
    """Says how much another seed may differ; on the first process alone."""
    import jax

    from jaxeff import measure

    if jax.process_index():
        return
    known = measure.known_spread(record)
    print(
        f"  one run of its kind differs from the next by {known.text()}"
        if known
        else "  this is one run: launch/sweep.py --seeds=0-4 tells how much another seed differs"
    )


def _run_from_flags():
    import dataclasses

    import networks
    import writers

    import models
    from jaxeff import data, tasks, train
    from jaxeff.atomic import is_remote
    from jaxeff.errors import UsageError

    if _MODEL.value is None:
        raise UsageError(f"--model is missing: give FILE.py:NAME or one of {models.summary()}")
    model = networks.load(_MODEL.value, _MODEL_ARGS.value)
    dataset = data.load(
        _DATASET.value,
        data_dir=_DATA_DIR.value,
        image_size=_IMAGE_SIZE.value,
        train_split=_TRAIN_SPLIT.value,
        validation_split=_VALIDATION_SPLIT.value,
        split_seed=_SPLIT_SEED.value,
    )
    recipe, recipe_sources = _recipe(model.name, dataset)
    _check_sizes(model, dataset, recipe)
    task = tasks.ImageClassification(
        dataset,
        dataset.image_size,
        on_bad_image=_ON_BAD_IMAGE.value,
        cache_on_devices=_CACHE.value == "device",
    ).trained_by(recipe)
    target = _TARGET.value or dataset.target
    if target is None:
        raise UsageError(
            f"--target is missing, and {dataset.name} has no default: give the accuracy to reach, "
            "such as --target=top1:0.55"
        )
    level = tasks.parse_target(target, train.target_metrics(task, recipe))
    parts = [model.name, dataset.name, recipe.name, *_overridden(), f"s{_SEED.value}"]
    default = f"runs/{'-'.join(parts)}"
    workdir = train.workdir.folder(_WORKDIR.value or default)
    if _PROFILE.value and is_remote(workdir):
        raise UsageError(f"--profile: a trace cannot be written to {workdir}; give a local workdir")
    return train.Run(
        model=model.name,
        make_module=functools.partial(model.make_module, dataset.num_classes, _DTYPE.value),
        model_facts=model.facts,
        sources=_together(model.sources, recipe_sources),
        # Last, since it may take minutes and the flags above may be wrong.
        task=dataclasses.replace(task, dataset=_prepared(dataset, workdir)),
        recipe=recipe,
        target=level,
        workdir=workdir,
        dtype=_DTYPE.value,
        seed=_SEED.value,
        stop_at_target=_STOP_AT_TARGET.value,
        eval_every=_EVAL_EVERY.value,
        num_workers=_loader_processes(dataset),
        log_every=_LOG_EVERY.value,
        checkpoint_every=_CHECKPOINT_EVERY.value,
        accept_changed_data=_ACCEPT_CHANGED_DATA.value,
        writers=writers.load_all(_LOG_TO.value),
        profile=_PROFILE.value,
        command=cli.command(),
        kernels=cli.kernels(),
    )


# So many evaluations, and steps, are more than any run has; their lists fill the memory.
MOST_EVALUATIONS, MOST_STEPS = 100_000, 100_000_000


def _check_sizes(model, dataset, recipe) -> None:
    """Ends the run where flags do not fit each other, the model or the data."""
    import networks

    from jaxeff.errors import UsageError

    changes = (phase.changes for phase in recipe.phases)
    networks.require_size(
        model,
        min([dataset.image_size, *(c["image_size"] for c in changes if "image_size" in c)]),
    )
    if _BATCH_SIZE.value is not None and _BATCH_SIZE.value > len(dataset.train):
        raise UsageError(
            f"--batch_size={_BATCH_SIZE.value}: {dataset.name} has {len(dataset.train):,} training "
            "images; give at most that"
        )
    evaluations = recipe.epochs / _EVAL_EVERY.value
    if evaluations > MOST_EVALUATIONS:
        raise UsageError(
            f"--eval_every={_EVAL_EVERY.value:g}: {evaluations:.3g} evaluations in "
            f"{recipe.epochs:g} epochs; give one that makes at most {MOST_EVALUATIONS:,}"
        )
    steps = recipe.epochs * len(dataset.train) / recipe.batch_size
    if steps > MOST_STEPS:
        raise UsageError(
            f"--epochs={recipe.epochs:g}: {steps:.3g} steps of {recipe.batch_size} images; give "
            f"a number that makes at most {MOST_STEPS:,}"
        )


def _recipe(model_name, dataset):
    """The recipe as it applies to the model and the data, and the texts of the user's files."""
    import dataclasses

    import recipes

    from jaxeff import train
    from jaxeff.errors import UsageError

    name = _RECIPE.value or ("small" if dataset.in_memory else "paper")
    resolve = functools.partial(
        train.resolve,
        model_name=model_name,
        train_examples=len(dataset.train),
        facts={"num_classes": dataset.num_classes, "image_size": dataset.image_size},
        batch_size=_BATCH_SIZE.value,
        epochs=_EPOCHS.value,
        lr=_LR.value,
    )
    recipe, sources = recipes.load(name, resolve)
    if _ACCUMULATE.value is not None:
        try:
            recipe = dataclasses.replace(recipe, accumulate=_ACCUMULATE.value)
        except ValueError as error:
            raise UsageError(f"--accumulate={_ACCUMULATE.value}: {error}") from error
    if not dataset.horizontal_flip:
        transforms = dataclasses.replace(recipe.transforms, flip="none")
        recipe = dataclasses.replace(recipe, transforms=transforms)
    return recipe, sources


# Flags that make another run of it; seed, model, data and recipe are in the folder's name anyway.
_IN_THE_NAME = (
    "model_args",
    "image_size",
    "batch_size",
    "epochs",
    "lr",
    "accumulate",
    "target",
    "eval_every",
    "dtype",
    "normalise",
    "train_split",
    "validation_split",
    "split_seed",
    "on_bad_image",
    "cache",
)


def _overridden():
    """What the command line sets, for the name of the folder, such as `lr0.1`."""
    import re

    given = [flags.FLAGS[name] for name in _IN_THE_NAME if flags.FLAGS[name].present]
    return [
        re.sub(r"[^\w.,%=()]+", "_", f"{flag.name}{_short(flag.value)}")
        for flag in given
        if flag.value != flag.default
    ]


def _short(value):
    return f"{value:g}" if isinstance(value, float) else value


def _together(*parts):
    """The texts of the user's files; two of one name are refused, since a run keeps a copy of each.

    Raises:
      UsageError: two files of one name differ.
    """
    from jaxeff.errors import UsageError

    found = {}
    for name, text in ((name, text) for part in parts for name, text in part.items()):
        if found.setdefault(name, text) != text:
            raise UsageError(f"--model and --recipe: two files are called {name}; rename one")
    return found


def _prepared(dataset, workdir):
    """The data set, checked, kept decoded and measured as far as the flags say."""
    from jaxeff import data

    _require_readable_images(dataset)
    if _CACHE.value != "none":
        dataset = data.in_memory(dataset, _bar("decoding training images"))
        dataset = data.with_evaluation_crops(dataset, _bar("decoding validation images"))
    if _NORMALISE.value == "measured":
        dataset = _with_measured_normalisation(dataset, workdir)
    return dataset


def _require_readable_images(dataset) -> None:
    """Ends the run where images cannot be read: all of them, or whether validation's open."""
    from jaxeff import data

    validation, name = dataset.validation, "validation image"
    if not _CHECK_DATA.value:
        unreadable = data.check_headers(validation, name, _bar("checking validation images"))
        data.require_readable("validation", len(validation), unreadable)
        return
    training = dataset.train
    unreadable = data.check_pixels(training, "training image", _bar("checking training images"))
    unreadable += data.check_pixels(validation, name, _bar("checking validation images"))
    data.require_readable("--check_data", len(training) + len(validation), unreadable)


def _with_measured_normalisation(dataset, workdir):
    """Measured, or as the run in `workdir` measured it at its start."""
    import dataclasses

    from jaxeff import data, records

    if (workdir / "record.json").exists():
        task = records.read(workdir / "record.json").task
        if "mean" in task:
            return dataclasses.replace(dataset, mean=tuple(task["mean"]), std=tuple(task["std"]))
    return data.with_measured_normalisation(dataset, _bar("measuring training images"))


def _bar(text: str):
    """Wraps an iteration in a bar that is called `text`, on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return lambda items: track(items, text, console=console, disable=not console.is_terminal)


def _loader_processes(dataset) -> int:
    """As asked for, else what suits the machine; memory takes no processes."""
    import os

    from jaxeff import data

    if _NUM_WORKERS.value is not None:
        return _NUM_WORKERS.value
    return 0 if dataset.in_memory else data.loader_processes(os.cpu_count() or 1)


GROUPS = {
    "Common flags": (
        "model",
        "dataset",
        "data_dir",
        "recipe",
        "target",
        "epochs",
        "seed",
        "workdir",
    ),
    "How it is trained": ("model_args", "batch_size", "lr", "accumulate", "dtype"),
    "What it is trained on": (
        "image_size",
        "train_split",
        "validation_split",
        "split_seed",
        "normalise",
        "cache",
        "check_data",
        "on_bad_image",
        "accept_changed_data",
        "num_workers",
    ),
    "When it is measured, and what is kept": (
        "eval_every",
        "stop_at_target",
        "log_every",
        "log_to",
        "checkpoint_every",
        "profile",
    ),
    "Several hosts": ("coordinator_address", "num_processes", "process_id", "join_timeout"),
}


if __name__ == "__main__":
    cli.run(main, __doc__, groups=GROUPS)
