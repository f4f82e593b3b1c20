"""The paper's Tables 1 to 5, recomputed from epochs, multiply-accumulates and images; our own.

Every number under "ours" is computed here from primary quantities; what was printed stands beside
it, and enters it only where the column says so.
"""

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxeff.compute import IMAGENET_EPOCH_IMAGES, TERAFLOP_S_DAY, paper_flops
from jaxeff.records import Record
from jaxeff.report import publications, published
from jaxeff.report.effective_compute import domain_gains
from jaxeff.report.imagenet import is_imagenet
from jaxeff.report.model_costs import ModelCost
from jaxeff.report.published import Printed
from jaxeff.report.trends import Point, months_between

Cell = str | float | int | None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table for people and for a CSV file.

    Attributes:
      name: name of the file, without its ending.
      title: what the table shows.
      columns: headings, with units.
      rows: raw values; None leaves a cell empty.
      how: how the numbers were made.
      matrix: names of the columns that are rows, columns and cells of the matrix which the page
        shows instead, where rows are a cross product.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    how: str
    matrix: tuple[str, str, str] | None = None


CONVENTIONS = {
    "printed": "3 x printed MACs (the paper)",
    "exact": "3 x exact forward MACs",
    "xla": "XLA's FLOPs of a training step",
}


def alexnet_points(convention: str, costs: Mapping[str, ModelCost]) -> list[Point]:
    """The sixteen models at AlexNet level: the paper's epochs, with compute in a convention.

    Args:
      convention: a key of `CONVENTIONS`.
      costs: as `model_costs.model_costs` gives them.
    """
    points = []
    for row in published.alexnet_level():
        cost, images = costs[row.our_name], row.epochs * IMAGENET_EPOCH_IMAGES
        macs = row.macs_forward if convention == "printed" else cost.macs_forward_per_image
        compute = (
            cost.xla_train_flops_per_image * images
            if convention == "xla"
            else paper_flops(macs, images)
        )
        source = f"{row.publication}" + (f", arXiv:{row.arxiv}" if row.arxiv else "")
        points.append(Point(row.model, row.published, compute, row.epochs, macs, source))
    return points


def _beside(ours: float, printed: Printed) -> tuple[Cell, Cell, Cell]:
    return ours, printed.value, ours - printed.value


def table1() -> Table:
    """The gain over AlexNet, split into epochs and operations an epoch."""
    models = {row.model: row for row in published.alexnet_level()}
    first = models["AlexNet"]
    rows = []
    for row in published.breakdown():
        model = models[row.model]
        epochs = first.epochs / model.epochs
        each = first.macs_forward / model.macs_forward
        rows.append(
            (
                row.model,
                *_beside(epochs, row.epochs),
                *_beside(each, row.flops_per_epoch),
                *_beside(epochs * each, row.training),
            )
        )
    columns = ("model", *_columns("epochs factor", "FLOPs an epoch factor", "training factor"))
    how = (
        "Each factor is AlexNet's number over the model's: epochs, printed MACs and their product "
        "(Table 3)."
    )
    return Table("table1", "What the gain is made of", columns, tuple(rows), how)


def _columns(*quantities):
    return (f"{q}, {kind}" for q in quantities for kind in ("ours", "printed", "difference"))


def domain_dates() -> dict[tuple[str, str], tuple]:
    """First publications of both sides of a row of Table 2, where the package has them."""
    dates = {row.publication.split(" (")[0]: row.published for row in published.sota()}
    dates["ResNet"] = dates["ResNet-50"]
    return {
        (row.original, row.improved): (dates[row.original], dates[row.improved])
        for row in published.domains()
        if row.original in dates and row.improved in dates
    }


def table2() -> Table:
    """Gains in other domains, with doubling times between first publications."""
    gains = {(gain.original, gain.improved): gain.factor[0] for gain in domain_gains()}
    recomputed = {row.model: 3 * row.macs_forward * row.epochs for row in published.alexnet_level()}
    gains["AlexNet", "EfficientNet"] = recomputed["AlexNet"] / recomputed["EfficientNet-b0"]
    resnet = [row.teraflop_s_days.value for row in published.sota() if row.metric == "ResNet-50"]
    gains["ResNet", "EfficientNet"] = resnet[0] / resnet[1]
    dates, rows = domain_dates(), []
    for row in published.domains():
        key = (row.original, row.improved)
        factor, span = gains.get(key), dates.get(key)
        months = None if span is None else months_between(*span)
        doubling = None if None in (factor, months) else months / math.log2(factor)
        rows.append(
            (
                row.original,
                row.improved,
                row.task,
                factor,
                row.factor.value,
                None if factor is None else factor - row.factor.value,
                None if months is None else months / 12,
                row.period,
                doubling,
                row.doubling_time,
            )
        )
    columns = (
        "original",
        "improved",
        "task",
        *_columns("factor"),
        "years, ours",
        "period, printed",
        "months of doubling end to end, ours",
        "doubling time, printed",
    )
    how = (
        "Factors follow from the operations of Appendix A and of the published table, periods from "
        "first arXiv versions. A cell is empty where the paper prints no primary numbers or no "
        "date is known."
    )
    return Table("table2", "Gains in other domains", columns, tuple(rows), how)


def table3(costs: Mapping[str, ModelCost]) -> Table:
    """Compute to AlexNet level."""
    exact = {point.model: point for point in alexnet_points("exact", costs)}
    xla = {point.model: point for point in alexnet_points("xla", costs)}
    rows = []
    for row in published.alexnet_level():
        ours = paper_flops(row.macs_forward, row.epochs * IMAGENET_EPOCH_IMAGES)
        rows.append(
            (
                row.model,
                row.published.isoformat(),
                row.epochs,
                row.gmacs.value,
                costs[row.our_name].macs_forward_per_image / 1e9,
                *_beside(ours / 1e15, row.petaflops),
                ours / TERAFLOP_S_DAY,
                exact[row.model].compute / 1e15,
                xla[row.model].compute / 1e15,
            )
        )
    columns = (
        "model",
        "published",
        "epochs, printed",
        "GMACs, printed",
        "GMACs, exact",
        *_columns("compute, 1e15 operations"),
        "teraflop/s-days, ours",
        "compute with exact MACs, 1e15",
        "compute by XLA, 1e15 FLOPs",
    )
    how = (
        "Ours is 3 x printed MACs x 1.28e6 images x printed epochs. The last two columns are with "
        "exact MACs, and with XLA's count of a training step (model_costs.csv)."
    )
    return Table("table3", "Compute to AlexNet level (79.1 % top-5)", columns, tuple(rows), how)


def accuracy_table(metric: str, records: Sequence[Record]) -> Table:
    """Tables 4 and 5: accuracies of the authors' trainings, and ours from ImageNet records."""
    number, _ = published.ACCURACIES[metric]
    names = {row.model: row.our_name for row in published.alexnet_level()}
    names["SqueezeNet_v1_1"] = names["Squeezenet_v1_1"]
    names["ResNet-50"] = names["Resnet-50"]
    rows = []
    for row in published.accuracies(metric):
        best = [
            100 * max(point.value(metric) for point in record.curve)
            for record in records
            if is_imagenet(record)
            and record.model.name == names[row.model]
            and record.model.source is None
            and record.status in ("completed", "reached")
            and record.curve
            and has_accuracies(record)
        ]
        ours = statistics.median(best) if best else None
        examples = None if row.pytorch_examples is None else row.pytorch_examples.value
        rows.append(
            (
                row.model,
                ours,
                len(best),
                row.authors.value,
                None if ours is None else ours - row.authors.value,
                examples,
                row.original_paper.value,
                row.original_single_crop,
                None if examples is None else row.authors.value - examples,
                row.authors.value - row.original_paper.value,
            )
        )
    columns = (
        "model",
        "best, ours, %",
        "runs",
        "authors' training, printed, %",
        "difference",
        "PyTorch examples, printed, %",
        "original paper, printed, %",
        "original on a single crop",
        "authors' - examples",
        "authors' - original",
    )
    how = (
        "Ours is the median over ImageNet records of the best evaluation, and is empty until there "
        "are records. The printed accuracies are measurements; only training can recompute them."
    )
    title = f"{metric.replace('top', 'Top-')} accuracy of the trained networks"
    return Table(f"table{number}", title, columns, tuple(rows), how)


ACCURACIES = ("top1", "top5")
"""Metrics of image classification, fractions of the validation images."""

WAYS = {"": "", "ema_": "average", "flip_": "with flips", "ema_flip_": "average, with flips"}
"""Ways of measuring an accuracy, by what its name then begins with: of the averaged parameters, or
of the mean of the outputs for an image and its mirror image."""


def accuracy_of(metric: str) -> tuple[str, str] | None:
    """Way (a key of `WAYS`) and accuracy of a metric, of `ema_top1` say; None for no accuracy."""
    for accuracy in ACCURACIES:
        way = metric.removesuffix(accuracy)
        if way != metric and way in WAYS:
            return way, accuracy
    return None


def metric_text(metric: str) -> str:
    """`top-1`, or `top-1 (average)`; a metric that is no accuracy, by its own name."""
    found = accuracy_of(metric)
    if found is None:
        return metric
    way, accuracy = found
    return accuracy.replace("top", "top-") + (f" ({WAYS[way]})" if way else "")


def has_accuracies(record: Record) -> bool:
    """Whether the record's evaluations measured top-1 and top-5 accuracy."""
    return all(record.task["metrics"].get(name) == "max" for name in ACCURACIES)


NOT_OVER = ("running", "interrupted")
"""Statuses of a run that is not over, and so no result."""


class Group(NamedTuple):
    """What must agree for two records' compute to be compared: data, task and target.

    Attributes:
      dataset: name of the data set.
      fingerprint: of the data set.
      task: name of the task.
      settings: what the task adds, such as the size of the images, as JSON.
      metric: of the target.
      direction: `max` where a metric at or above the level meets it, `min` where one at or below.
      level: of the target.
    """

    dataset: str
    fingerprint: str
    task: str
    settings: str
    metric: str
    direction: str
    level: float

    @property
    def data(self) -> str:
        """`digits at 64 px`."""
        size = json.loads(self.settings).get("image_size")
        return self.dataset if size is None else f"{self.dataset} at {size} px"

    @property
    def label(self) -> str:
        """`digits at 64 px, 98 % top-1`."""
        return f"{self.data}, {self.level_text}"

    @property
    def level_text(self) -> str:
        """`98 % top-1`, or `loss at most 0.05`."""
        if accuracy_of(self.metric) and self.direction == "max":
            return f"{100 * self.level:g} % {metric_text(self.metric)}"
        bound = "at least" if self.direction == "max" else "at most"
        return f"{self.metric} {bound} {self.level:g}"


def group_of(record: Record) -> Group:
    """The records that this one's compute may be compared with."""
    task, target = record.task, record.target
    # What an evaluation costs is of the model, and is charged to no run.
    of_the_run = ("name", "metrics", "evaluation_macs_per_example")
    settings = {key: value for key, value in task.items() if key not in of_the_run}
    return Group(
        record.dataset.name,
        record.dataset.fingerprint,
        task["name"],
        json.dumps(settings, sort_keys=True),
        target.metric,
        record.direction(target.metric),
        target.value,
    )


def charged_examples(record: Record) -> int:
    """Training examples that the record's compute is charged for."""
    schedule = record.compute.schedule
    return schedule.examples(round(schedule.step_of(record.compute.train_flops)))


def macs_per_example(record: Record) -> float:
    """Forward multiply-accumulates of an example, the mean over the examples charged for."""
    examples = charged_examples(record)
    if not examples:
        return record.compute.segments[0].macs_forward_per_example
    return record.compute.paper_flops / (3 * examples)


def flops_per_example(record: Record) -> float:
    """XLA's FLOPs of training on an example, the mean over the examples charged for."""
    examples = charged_examples(record)
    if not examples:
        first = record.compute.segments[0]
        return first.flops_per_step / first.batch_size
    return record.compute.train_flops / examples


class Configuration(NamedTuple):
    """What must agree for runs to differ by their seed alone: model and the recipe's settings.

    Attributes:
      model: the model's name.
      recipe: the recipe's name.
      lr: peak learning rate; None where the recipe has none.
      batch_size: examples a step.
      epochs: of the schedule.
      dtype: of the computation; None where the record does not say.
      model_args: what the model was created with beyond its defaults, as JSON; None for nothing.
      sources: SHA-256 of the user's files that define model and recipe; None for those of jaxeff.
      settings: all else that the recipe holds, as JSON: optimizer, schedule, transforms, and more.
    """

    model: str
    recipe: str
    lr: float | str | None
    batch_size: int
    epochs: float
    dtype: str | None
    model_args: str | None
    sources: tuple[str | None, str | None]
    settings: str = "{}"

    @property
    def text(self) -> str:
        """All but the model: `small, lr 0.08, batch 64, 30 epochs`."""
        parts = [self.recipe]
        if self.lr is not None:
            parts.append(f"lr {self.lr}" if isinstance(self.lr, str) else f"lr {self.lr:g}")
        parts += [f"batch {self.batch_size}", f"{self.epochs:g} epochs"]
        if self.dtype not in (None, "float32"):
            parts.append(self.dtype)
        if self.model_args:
            parts.append(f"model {self.model_args}")
        return ", ".join(parts)


# Entries of a recipe that have a field of their own, and how often it was evaluated.
_NAMED = {"name", "lr", "batch_size", "epochs", "dtype", "source", "eval_every"}


def configuration(record: Record) -> Configuration:
    """The runs that this one differs from by its seed alone."""
    model, recipe = record.model, record.recipe
    lr = recipe.get("lr")
    return Configuration(
        model.name,
        recipe["name"],
        lr if lr is None or isinstance(lr, int | float) else json.dumps(lr),
        recipe["batch_size"],
        recipe["epochs"],
        recipe.get("dtype"),
        json.dumps(model.args, sort_keys=True) if model.args else None,
        (model.source, recipe["source"]),
        json.dumps({k: recipe[k] for k in recipe if k not in _NAMED}, sort_keys=True),
    )


BASELINE = "alexnet"
"""The model against which factors are, unless the reader asks for another."""


def is_baseline(key: Configuration, baseline: str) -> bool:
    """Whether a configuration is of the model `baseline`; of the user's own, not by default."""
    return key.model == baseline and (baseline != BASELINE or key.sources[0] is None)


def runs_text(count: int) -> str:
    """`one run`, `two runs`, `3 runs`."""
    return {1: "one run", 2: "two runs"}.get(count, f"{count} runs")


def optimizer_text(record: Record) -> str:
    """The optimizer's transformations with their numbers: `trace(decay=0.9), scale_by_schedule`.

    What they take beside numbers, such as schedules, stands in the record.
    """
    return _transformations(record.recipe["optimizer"])


def _transformations(described):
    if not isinstance(described, Mapping):
        return str(described)
    texts = []
    for name, arguments in described.items():
        if name == "chain":
            texts += [_transformations(each) for each in arguments]
            continue
        numbers = arguments.items() if isinstance(arguments, Mapping) else ()
        shown = ", ".join(
            f"{key}={value:g}"
            for key, value in numbers
            if isinstance(value, int | float) and not isinstance(value, bool)
        )
        texts.append(f"{name}({shown})" if shown else name)
    return ", ".join(texts)


def runs(records: Sequence[Record], shipped: Sequence[Record] = ()) -> Table:
    """Every record: what it measured, and how to trace it.

    Args:
      records: of the reader.
      shipped: that came with the package.
    """
    rows = []
    for i, record in enumerate((*records, *shipped)):
        software, commit = record.software, record.software.git_commit
        rows.append(
            (
                record.run_id,
                "yours" if i < len(records) else "with jaxeff",
                group_of(record).label,
                record.model.name,
                publications.date_text(record),
                publications.link_of(record),
                record.recipe["name"],
                optimizer_text(record),
                record.seed,
                record.status,
                record.target.epoch,
                record.compute.train_flops,
                record.compute.paper_flops,
                commit and commit[:12] + (" + changes" if software.git_dirty else ""),
                f"{software.jaxeff} (jax {software.jax})",
                devices(record),
                record.command,
                record.created,
                record.environment.kernels,
                record.environment.cpu_model,
            )
        )
    columns = (
        "run",
        "measured",
        "data and level",
        "model",
        "published",
        "publication",
        "recipe",
        "optimizer",
        "seed",
        "status",
        "epoch of the crossing",
        "XLA FLOPs",
        "3 x MACs x images",
        "commit",
        "jaxeff",
        "devices",
        "command",
        "created",
        "kernels",
        "cpu_model",
    )
    how = (
        "Compute is up to the crossing, or to the end of a run that did not reach its target. "
        "Records that come with jaxeff are read at the level of their data set; the target of "
        "their command may be a harder one."
    )
    return Table("runs", "Every record", columns, tuple(rows), how)


def devices(record: Record) -> str:
    """`8 x TPU v5 lite`."""
    return f"{record.hardware.device_count} x {record.hardware.device_kind}"
