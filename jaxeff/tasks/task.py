"""The seam between how a network is trained and what it is trained for.

`jaxeff.train`, `jaxeff.records` and `jaxeff.measure` know a task by what stands here; what an
example is, which loss its outputs have and how its metrics are called is the task's own.
"""

from __future__ import annotations  # `data.Batches` would import the whole pipeline.

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import jax
import numpy as np

from jaxeff import data
from jaxeff.errors import UsageError

Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A mean over the validation examples.

    Attributes:
      name: key in the record's curve, such as `top1`.
      label: as people read it, such as `top-1`.
      higher_is_better: False for losses and errors.
      is_fraction: whether the value lies in [0, 1] and is shown in per cent.
      always_met: why every network meets any level of it on these data, such as top-5 of five
        classes; None where that is not so. It cannot be a target.
    """

    name: str
    label: str
    higher_is_better: bool = True
    is_fraction: bool = True
    always_met: str | None = None

    @property
    def direction(self) -> str:
        """`max` or `min`, as records say it."""
        return "max" if self.higher_is_better else "min"

    def text(self, value: float, digits: int | None = None) -> str:
        """The value as people read it, such as `98.31 %`; without `digits`, the decimals it has."""
        scaled = 100 * value if self.is_fraction else value
        number = f"{scaled:.6g}" if digits is None else f"{scaled:.{digits}f}"
        return f"{number} %" if self.is_fraction else number


LOSS = Metric("loss", "loss", higher_is_better=False, is_fraction=False)
"""Every task has it: the mean of its loss over the validation examples."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A level of a metric that a run is to reach.

    Attributes:
      metric: which.
      value: the level; met at or above it, or at or below it where less is better.
    """

    metric: Metric
    value: float

    def __str__(self):
        return f"{self.metric.name}:{self.value:g}"


class Task(Protocol):
    """What is trained and measured. A task that inherits from it need not write the last methods.

    Attributes:
      name: in records, such as `image_classification`.
      metrics: of an evaluation, `LOSS` among them; the first that is no loss leads the display.
      example_noun: plural, as people read it, such as `images`.
      dataset_name: in records.
      fingerprint: two runs with the same one saw the same examples.
      train_examples: number of training examples.
      validation_examples: number of validation examples.
      may_skip: whether training goes on without examples that cannot be read.
      notes: what a user should hear of the data at the start, a line each.
    """

    name: str
    metrics: tuple[Metric, ...]
    example_noun: str
    dataset_name: str
    fingerprint: str
    train_examples: int
    validation_examples: int
    may_skip: bool
    notes: tuple[str, ...]

    def settings(self) -> dict[str, object]:
        """What the record's `task` says beyond name and metrics, as JSON values."""

    def changes(self) -> dict[str, object]:
        """Which of the settings decide the cost of a step, for the record's segments."""

    def description(self) -> str:
        """The data in one line, for people."""

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of a training batch."""

    def inputs(self, batch: Batch) -> jax.Array:
        """What the module is applied to, `[N, ...]`: for images, the normalised pixels."""

    def loss(
        self, outputs: jax.Array, batch: Batch, collections: Mapping[str, object]
    ) -> jax.Array:
        """The training loss, a float32 scalar.

        Args:
          outputs: of the module, `[N, ...]`.
          batch: that its inputs are of.
          collections: what the module wrote in this pass, such as auxiliary outputs.
        """

    def example_metrics(self, outputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Each metric by name, of each example: `[N]`."""

    def train_batches(self, options: data.StreamOptions, shard: data.Shard) -> data.Batches:
        """This process's part of the training batches, on the host, without end."""

    def validation_batches(
        self, batch_size: int, num_workers: int, shard: data.Shard
    ) -> data.Batches:
        """All validation examples once, filled up with examples whose `mask` `[N]` is False."""

    def example_name(self, index: int) -> str:
        """Names a training example to people, by file where it is one."""

    def trained_by(self, recipe: object) -> Task:
        """The task as a `jaxeff.train.Recipe` has it trained: its transforms, its loss."""
        return self

    def with_changes(self, changes: Mapping[str, object]) -> Task:
        """The task as a phase of training has it; `changes` are of the names in `changes()`.

        Raises:
          UsageError: it cannot be changed so.
        """
        if changes:
            raise UsageError(f"{self.name} has nothing that a phase can change: {dict(changes)}")
        return self

    def augment(self, batch: Batch, key: jax.Array, axis_name: str | None) -> Batch:
        """The training batch as the devices vary it, within the training step.

        Args:
          batch: this device's part.
          key: of this step, the same on every device.
          axis_name: the `pmap` axis over which the batch is split, or None.
        """
        return batch

    def views(self, batch: Batch) -> Mapping[str, Sequence[jax.Array]]:
        """Inputs for each way of measuring, by the prefix of its metrics' names.

        The outputs of the inputs of one way are averaged before the metrics are taken.
        """
        return {"": (self.inputs(batch),)}

    def device_arrays(self) -> Mapping[str, np.ndarray] | None:
        """Arrays that every device keeps, for `on_devices`; None where there are none."""
        return None

    def host_batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """What the host sends of a training batch."""
        return self.batch_shapes(batch_size)

    def on_devices(self, arrays: Mapping[str, jax.Array], batch: Batch) -> Batch:
        """The training batch, made of what the host sends and of `device_arrays`."""
        return batch


def averages_of(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """The same metrics of a network with averaged parameters, as targets name them: `ema_…`."""
    return tuple(
        dataclasses.replace(m, name=f"ema_{m.name}", label=f"{m.label} of the average")
        for m in metrics
    )


def metric_of(metrics: Sequence[Metric], name: str) -> Metric:
    """The metric called `name`.

    Raises:
      KeyError: there is none.
    """
    return {metric.name: metric for metric in metrics}[name]


def parse_target(text: str, metrics: Sequence[Metric]) -> Target:
    """Reads `metric:value`, such as `top5:0.791`.

    Args:
      text: as `--target` has it.
      metrics: of the task.

    Raises:
      UsageError: there is no such metric, the value is no level of it, or every network meets it.
    """
    name, _, number = text.partition(":")
    try:
        metric, value = metric_of(metrics, name), float(number)
    except (KeyError, ValueError):
        metric, value = None, math.nan
    if metric is None or not math.isfinite(value) or (metric.is_fraction and not 0 < value <= 1):
        names = [metric.name for metric in metrics]
        fractions = [metric.name for metric in metrics if metric.is_fraction]
        hint = (
            f", for {' and '.join(fractions)} a fraction above 0 and up to 1" if fractions else ""
        )
        example = f"{fractions[-1]}:0.791" if fractions else f"{names[0]}:0.5"
        raise UsageError(
            f"--target={text}: give {' or '.join(names)}, a colon and a value{hint}, such as "
            f"{example}"
        )
    if metric.always_met:
        others = [other.name for other in metrics if other.is_fraction and not other.always_met]
        hint = f", such as {others[0]}:{number}" if others else ""
        raise UsageError(
            f"--target={text}: every network meets it, {metric.always_met}; give another{hint}"
        )
    return Target(metric, value)
