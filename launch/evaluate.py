"""Measures top-1, top-5 and loss of a trained model on a validation set.

    python launch/evaluate.py --workdir=runs/shufflenet_v2-digits-small-s0

evaluates the newest checkpoint of a run of train.py on the data set of that run.

    python launch/evaluate.py --model=resnet50 \\
        --torch_weights=resnet50.safetensors \\
        --dataset=image_folder --data_dir=/data/imagenet

evaluates weights in PyTorch's format, such as torchvision's published ones: .safetensors, or
.pth, .pt, .bin, .ckpt and .pth.tar where PyTorch is installed (no code in them is ever run). Of a
training script's checkpoint, the weights below state_dict, model_state_dict, model, net or the name
of an average (model_ema, …) are taken.
"""

import cli
from absl import flags

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run of train.py.")
_EMA = flags.DEFINE_bool(
    "ema", False, "With --workdir: the averaged parameters, where the run's recipe keeps them."
)
_MODEL = flags.DEFINE_string("model", None, "Architecture, with --torch_weights.")
_MODEL_ARGS = flags.DEFINE_string("model_args", "", "Arguments of the architecture.")
_TORCH_WEIGHTS = flags.DEFINE_string("torch_weights", None, "File of PyTorch weights.")
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set, as for train.py. Default: that of the run, or digits."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder or file of the data set, where it needs one."
)
_TRAIN_SPLIT = flags.DEFINE_string(
    "train_split", None, "Split or slice, as for train.py. Default: that of the run."
)
_VALIDATION_SPLIT = flags.DEFINE_string(
    "validation_split", None, "Likewise, the one to measure on. Default: that of the run."
)
_SPLIT_SEED = flags.DEFINE_integer(
    "split_seed", None, "As for train.py. Default: that of the run.", lower_bound=0
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side in pixels at which the network sees the images.", lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images at a time.", lower_bound=1)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Processes that decode images; 0: threads.")
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "What to print.")


def dataset_of(record, data_dir: str | None) -> str:
    """What `--dataset` is to be for the data of a record.

    A record names its data after their folder, which may be called like a set of another kind.

    Args:
      record: of a run.
      data_dir: as given; where there is a folder `train` in it, it is an image folder.
    """
    import pathlib

    from jaxeff import data

    task, name = record.task, record.dataset.name
    if "source" in task:
        return task["source"]
    if data_dir is not None and (pathlib.Path(data_dir).expanduser() / "train").is_dir():
        return "image_folder"
    is_sliced = "train_split" in task or "validation_split" in task
    return name if name in data.names() or is_sliced else "image_folder"


def main() -> int:
    """Evaluates what the flags name; returns the exit status."""
    import dataclasses
    import json
    import sys

    import networks

    import models
    from jaxeff import data, tasks, train
    from jaxeff.errors import UsageError

    if (_WORKDIR.value is None) == (_TORCH_WEIGHTS.value is None):
        raise UsageError("give either --workdir=FOLDER or --model=NAME with --torch_weights=FILE")
    if _WORKDIR.value is not None:
        variables, record = train.restore_variables(_WORKDIR.value, average=_EMA.value)
        model, dtype = networks.load_from_workdir(_WORKDIR.value, record), record.recipe["dtype"]
        image_size = _IMAGE_SIZE.value or record.task["image_size"]
        dataset_name, of_run = _DATASET.value or dataset_of(record, _DATA_DIR.value), record.task
        num_classes, weights = record.task["num_classes"], _WORKDIR.value
    else:
        from models import torch_weights

        if _MODEL.value is None:
            raise UsageError("--model is missing: which architecture are the weights of?")
        if ":" in _MODEL.value:
            raise UsageError(
                f"--model={_MODEL.value}: PyTorch's weights are converted for packaged models "
                "alone; --workdir=FOLDER evaluates a run of your own"
            )
        models.check(_MODEL.value)
        name, dtype, image_size = _MODEL.value, "float32", _IMAGE_SIZE.value
        given = networks.parse_args(_MODEL_ARGS.value)
        model = networks.load(name, {**models.torch_fields(name), **given})
        state = torch_weights.read_state_dict(_TORCH_WEIGHTS.value)
        variables = torch_weights.convert(name, state)
        num_classes, weights = torch_weights.num_classes(name, state), _TORCH_WEIGHTS.value
        dataset_name, of_run = _DATASET.value or "digits", {}

    chosen = {
        "train_split": _TRAIN_SPLIT.value,
        "validation_split": _VALIDATION_SPLIT.value,
        "split_seed": _SPLIT_SEED.value,
    }
    if _DATASET.value is None:
        chosen = {key: of_run.get(key) if value is None else value for key, value in chosen.items()}
    dataset = data.load(dataset_name, data_dir=_DATA_DIR.value, image_size=image_size, **chosen)
    if "mean" in of_run:  # What the network was trained with, whatever it is evaluated on.
        mean, std = tuple(of_run["mean"]), tuple(of_run["std"])
        dataset = dataclasses.replace(dataset, mean=mean, std=std)
    for note in dataset.notes:
        print(f"note: {note}", file=sys.stderr)
    if _WORKDIR.value is not None and dataset.fingerprint != record.dataset.fingerprint:
        print(
            "note: these are not the data of the run, by their fingerprint "
            f"{dataset.fingerprint:.8} and {record.dataset.fingerprint:.8}",
            file=sys.stderr,
        )
    if num_classes != len(dataset.class_names):
        raise UsageError(
            f"{weights} tells {num_classes} classes apart and {dataset.name} has "
            f"{len(dataset.class_names)}: give the data set that it was trained for"
        )
    metrics = train.evaluate_variables(
        model.make_module(num_classes, dtype),
        variables,
        tasks.ImageClassification(dataset, dataset.image_size),
        _BATCH_SIZE.value,
        _NUM_WORKERS.value,
    )
    result = {
        "model": model.name,
        "weights": weights,
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "image_size": dataset.image_size,
        "images": metrics.pop("examples"),
        **metrics,
    }
    if _FORMAT.value == "json":
        print(json.dumps(result))
    else:
        shown = f"{dataset.name} at {dataset.image_size} px, {result['images']:,} images"
        print(f"{model.name} on {shown}")
        print(f"  top-1  {100 * metrics['top1']:.2f} %")
        print(f"  top-5  {100 * metrics['top5']:.2f} %")
        print(f"  loss   {metrics['loss']:.4f}")
    return 0


if __name__ == "__main__":
    cli.run(
        main,
        __doc__,
        groups={
            "Common flags": ("workdir", "dataset", "data_dir", "ema"),
            "PyTorch's weights": ("torch_weights", "model", "model_args"),
        },
    )
