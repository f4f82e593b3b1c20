"""Estimates what a measurement will take: hours, chip-hours, cost, and what binds its speed.

    python launch/plan.py --models=paper --device=v5e --devices=8

plans the sixteen models of the paper's Table 3 on ImageNet, each for the epochs after which the
paper saw it reach AlexNet's accuracy, on eight TPU v5e. Nothing is trained, no accelerator is
touched; counting takes a minute or two for the sixteen.

    step = roofline / attained + all-reduce
    hours = images / min(devices' rate, hosts' rate)

The roofline is the longer of arithmetic (XLA's FLOPs at the device's peak) and memory (the bytes
that an ideal compiler's program moves, jaxeff.compute.count_bytes, at the memory's bandwidth): most
of these networks are bound by memory. --attained says how much of it training attains. Its default,
0.5, is the middle of what published runs of ResNet-50 attained (0.35 to 0.68: docs/tpu.md). The
all-reduce adds up the gradients over the links, and overlaps with nothing here.

    python launch/plan.py --models=resnet50 --compile --device=v5e \\
        --topology=4x4 --dtype=bfloat16

asks the TPU compiler, which needs no TPU (extra tpu; a minute or two a model on two
cores): whether the step fits, the largest batch that does, the bytes that its program moves, and
its own estimate of the time, which is the roofline where it is the longest. With
--compiled=plan.jsonl the same command goes on after an interruption, and answers at once later.
With --largest_batch larger steps are compiled until the largest that fits is known.

Hosts bind too: measure how many images a second one core decodes with

    python launch/benchmark.py input --data_dir=DIR --against=

and give that as --images_per_second_per_core, with the --cores of all hosts together.

A device is what JAX calls one: a core of TPU v2 and v3, half of a TPU7x, otherwise a chip.
Prices change too often to be kept here: give --price_per_chip_hour from your provider's list.

Exit status: 0 done; 1 the TPU compiler failed for a model, which is named; 2 wrong flags or
unreadable input, told in one line.
"""

import os

import cli
import counting
from absl import flags

VALIDATION_IMAGES = 50_000
CHIPS = (1, 4, 16, 64, 256, 1024)
_LANES = 128  # A TPU computes so many numbers side by side: images, or with fewer channels.

_MODELS = flags.DEFINE_string(
    "models",
    "paper",
    "Names with commas between, paper (the sixteen of Table 3) or all; yours as FILE.py:NAME.",
)
_MODEL_ARGS = flags.DEFINE_string("model_args", "", "Arguments of the models, such as width=64.")
_DEVICE = flags.DEFINE_string("device", "v5e", "Such as v5e, v4, v6e, a100, h100, 'NVIDIA L4'.")
_DEVICES = flags.DEFINE_integer(
    "devices", None, "JAX devices, over all hosts. Default: 8, or those of --topology.", 1
)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Of a TPU slice, instead of --devices: its chips, such as 4x4 or 2x2x1."
)
_COMPILE = flags.DEFINE_bool("compile", False, "Ask the TPU compiler what each step takes.")
_COMPILED = flags.DEFINE_string(
    "compiled", None, "File that keeps what the compiler said, a line an answer, for the next time."
)
_LARGEST_BATCH = flags.DEFINE_bool(
    "largest_batch",
    False,
    "With --compile: find the largest batch that fits by compiling larger ones, two to a dozen a "
    "model. Without, it is estimated, rather too low.",
)
_ATTAINED = flags.DEFINE_float(
    "attained", 0.5, "Assumed fraction of the roofline that training attains, above 0, at most 1."
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
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 256, "Images a step, over all devices together.", lower_bound=1
)
_NUM_CLASSES = flags.DEFINE_integer("num_classes", 1000, "Number of classes.", lower_bound=1)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16"],
    "Type of the arithmetic: it decides peak and bytes.",
)
_CORES = flags.DEFINE_integer(
    "cores", None, "CPU cores that decode images, of all hosts together.", lower_bound=1
)
_PER_CORE = flags.DEFINE_float(
    "images_per_second_per_core",
    None,
    "What one core decodes, by benchmark.py input. With --cores it bounds the rate; without, the "
    "table says how many cores the devices need.",
    lower_bound=1e-9,
)
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "How to print the plan.")


def main() -> int:
    """Counts, plans and prints; returns 1 if the compiler failed for a model."""
    import compiling
    import networks

    from jaxeff import compute, extras
    from jaxeff.errors import UsageError

    if not 0 < _ATTAINED.value <= 1:
        raise UsageError(f"--attained={_ATTAINED.value}: give a fraction above 0, at most 1")
    if _EPOCHS.value is not None and not _EPOCHS.value > 0:
        raise UsageError(f"--epochs={_EPOCHS.value}: give a number above 0")
    if _CORES.value is not None and _PER_CORE.value is None:
        raise UsageError("--cores needs --images_per_second_per_core, by benchmark.py input")
    device_kind = compute.find_device(_DEVICE.value)
    topology, devices = _devices(device_kind)
    answers = None
    if _COMPILE.value:
        extras.require("tpu", "--compile")
        answers = None if _COMPILED.value is None else compiling.Answers(_COMPILED.value)
    elif _LARGEST_BATCH.value or _COMPILED.value is not None:
        raise UsageError("--largest_batch and --compiled need --compile")
    if _BATCH_SIZE.value % devices:
        raise UsageError(
            f"--batch_size={_BATCH_SIZE.value} cannot be shared evenly by {devices} devices: give "
            f"{max(1, _BATCH_SIZE.value // devices) * devices}"
        )
    peak = compute.arithmetic_peak(device_kind, _DTYPE.value)
    if peak is None:
        raise UsageError(
            f"--dtype={_DTYPE.value}: no peak is published for {device_kind}; give another"
        )
    chosen = networks.load_all(_MODELS.value, _MODEL_ARGS.value)
    epochs = [epochs_of(model) for model in chosen]
    each = _BATCH_SIZE.value // devices
    sizes = {"image_size": _IMAGE_SIZE.value, "num_classes": _NUM_CLASSES.value}
    costs = counting.in_parallel(
        counting.training_cost, chosen, batch_size=_BATCH_SIZE.value, **sizes
    )
    if _COMPILE.value:
        steps = _compiled_steps(chosen, device_kind, topology, devices, answers, sizes)
    else:
        counted = counting.in_parallel(
            counting.training_bytes, chosen, batch_size=each, dtype=_DTYPE.value, **sizes
        )
        steps = [{"bytes_accessed": size} for size in counted]
    assumptions = {
        "device_kind": device_kind,
        "devices": devices,
        "topology": topology,
        "chips": devices / compute.hardware.DEVICES_PER_CHIP.get(device_kind, 1),
        "peak_flops_per_second_per_device": peak[0],
        "peak_precision": peak[1],
        "memory_bytes_per_second_per_device": compute.device_memory(device_kind)[1],
        "sources": compute.hardware.sources(device_kind),
        "bytes": "the TPU compiler's" if _COMPILE.value else "an ideal compiler's, counted",
        "largest_batch": ("compiled" if _LARGEST_BATCH.value else "estimated")
        if _COMPILE.value
        else None,
        "attained": _ATTAINED.value,
        "cores": _CORES.value,
        "images_per_second_per_core": _PER_CORE.value,
        "price_per_chip_hour": _PRICE.value,
        "train_images": _TRAIN_IMAGES.value,
        "validation_images": _VALIDATION_IMAGES.value,
        "image_size": _IMAGE_SIZE.value,
        "batch_size": _BATCH_SIZE.value,
        "dtype": _DTYPE.value,
    }
    rows = [
        plan(model.name, passes, cost, step, assumptions)
        for model, passes, cost, step in zip(chosen, epochs, costs, steps, strict=True)
    ]
    total = {
        key: sum(values) if (values := [row[key] for row in rows if row[key] is not None]) else None
        for key in ("train_flops", "evaluation_flops", "hours", "chip_hours", "cost")
    }
    {"table": print_table, "json": print_json}[_FORMAT.value](rows, total, assumptions)
    return 1 if any(row["failed"] for row in rows) else 0


def _devices(device_kind: str) -> tuple[tuple[int, ...] | None, int]:
    """The slice's chips along its axes, if it must be known, and the number of devices."""
    from jaxeff.compute import tpu_compiler
    from jaxeff.compute.hardware import DEVICES_PER_CHIP
    from jaxeff.errors import UsageError

    if _TOPOLOGY.value is None:
        devices = _DEVICES.value or 8
        if not _COMPILE.value:
            return None, devices
        chips = devices // DEVICES_PER_CHIP.get(device_kind, 1)
        found = tpu_compiler.square_slice(device_kind, chips)
    else:
        found = tpu_compiler.parse_slice(device_kind, _TOPOLOGY.value)
        devices = _DEVICES.value or found.devices
    if devices != found.devices:
        raise UsageError(
            f"--devices={devices}: the slice {found.name} has {found.devices}; leave one flag out"
        )
    return found.topology, devices


def _compiled_steps(
    chosen: list, device_kind: str, topology: tuple, devices: int, answers, sizes: dict
) -> list[dict]:
    """What the TPU compiler says of each model's step, one after the other."""
    import compiling
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    arguments = {
        "device_kind": device_kind,
        "topology": topology,
        "answers": answers,
        "batch_size": _BATCH_SIZE.value,
        "dtype": _DTYPE.value,
        **sizes,
    }
    steps = []
    for model in track(
        chosen, "compiling", console=console, transient=True, disable=not console.is_terminal
    ):
        step = compiling.compile_step(model, **arguments)
        if _LARGEST_BATCH.value and "failed" not in step:
            found = compiling.largest_batch(model, devices=devices, first=step, **arguments)
            step = step | {"largest_batch_per_device": found}
        steps.append(step)
    return steps


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


def plan(name: str, epochs: float, cost, step: dict, assumptions: dict) -> dict:
    """Plans the training of one model.

    Args:
      name: name of the model.
      epochs: passes over `train_images`, with an evaluation after each.
      cost: the `jaxeff.train.TrainingCost` of a step.
      step: `bytes_accessed` by a step on one device; or what `compiling.compile_step` returns, and
        `largest_batch_per_device` where it was searched for.
      assumptions: what `main` prints as assumptions.

    Returns:
      FLOPs (XLA's count for training, two a multiply-accumulate for evaluation); of a step on one
      device `arithmetic_seconds`, `memory_seconds`, `compiler_seconds`, `all_reduce_seconds`,
      `step_seconds`; `roofline_images_per_second_per_chip`; `images_per_second`, of all devices
      and bounded by the hosts; `bound`, by `arithmetic`, `memory` or `input`; hours, chip-hours and
      cost (None without a price); `scaling`, for numbers of chips with the same batch on each; and
      what the compiler said. What is not known is None, so too all rates if the step does not fit.
    """
    row = {
        "model": name,
        "epochs": epochs,
        "train_flops_per_image": cost.flops_per_step / cost.batch_size,
        "train_flops": cost.flops_per_step / cost.batch_size * epochs * assumptions["train_images"],
        "evaluation_flops": 2
        * cost.macs_forward_per_example
        * epochs
        * assumptions["validation_images"],
        "failed": step.get("failed"),
        "gradient_bytes": step.get("gradient_bytes", 4 * cost.params),
        **_memory(step, assumptions),
    }
    known = row["failed"] is None and row["fits"] is not False
    return row | (_speed(row, cost, step, assumptions) if known else dict.fromkeys(_SPEED))


def _memory(step: dict, assumptions: dict) -> dict:
    """Whether a step fits, and the largest batch that does; None where it was not compiled."""
    import compiling

    from jaxeff.compute import tpu_compiler

    if step.get("needed_bytes") is None:
        return dict.fromkeys(
            ("fits", "needed_bytes", "available_bytes", "largest_batch_per_device")
        )
    place = tpu_compiler.Slice(assumptions["device_kind"], assumptions["topology"])
    available = step["available_bytes"] or place.available_bytes
    row = {"fits": step["fits"], "needed_bytes": step["needed_bytes"], "available_bytes": available}
    if assumptions["largest_batch"] == "compiled":
        return row | {"largest_batch_per_device": step["largest_batch_per_device"]}
    estimated = tpu_compiler.largest_batch(
        batch_size=assumptions["batch_size"] // assumptions["devices"],
        needed_bytes=step["needed_bytes"],
        fixed_bytes=compiling.fixed_bytes(step),
        available_bytes=available,
    )
    return row | {"largest_batch_per_device": estimated}


_SPEED = (
    "arithmetic_seconds",
    "memory_seconds",
    "compiler_seconds",
    "all_reduce_seconds",
    "step_seconds",
    "roofline_images_per_second_per_chip",
    "devices_images_per_second",
    "input_images_per_second",
    "input_cores",
    "images_per_second",
    "bound",
    "hours",
    "chip_hours",
    "cost",
    "scaling",
)


def _speed(row: dict, cost, step: dict, assumptions: dict) -> dict:
    """The part of a plan's row that says how fast training is."""
    from jaxeff import compute

    kind, devices, chips = (assumptions[key] for key in ("device_kind", "devices", "chips"))
    each = assumptions["batch_size"] / devices
    found = compute.device_roofline(
        kind,
        assumptions["dtype"],
        flops=row["train_flops_per_image"] * each,
        bytes_moved=step["bytes_accessed"],
        compiler_seconds=step.get("estimated_seconds"),
    )
    links, on_devices = compute.device_links(kind), found.seconds / assumptions["attained"]

    def all_reduce(number):
        if links is None:
            return 0.0 if number == 1 else None
        return links.all_reduce_seconds(row["gradient_bytes"], number)

    def seconds(number):
        reduced = all_reduce(number)
        return None if reduced is None else on_devices + reduced

    # Where nothing is known of the links they are taken to be fast enough.
    step_seconds = seconds(chips) or on_devices
    of_devices = assumptions["batch_size"] / step_seconds
    of_hosts = None
    if assumptions["cores"] is not None:
        of_hosts = assumptions["cores"] * assumptions["images_per_second_per_core"]
    rate = min(of_devices, of_hosts or of_devices)
    # An evaluation takes the fraction of the operations of training.
    fraction = 2 * cost.macs_forward_per_example / row["train_flops_per_image"]
    evaluation_rate = min(of_devices / fraction, of_hosts or of_devices / fraction)
    hours = (
        row["epochs"]
        / 3600
        * (assumptions["train_images"] / rate + assumptions["validation_images"] / evaluation_rate)
    )
    price = assumptions["price_per_chip_hour"]
    return {
        "arithmetic_seconds": found.arithmetic_seconds,
        "memory_seconds": found.memory_seconds,
        "compiler_seconds": found.compiler_seconds,
        "all_reduce_seconds": all_reduce(chips),
        "step_seconds": step_seconds,
        "roofline_images_per_second_per_chip": assumptions["batch_size"] / chips / found.seconds,
        "devices_images_per_second": of_devices,
        "input_images_per_second": of_hosts,
        "input_cores": None
        if assumptions["images_per_second_per_core"] is None
        else of_devices / assumptions["images_per_second_per_core"],
        "images_per_second": rate,
        "bound": "input" if rate < of_devices else found.bound,
        "hours": hours,
        "chip_hours": hours * chips,
        "cost": None if price is None else price * hours * chips,
        "scaling": [
            {
                "chips": number,
                "batch_size": round(assumptions["batch_size"] / chips * number),
                "step_seconds": seconds(number),
                "efficiency": on_devices / seconds(number),
            }
            for number in (2**power for power in range(11))
            if seconds(number) is not None
        ],
    }


def print_table(rows: list[dict], total: dict, assumptions: dict) -> None:
    """Prints columns for people, then what they rest on."""
    import tables
    from rich.console import Console

    compiled = any(row["needed_bytes"] is not None for row in rows)
    columns = {
        "model": (lambda row: row["model"], "all"),
        "epochs": (lambda row: f"{row['epochs']:g}", ""),
        "FLOPs": (lambda row: f"{row['train_flops']:.2e}", f"{total['train_flops']:.2e}"),
        **(
            {"GiB": (_gib, ""), "most\nimages": (_number("largest_batch_per_device"), "")}
            if compiled
            else {}
        ),
        "images/s\na chip": (_number("roofline_images_per_second_per_chip"), ""),
        "bound by": (lambda row: row["bound"] or "does not fit", ""),
        "images/s": (_number("images_per_second"), ""),
        **({"cores\nto feed": (_number("input_cores"), "")} if _PER_CORE.value else {}),
        "hours": (_hours("hours"), tables.hours(total["hours"])),
        "chip-\nhours": (_hours("chip_hours"), tables.hours(total["chip_hours"])),
        **(
            {"cost": (_number("cost"), tables.short(total["cost"]))}
            if _PRICE.value is not None
            else {}
        ),
    }
    tables.show(
        {column: footer for column, (_, footer) in columns.items()},
        [[cell(row) for cell, _ in columns.values()] for row in rows if row["failed"] is None],
    )
    console = Console(highlight=False)
    for row in rows:
        if row["failed"] is not None:
            console.print(f"{row['model']}: {row['failed']}")
    if scaling := [_scaling_cells(row) for row in rows if len(row["scaling"] or ()) > 1]:
        headers = ("model", "gradient,\nMiB", "all-reduce,\nms", *map(str, CHIPS))
        title = "Efficiency in % by chips, with the same batch on each"
        tables.show(dict.fromkeys(headers, ""), scaling, title)
    _print_grounds(console, rows, assumptions)


def _scaling_cells(row: dict) -> list[str]:
    import tables

    reduced = row["all_reduce_seconds"]
    by_chips = {each["chips"]: each["efficiency"] for each in row["scaling"]}
    return [
        row["model"],
        f"{row['gradient_bytes'] / 2**20:.1f}",
        "" if reduced is None else tables.short(1e3 * reduced),
        *(f"{100 * by_chips[chips]:.1f}" if chips in by_chips else "" for chips in CHIPS),
    ]


def _number(key: str):
    import tables

    return lambda row: tables.short(row[key])


def _hours(key: str):
    import tables

    return lambda row: tables.hours(row[key])


def _gib(row: dict) -> str:
    return f"{row['needed_bytes'] / 2**30:.2f}"


_LARGEST = {
    "compiled": "found by compiling, to 2 %",
    "estimated": "by proportion, rather too low (--largest_batch compiles)",
}


def _print_grounds(console, rows: list[dict], assumptions: dict) -> None:
    """What the table rests on."""
    chips, kind = assumptions["chips"], assumptions["device_kind"]
    where = f"{assumptions['devices']} x {kind}" + (
        "" if assumptions["devices"] == chips else f" ({chips:g} chips)"
    )
    console.print(
        f"Known: XLA's FLOPs of a training step at {assumptions['image_size']} px, batch "
        f"{assumptions['batch_size']}; {where} at "
        f"{assumptions['peak_flops_per_second_per_device']:.4g} FLOP/s each in "
        f"{assumptions['peak_precision']} and "
        f"{assumptions['memory_bytes_per_second_per_device']:.4g} bytes/s "
        f"({'; '.join(assumptions['sources'])})."
    )
    memory = [row["available_bytes"] for row in rows if row["available_bytes"] is not None]
    if memory:
        console.print(
            f"GiB: what the step needs of the {memory[0] / 2**30:.2f} of a device's memory; most "
            f"images: that fit on a device, {_LARGEST[assumptions['largest_batch']]}."
        )
    console.print("images/s a chip: by the roofline; images/s: of all, as assumed below.")
    console.print(
        f"Assumed: bytes are {assumptions['bytes']}; training attains {assumptions['attained']:g} "
        "of the roofline (published ResNet-50: 0.35 to 0.68); an all-reduce that overlaps with "
        f"nothing; {assumptions['train_images']:,} training and "
        f"{assumptions['validation_images']:,} validation images an epoch; "
        + ("epochs as given" if _EPOCHS.value is not None else "epochs as in the paper's Table 3")
        + (f"; {_PRICE.value:g} a chip-hour" if _PRICE.value is not None else "")
        + "."
    )
    if (
        kind.startswith("TPU")
        and not _COMPILE.value
        and assumptions["batch_size"] < _LANES * assumptions["devices"]
    ):
        console.print(
            f"With fewer than {_LANES} images on a device TPUs pad narrow layers, and move up to "
            "twice the bytes counted here, or more (docs/tpu.md): --compile says, fewer devices or "
            "a larger --batch_size avoid it."
        )
    if assumptions["cores"] is None:
        console.print(
            "Hosts are taken to be fast enough: --cores and --images_per_second_per_core say."
        )
    console.print("Not included: compilation, start-up, restarts.")


def print_json(rows: list[dict], total: dict, assumptions: dict) -> None:
    """Prints `{"assumptions": …, "models": [row, …], "total": …}`, in base units."""
    import json

    print(json.dumps({"assumptions": assumptions, "models": rows, "total": total}, indent=1))


if __name__ == "__main__":
    # Before JAX is imported: counting touches no accelerator, here and in what this one starts.
    os.environ["JAX_PLATFORMS"] = "cpu"
    cli.run(
        main,
        __doc__,
        groups={
            "Common flags": ("models", "device", "devices", "topology", "image_size", "batch_size"),
            "The TPU compiler": ("compile", "compiled", "largest_batch"),
            "What is assumed": (
                "attained",
                "epochs",
                "train_images",
                "validation_images",
                "cores",
                "images_per_second_per_core",
                "price_per_chip_hour",
            ),
        },
    )
