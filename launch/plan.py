"""Estimates what a measurement will take: hours, chip-hours, cost, and images a second to feed.

    python launch/plan.py --models=paper --device=v5e --devices=8

plans the sixteen models of the paper's Table 3 on ImageNet, each for the epochs after which the
paper saw it reach AlexNet's accuracy, on eight TPU v5e. Nothing is trained, no accelerator is
touched; XLA counts the FLOPs of a training step (half a minute for the sixteen).

    hours = images x (FLOPs of training an image + evaluation) / (devices x peak x utilization)

Count and peak are facts, and the source of the peak is printed. Utilization, price and, if you give
them, epochs are assumptions. Utilization differs widely: depthwise networks (MobileNet, ShuffleNet,
EfficientNet) may stay below 0.1 where ResNet-50 reaches 0.4. Measure yours with

    python launch/benchmark.py step --models=resnet50 --batch_size=256 --image_size=224

on the device. To learn how many cores it takes to feed the devices, measure how many images a
second one core decodes with

    python launch/benchmark.py input --data_dir=DIR

and give that as --images_per_second_per_core.

A device is what JAX calls one: a core of TPU v2 and v3, half of a TPU7x, otherwise a chip.
Prices change too often to be kept here: give --price_per_chip_hour from your provider's list.
"""

import cli
import counting
from absl import flags

VALIDATION_IMAGES = 50_000

_MODELS = flags.DEFINE_string(
    "models",
    "paper",
    "Names with commas between, paper (the sixteen of Table 3) or all; yours as FILE.py:NAME.",
)
_MODEL_ARGS = flags.DEFINE_string("model_args", "", "Arguments of the models, such as width=64.")
_DEVICE = flags.DEFINE_string("device", "v5e", "Such as v5e, v4, v6e, a100, h100, 'NVIDIA L4'.")
_DEVICES = flags.DEFINE_integer("devices", 8, "JAX devices, over all hosts.", lower_bound=1)
_UTILIZATION = flags.DEFINE_float(
    "utilization",
    0.3,
    "Assumed fraction of the devices' peak that training attains, above 0 and at most 1.",
)
_PRICE = flags.DEFINE_float(
    "price_per_chip_hour", None, "In any currency; without it no cost is printed.", lower_bound=0
)
_EPOCHS = flags.DEFINE_float(
    "epochs", None, "Epochs of every model (default: the paper's, to AlexNet's accuracy)."
)
_TRAIN_IMAGES = flags.DEFINE_integer(
    "train_images", 1_280_000, "Images an epoch, as the paper counts ImageNet's.", lower_bound=1
)
_VALIDATION_IMAGES = flags.DEFINE_integer(
    "validation_images",
    VALIDATION_IMAGES,
    "Images an evaluation, of which there is one an epoch.",
    lower_bound=0,
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 224, "Side of the images in pixels.", lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Images a step.", lower_bound=1)
_NUM_CLASSES = flags.DEFINE_integer("num_classes", 1000, "Number of classes.", lower_bound=1)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Type of the arithmetic, which decides the peak."
)
_PER_CORE = flags.DEFINE_float(
    "images_per_second_per_core",
    None,
    "What one core of a host decodes, by benchmark.py input; adds the cores that feeding takes.",
    lower_bound=1e-9,
)
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "How to print the plan.")


def main() -> int:
    """Counts, plans and prints; returns the exit status."""
    import os

    # Counting touches no accelerator, here and in the processes that this one starts.
    os.environ["JAX_PLATFORMS"] = "cpu"

    import networks

    from jaxeff import compute
    from jaxeff.compute.hardware import DEVICES_PER_CHIP, PEAKS
    from jaxeff.errors import UsageError

    if not 0 < _UTILIZATION.value <= 1:
        raise UsageError(f"--utilization={_UTILIZATION.value}: give a fraction above 0, at most 1")
    if _EPOCHS.value is not None and not _EPOCHS.value > 0:
        raise UsageError(f"--epochs={_EPOCHS.value}: give a number above 0")
    device_kind = compute.find_device(_DEVICE.value)
    peak = compute.arithmetic_peak(device_kind, _DTYPE.value)
    if peak is None:
        raise UsageError(
            f"--dtype={_DTYPE.value}: no peak is published for {device_kind}; give another"
        )
    chosen = networks.load_all(_MODELS.value, _MODEL_ARGS.value)
    epochs = [epochs_of(model) for model in chosen]
    costs = counting.in_parallel(
        counting.training_cost,
        chosen,
        image_size=_IMAGE_SIZE.value,
        batch_size=_BATCH_SIZE.value,
        num_classes=_NUM_CLASSES.value,
    )
    flops_per_second, precision = peak
    assumptions = {
        "device_kind": device_kind,
        "devices": _DEVICES.value,
        "chips": _DEVICES.value / DEVICES_PER_CHIP.get(device_kind, 1),
        "peak_flops_per_second_per_device": flops_per_second,
        "peak_precision": precision,
        "peak_source": PEAKS[device_kind][1],
        "utilization": _UTILIZATION.value,
        "price_per_chip_hour": _PRICE.value,
        "train_images": _TRAIN_IMAGES.value,
        "validation_images": _VALIDATION_IMAGES.value,
        "image_size": _IMAGE_SIZE.value,
        "batch_size": _BATCH_SIZE.value,
        "dtype": _DTYPE.value,
    }
    rows = [
        plan(model.name, passes, cost, assumptions)
        for model, passes, cost in zip(chosen, epochs, costs, strict=True)
    ]
    total = {
        key: None if rows[0][key] is None else sum(row[key] for row in rows)
        for key in ("train_flops", "evaluation_flops", "hours", "chip_hours", "cost")
    }
    {"table": print_table, "json": print_json}[_FORMAT.value](rows, total, assumptions)
    return 0


def epochs_of(model) -> float:
    """Returns `--epochs`, or those that the paper's Table 3 prints for a model."""
    from jaxeff.errors import UsageError
    from jaxeff.report import published

    if _EPOCHS.value is not None:
        return _EPOCHS.value
    printed = {row.our_name: row.epochs for row in published.alexnet_level()}
    if model.source is not None or model.name not in printed:
        raise UsageError(f"the paper prints no epochs for {model.name}: give --epochs")
    return printed[model.name]


def plan(name: str, epochs: float, cost, assumptions: dict) -> dict:
    """Plans the training of one model.

    Args:
      name: name of the model.
      epochs: passes over `train_images`, with an evaluation after each.
      cost: the `jaxeff.train.TrainingCost` of a step.
      assumptions: what `main` prints as assumptions.

    Returns:
      FLOPs (XLA's count for training, two a multiply-accumulate for evaluation), hours, chip-hours,
      cost (None without a price) and the images a second that the hosts must feed while training.
    """
    images = epochs * assumptions["train_images"]
    train_flops = cost.flops_per_step / cost.batch_size * images
    evaluated = epochs * assumptions["validation_images"]
    evaluation_flops = 2 * cost.macs_forward_per_example * evaluated
    attained = (
        assumptions["devices"]
        * assumptions["peak_flops_per_second_per_device"]
        * assumptions["utilization"]
    )
    hours = (train_flops + evaluation_flops) / attained / 3600
    chip_hours = hours * assumptions["chips"]
    price = assumptions["price_per_chip_hour"]
    return {
        "model": name,
        "epochs": epochs,
        "train_flops_per_image": cost.flops_per_step / cost.batch_size,
        "train_flops": train_flops,
        "evaluation_flops": evaluation_flops,
        "input_images_per_second": images / (train_flops / attained),
        "input_cores": None
        if _PER_CORE.value is None
        else images / (train_flops / attained) / _PER_CORE.value,
        "hours": hours,
        "chip_hours": chip_hours,
        "cost": None if price is None else price * chip_hours,
    }


def print_table(rows: list[dict], total: dict, assumptions: dict) -> None:
    """Prints columns for people, then what they rest on."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    priced = total["cost"] is not None
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    columns = {
        "model": "all",
        "epochs": "",
        "FLOPs, training": f"{total['train_flops']:.3e}",
        "images/s to feed": "",
        **({"cores for that": ""} if _PER_CORE.value else {}),
        "hours": f"{total['hours']:,.2f}",
        "chip-hours": f"{total['chip_hours']:,.1f}",
    } | ({"cost": f"{total['cost']:,.2f}"} if priced else {})
    for column, footer in columns.items():
        table.add_column(column, footer, justify="left" if column == "model" else "right")
    for row in rows:
        table.add_row(
            row["model"],
            f"{row['epochs']:g}",
            f"{row['train_flops']:.3e}",
            f"{row['input_images_per_second']:,.0f}",
            *([f"{row['input_cores']:,.1f}"] if _PER_CORE.value else []),
            f"{row['hours']:,.2f}",
            f"{row['chip_hours']:,.1f}",
            *([f"{row['cost']:,.2f}"] if priced else []),
        )
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(width=110, highlight=False)
    console.print(table)
    peak = assumptions["peak_flops_per_second_per_device"]
    console.print(
        f"Known: XLA's FLOPs of a training step at {assumptions['image_size']} px; "
        f"{assumptions['devices']} x {assumptions['device_kind']} at {peak:.4g} FLOP/s each in "
        f"{assumptions['peak_precision']} ({assumptions['peak_source']})."
    )
    console.print(
        f"Assumed: utilization {assumptions['utilization']:g} in training and evaluation; "
        f"{assumptions['train_images']:,} training and {assumptions['validation_images']:,} "
        "validation images an epoch; "
        + ("epochs as given" if _EPOCHS.value is not None else "epochs as in the paper's Table 3")
        + (f"; {assumptions['price_per_chip_hour']:g} a chip-hour" if priced else "")
        + "."
    )
    console.print("Not included: compilation, start-up, restarts, hosts that cannot keep up.")


def print_json(rows: list[dict], total: dict, assumptions: dict) -> None:
    """Prints `{"assumptions": …, "models": [row, …], "total": …}`, in base units."""
    import json

    print(json.dumps({"assumptions": assumptions, "models": rows, "total": total}, indent=1))


if __name__ == "__main__":
    cli.run(main, __doc__)
