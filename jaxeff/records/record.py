"""The record of a run, typed: what was trained, how, to which level, and what that took.

Base units throughout: FLOPs, seconds, examples. `record_v2.schema.json` beside this file is the
same as a JSON Schema; `files.py` reads and writes records, whole or not at all.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxeff.compute import CostSchedule, Segment

SCHEMA_VERSION = 2
EMA = "ema_"


@dataclass(frozen=True)
class Model:
    """The network.

    Attributes:
      name: as `--model` took it.
      params: number of parameters.
      args: what the network was created with beyond its defaults.
      source: SHA-256 of the file that defines it, where that is the user's.
      published: date of its publication, ISO 8601, where its file gives one.
      url: of the publication, likewise.
    """

    name: str
    params: int
    args: Mapping[str, Any] | None = None
    source: str | None = None
    published: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Dataset:
    """What it was trained on.

    Attributes:
      name: as `--dataset` took it, or the folder's.
      train_examples: in the training split.
      validation_examples: in the validation split.
      fingerprint: two runs with the same one saw the same examples and labels.
      skipped: `{"count", "names"}` of training examples that could not be read, if the run was told
        to go on without them; the first hundred are named.
      accepted_changes: None, or the data that earlier parts of the run saw: a mapping for each
        change that the user accepted, `{"step", "fingerprint", "train_examples",
        "validation_examples", "skipped"}`, of what it was up to that step.
    """

    name: str
    train_examples: int
    validation_examples: int
    fingerprint: str
    skipped: Mapping[str, Any] | None = None
    accepted_changes: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True)
class Target:
    """The level, and the evaluation that first met it.

    Attributes:
      metric: key of the curve's metrics.
      value: the level.
      reached: whether an evaluation met it.
      step: of the first evaluation at or above the level (at or below it, for a metric of which
        less is better); None before.
      epoch: likewise.
      stays_from_epoch: epoch of the first evaluation from which on every one meets the level; None
        where the last does not. A run that stops at its target says no more by it than by `epoch`.
    """

    metric: str
    value: float
    reached: bool
    step: int | None
    epoch: float | None
    stays_from_epoch: float | None


@dataclass(frozen=True)
class Compute:
    """What training took up to the target, or up to now where it is not reached.

    Attributes:
      segments: steps of one cost each, in order.
      convention: what the numbers below mean.
      train_flops: XLA's count.
      teraflop_s_days: the same in teraflop/s-days.
      paper_flops: 3 x forward multiply-accumulates x examples.
      paper_teraflop_s_days: the same in teraflop/s-days.
    """

    segments: tuple[Segment, ...]
    convention: str
    train_flops: int
    teraflop_s_days: float
    paper_flops: int
    paper_teraflop_s_days: float

    @property
    def schedule(self) -> CostSchedule:
        """The cost by step."""
        return CostSchedule(self.segments)


@dataclass(frozen=True)
class Point:
    """One evaluation.

    Attributes:
      step: steps taken.
      epoch: passes over the training examples.
      examples: training examples seen.
      train_flops: XLA's count of training so far.
      train_loss: mean over the steps since the last evaluation.
      seconds: of training so far.
      metrics: by name, over all validation examples.
      ema_metrics: likewise, by the averaged parameters where the recipe averages them.
    """

    step: int
    epoch: float
    examples: int
    train_flops: int
    train_loss: float
    seconds: float
    metrics: Mapping[str, float]
    ema_metrics: Mapping[str, float] | None = None

    def value(self, metric: str) -> float:
        """The value of a metric as targets name it: `ema_…` is one of the averaged parameters.

        Raises:
          KeyError: it was not measured.
        """
        if metric in self.metrics:
            return self.metrics[metric]
        if self.ema_metrics is None:
            raise KeyError(metric)
        return self.ema_metrics[metric.removeprefix(EMA)]


@dataclass(frozen=True)
class Hardware:
    """What it ran on.

    Attributes:
      platform: `cpu`, `gpu` or `tpu`.
      device_kind: as JAX names it.
      device_count: over all processes.
      process_count: of the run.
      peak_flops_per_second: of all devices together in the run's precision; None where not known.
    """

    platform: str
    device_kind: str
    device_count: int
    process_count: int
    peak_flops_per_second: float | None


@dataclass(frozen=True)
class Environment:
    """What decides how the same program rounds.

    Attributes:
      cpu_model: name of the host's processor and the number of its cores that the run has; None
        where the system does not say.
      cpu_flags: its instruction sets for arithmetic, sorted.
      xla_flags: the variable `XLA_FLAGS`.
      kernels: `xla`, or `cpu: ` and the names of the kernels that replace XLA's.
      matmul_precision: JAX's default for products; None is the backend's own.
    """

    cpu_model: str | None
    cpu_flags: tuple[str, ...]
    xla_flags: str
    kernels: str
    matmul_precision: str | None


@dataclass(frozen=True)
class Timing:
    """Where the time went, over all sessions of the run.

    Attributes:
      compile_seconds: tracing and compilation.
      train_seconds: training, without compilation.
      eval_seconds: evaluation, which is not charged.
      examples_per_second: of training.
      model_flops_utilization: `train_flops` a second over the peak; None where that is not known.
    """

    compile_seconds: float = 0.0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    examples_per_second: float = 0.0
    model_flops_utilization: float | None = None


@dataclass(frozen=True)
class Software:
    """Versions of what takes part, and the commit of jaxeff's source tree where it is one."""

    python: str
    jax: str
    jaxlib: str
    flax: str
    optax: str
    jaxeff: str
    git_commit: str | None
    git_dirty: bool | None


@dataclass(frozen=True)
class Record:
    """A run. Sections as above, and:

    Attributes:
      run_id: the same over all sessions of the run.
      created: when it was started, UTC, ISO 8601.
      command: the command line that started it.
      task: `name`, `metrics` (the direction, `max` or `min`, of each) and what the task adds.
      recipe: every resolved hyperparameter; `optimizer` is the chain of Optax that ran.
      seed: of parameters, order, augmentation and dropout.
      status: `running`, `reached` (the target, and stopped there), `completed` (the schedule),
        `diverged` (the loss is not finite) or `interrupted`.
    """

    run_id: str
    created: str
    command: str
    model: Model
    task: Mapping[str, Any]
    recipe: Mapping[str, Any]
    dataset: Dataset
    target: Target
    compute: Compute
    curve: tuple[Point, ...]
    hardware: Hardware
    environment: Environment
    timing: Timing
    software: Software
    seed: int
    status: str
    schema_version: int = SCHEMA_VERSION

    def direction(self, metric: str) -> str:
        """`max` or `min`, of a metric as targets name it.

        Raises:
          KeyError: the task has no such metric.
        """
        directions = self.task["metrics"]
        if metric not in directions and self.recipe["ema"] is not None:
            metric = metric.removeprefix(EMA)
        return directions[metric]

    def to_json(self) -> dict:
        """The record as `json.dumps` takes it."""
        fields = dataclasses.asdict(self)
        segments = [
            {key: value for key, value in segment.items() if key != "changes"} | segment["changes"]
            for segment in fields["compute"]["segments"]
        ]
        fields["compute"]["segments"] = segments
        return _plain(fields)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Record":
        """The record of a valid `record.json` of this version."""
        compute = dict(fields["compute"])
        compute["segments"] = tuple(_segment(segment) for segment in compute["segments"])
        sections = {
            "model": Model(**fields["model"]),
            "dataset": _dataset(fields["dataset"]),
            "target": Target(**fields["target"]),
            "compute": Compute(**compute),
            "curve": tuple(Point(**point) for point in fields["curve"]),
            "hardware": Hardware(**fields["hardware"]),
            "environment": Environment(
                **fields["environment"] | {"cpu_flags": tuple(fields["environment"]["cpu_flags"])}
            ),
            "timing": Timing(**fields["timing"]),
            "software": Software(**fields["software"]),
        }
        return cls(**{**fields, **sections})


def is_met(direction: str, value: float, level: float) -> bool:
    """Whether `value` of a metric whose direction is `max` or `min` meets `level`."""
    return value >= level if direction == "max" else value <= level


def crossing(curve: tuple[Point, ...], metric: str, level: float, direction: str) -> Target:
    """What the evaluations so far say of a level.

    Args:
      curve: evaluations in order.
      metric: key of their metrics.
      level: to meet.
      direction: `max` where a metric at or above the level meets it, `min` where one at or below.
    """
    met = [is_met(direction, point.value(metric), level) for point in curve]
    first = curve[met.index(True)] if any(met) else None
    last_miss = len(met) - 1 - met[::-1].index(False) if not all(met) else -1
    stays = curve[last_miss + 1] if last_miss + 1 < len(curve) else None
    return Target(
        metric=metric,
        value=level,
        reached=first is not None,
        step=None if first is None else first.step,
        epoch=None if first is None else first.epoch,
        stays_from_epoch=None if stays is None else stays.epoch,
    )


def _dataset(fields):
    changes = fields.get("accepted_changes")
    return Dataset(**{**fields, "accepted_changes": None if changes is None else tuple(changes)})


def _segment(fields):
    named = {field.name for field in dataclasses.fields(Segment)} - {"changes"}
    changes = {key: value for key, value in fields.items() if key not in named}
    return Segment(**{key: fields[key] for key in named}, changes=changes)


def _plain(value):
    """Tuples as lists and mappings as dictionaries, as JSON returns them.

    Names of files may have bytes that are no UTF-8, which Python keeps as lone surrogates: they are
    written out.
    """
    if isinstance(value, Mapping):
        return {_plain(key): _plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(child) for child in value]
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value
