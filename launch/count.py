"""Prints what models cost: parameters, multiply-accumulates, FLOPs of a training step.

    python launch/count.py --models=paper

counts the sixteen models of the paper's Table 3 beside the paper's numbers, and the paper's
headline (AlexNet to EfficientNet-b0) under each convention. Nothing is run or compiled, no data are
read and no accelerator is touched; the numbers are the same on every machine.

    python launch/count.py --models=shufflenet_v2 --image_size=64 --breakdown

lists, for one model, the operations of a training step layer by layer, and derives the count of XLA
from the multiply-accumulates.

    python launch/count.py --fn=mystep.py:step

counts a function of your own, which is neither compiled nor run: a step in JAX, Flax (Linen or
NNX), Equinox or Haiku. Beside it the file has `step_arguments()`, which returns the arguments as a
tuple, or as a dictionary of keyword arguments: arrays, `jax.ShapeDtypeStruct`, modules, optimizers.

The columns: forward multiply-accumulates of one image, padding included (MACs); the paper's MACs
and ours relative to them; XLA's count of a training step for each image, update included, and its
ratio to 6 x MACs (the usual estimate: forward, and twice that for the gradient, two operations
each); the elements that convolutions and matrix products write in a forward pass (activations).
"""

import cli
import counting
import networks
import user_files
from absl import flags

_MODELS = flags.DEFINE_string(
    "models",
    "paper",
    "Names with commas between, paper (the sixteen of Table 3) or all; yours as FILE.py:NAME.",
)
_MODEL_ARGS = flags.DEFINE_string("model_args", "", "Arguments of the models, such as width=64.")
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 224, "Side of the images in pixels.", lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 256, "Images a step, over which the update is spread.", lower_bound=1
)
_NUM_CLASSES = flags.DEFINE_integer("num_classes", 1000, "Number of classes.", lower_bound=1)
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json", "csv"], "How to print the costs.")
_FN = flags.DEFINE_string(
    "fn",
    None,
    "FILE.py:FUNCTION to count; FUNCTION_arguments() in that file makes its arguments, and a dict "
    "FUNCTION_trip_counts says how often its while loops run.",
)
_BREAKDOWN = flags.DEFINE_bool("breakdown", False, "Print a table of layers, for one model.")


def main() -> int:
    """Counts and prints; returns the exit status."""
    import os

    # Counting touches no accelerator, here and in the processes that this one starts.
    os.environ["JAX_PLATFORMS"] = "cpu"

    if _FN.value is not None:
        sizes = ("image_size", "batch_size", "num_classes")
        cli.refuse_beside("fn", ("models", "model_args", *sizes, "breakdown", "format"))
        _print_as_it_is(str(function_cost(_FN.value)))
        return 0

    from jaxeff.errors import UsageError

    chosen = networks.load_all(_MODELS.value, _MODEL_ARGS.value)
    if _BREAKDOWN.value:
        if len(chosen) > 1:
            raise UsageError(f"--breakdown is for one model, and --models names {len(chosen)}")
        _print_as_it_is(breakdown(chosen[0]))
        return 0
    rows = counting.in_parallel(
        count,
        chosen,
        image_size=_IMAGE_SIZE.value,
        batch_size=_BATCH_SIZE.value,
        num_classes=_NUM_CLASSES.value,
    )
    headlines = headline(rows) if _IMAGE_SIZE.value == 224 and _NUM_CLASSES.value == 1000 else {}
    PRINTERS[_FORMAT.value](rows, headlines)
    return 0


def function_cost(place: str):
    """Returns the `jaxeff.compute.StepCost` of a user's function, `FILE.py:FUNCTION`.

    Raises:
      UsageError: the file cannot be read or run, or lacks the function or its arguments.
    """
    import pathlib

    from jaxeff import compute
    from jaxeff.errors import UsageError

    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise UsageError(f"--fn={place}: give FILE.py:FUNCTION")
    path = pathlib.Path(file).expanduser()
    if not path.is_file():
        raise UsageError(f"--fn={place}: there is no file {path}")
    user_file = user_files.run_file(path)
    function, make_arguments = map(user_file.constant, (name, f"{name}_arguments"))
    if function is None or make_arguments is None:
        raise UsageError(
            f"--fn={place}: the file needs {name} and {name}_arguments(), which returns its "
            "arguments"
        )
    arguments = make_arguments()
    if not isinstance(arguments, tuple | list | dict):
        raise UsageError(
            f"--fn={place}: {name}_arguments() returns a {type(arguments).__name__}; give a tuple "
            "of positional arguments, or a dict of keyword arguments"
        )
    if isinstance(arguments, dict) and "trip_counts" in arguments:
        raise UsageError(f"--fn={place}: rename its argument trip_counts, which says how loops run")
    trip_counts = user_file.constant(f"{name}_trip_counts") or {}
    if not isinstance(trip_counts, dict):
        raise UsageError(f"--fn={place}: {name}_trip_counts is no dict")
    if isinstance(arguments, dict):
        return compute.step_cost(function, **arguments, trip_counts=trip_counts)
    return compute.step_cost(function, *arguments, trip_counts=trip_counts)


def count(model, *, image_size: int, batch_size: int, num_classes: int) -> dict:
    """Returns what `model` costs, by column; None where the paper has no number."""
    import jax
    import jax.numpy as jnp

    from jaxeff import compute
    from jaxeff.report import published
    from jaxeff.train import user_module

    name, module = model.name, model.make_module(num_classes)
    cost = counting.training_cost(
        model, image_size=image_size, batch_size=batch_size, num_classes=num_classes
    )
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    streams = user_module.initial_streams(module, jax.random.key(0))
    variables = jax.eval_shape(lambda: module.init(streams, jnp.zeros(images.shape)))
    row = {
        "model": name,
        "params": cost.params,
        "macs_forward_per_image": cost.macs_forward_per_example,
        "paper_macs_forward_per_image": None,
        "macs_over_paper_macs": None,
        "xla_train_flops_per_image": cost.flops_per_step / batch_size,
        "xla_over_6_macs": cost.flops_per_step / batch_size / cost.macs_forward_per_example / 6,
        "activations_per_image": compute.count_activations(module.apply, variables, images),
        "paper_epochs": None,
        "paper_compute": None,
        "compute_exact_macs": None,
        "compute_xla": None,
    }
    in_paper = {printed.our_name: printed for printed in published.alexnet_level()}.get(name)
    if in_paper is not None and model.source is None and not model.args and image_size == 224:
        images_trained_on = in_paper.epochs * compute.IMAGENET_EPOCH_IMAGES
        row |= {
            "paper_macs_forward_per_image": in_paper.macs_forward,
            "macs_over_paper_macs": cost.macs_forward_per_example / in_paper.macs_forward,
            "paper_epochs": in_paper.epochs,
            "paper_compute": in_paper.printed_compute,
            "compute_exact_macs": compute.paper_flops(
                cost.macs_forward_per_example, images_trained_on
            ),
            "compute_xla": row["xla_train_flops_per_image"] * images_trained_on,
        }
    return row


def breakdown(model) -> str:
    """Returns a table of the operations in a training step of `model`, layer by layer."""
    cost = counting.training_step_cost(
        model,
        image_size=_IMAGE_SIZE.value,
        batch_size=_BATCH_SIZE.value,
        num_classes=_NUM_CLASSES.value,
    )
    title = (
        f"{model.name} at {_IMAGE_SIZE.value} px: one training step of {_BATCH_SIZE.value} images"
    )
    return f"{title}\n\n{cost}"


def _print_as_it_is(text):
    import tables

    print(text)
    tables.note_width(max(map(len, text.splitlines())))


def headline(rows: list[dict]) -> dict[str, float]:
    """Returns the factor between AlexNet and EfficientNet-b0 by convention; empty without both."""
    by_name = {row["model"]: row for row in rows}
    if not {"alexnet", "efficientnet_b0"} <= set(by_name):
        return {}
    conventions = {
        "as printed": "paper_compute",
        "3 x exact forward MACs": "compute_exact_macs",
        "XLA count": "compute_xla",
    }
    return {
        convention: by_name["alexnet"][column] / by_name["efficientnet_b0"][column]
        for convention, column in conventions.items()
    }


def print_table(rows: list[dict], headlines: dict[str, float]) -> None:
    """Prints columns for people, in millions."""
    import tables

    columns = (
        "model",
        "params",
        "forward\nMACs",
        "the\npaper's",
        "differ\nby",
        "training\nFLOPs",
        "over 6\nMACs",
        "activ-\nations",
    )
    cells = []
    for row in rows:
        paper = row["paper_macs_forward_per_image"]
        cells.append(
            (
                row["model"],
                f"{row['params'] / 1e6:.2f}",
                f"{row['macs_forward_per_image'] / 1e6:,.1f}",
                "" if paper is None else f"{paper / 1e6:,.0f}",
                "" if paper is None else f"{100 * row['macs_over_paper_macs'] - 100:+.1f}%",
                f"{row['xla_train_flops_per_image'] / 1e6:,.1f}",
                f"{row['xla_over_6_macs']:.3f}",
                f"{row['activations_per_image'] / 1e6:.1f}",
            )
        )
    tables.show(dict.fromkeys(columns, ""), cells)
    print("In millions, for an image; training FLOPs are XLA's count of a step.")
    if headlines:
        print("AlexNet to EfficientNet-b0, training compute to AlexNet level, less by")
        for convention, factor in headlines.items():
            print(f"  {factor:5.1f} x  {convention}")


def print_json(rows: list[dict], headlines: dict[str, float]) -> None:
    """Prints `{"models": […], "alexnet_to_efficientnet_b0": {convention: factor}}`, base units."""
    import json

    print(json.dumps({"models": rows, "alexnet_to_efficientnet_b0": headlines}, indent=1))


def print_csv(rows: list[dict], headlines: dict[str, float]) -> None:
    """Prints a line for each model in base units, empty where the paper has no number."""
    import csv
    import sys

    del headlines  # They follow from the columns.
    from jaxeff.cells import inert

    writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: inert(cell) for column, cell in row.items()} for row in rows)


PRINTERS = {"table": print_table, "json": print_json, "csv": print_csv}


if __name__ == "__main__":
    cli.run(
        main,
        __doc__,
        groups={"Common flags": ("models", "image_size", "breakdown", "fn", "format")},
    )
