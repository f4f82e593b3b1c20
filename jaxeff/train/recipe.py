"""What a recipe is: everything that decides how a network is trained, but the network and data."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from jaxeff import data


@dataclasses.dataclass(frozen=True)
class Phase:
    """What is different from an epoch on.

    Attributes:
      from_epoch: where it begins; the first step of it is the first after that epoch is complete.
      batch_size: examples a step, over all devices; None leaves it as it was.
      changes: of the task, by name, such as `{"image_size": 128}`; what is not named stays.
    """

    from_epoch: float
    batch_size: int | None = None
    changes: Mapping[str, object] = dataclasses.field(default_factory=dict)


def phase(from_epoch: float, batch_size: int | None = None, **changes: object) -> Phase:
    """A `Phase`, with the task's changes as keyword arguments: `phase(5, image_size=64)`."""
    return Phase(from_epoch, batch_size, changes)


@dataclasses.dataclass(frozen=True)
class Ema:
    """An exponential average of parameters and of what else a module keeps, beside them.

    After step t, counted from 0, `average = d * average + (1 - d) * parameters` with
    `d = min(decay, (1 + t) / (10 + t))`: an average that keeps `decay` from the start would hold
    the initial parameters for `1 / (1 - decay)` steps. (The warm-up is that of TensorFlow's
    `tf.train.ExponentialMovingAverage(num_updates=…)`; averaging is Polyak & Juditsky 1992.)

    Attributes:
      decay: in [0, 1).
      warmup: whether `decay` rises as above; False keeps it constant.
    """

    decay: float = 0.999
    warmup: bool = True

    def update(self, average, values, step: jax.Array):
        """The average after `step`, whose results are `values`; integers are copied."""
        decay = jnp.float32(self.decay)
        if self.warmup:
            decay = jnp.minimum(decay, (1 + step) / (10 + step))

        def move(old, new):
            if not jnp.issubdtype(new.dtype, jnp.inexact):
                return new
            return (old + (1 - decay) * (new - old)).astype(new.dtype)

        return jax.tree.map(move, average, values)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
      name: as records and folders call it.
      epochs: passes over the training examples.
      batch_size: examples a step, over all devices.
      optimizer: any transformation of Optax, its schedule in it.
      schedule: the learning rate by step, for the log; None logs none.
      lr: the highest learning rate, for tables; None where there is no such number.
      transforms: how the host varies training examples.
      batch_transforms: how the devices do, in order; each `(key, batch, axis_name) -> batch`.
      label_smoothing: probability mass spread over all classes.
      loss: replaces the task's own, `(outputs, labels) -> [N]`; None keeps it.
      ema: an average of the parameters that is measured beside them; None keeps none.
      phases: what changes at later epochs, in their order.
      evaluation_params: takes the optimizer's state and the parameters and returns those to
        measure, for optimizers that keep others (schedule-free); None measures the parameters.
      test_time_flips: measures the mean of the outputs for an example and its mirror, too.
      remat: keeps the outputs of convolutions and matrix products alone for the backward pass and
        computes the rest of the forward pass twice: less memory, more FLOPs (which are charged).
      accumulate: in how many parts a step computes the gradient of its batch, for a memory that is
        too small for all of it. Batch normalisation takes the statistics of a part.
      source: SHA-256 of the file that it is from, where that is the user's.

    Raises:
      ValueError: a number is out of its range, or the phases are not in order.
    """

    name: str
    epochs: float
    batch_size: int
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule | None = None
    lr: float | None = None
    transforms: data.Augmentation = dataclasses.field(default_factory=data.Augmentation)
    batch_transforms: tuple[Callable, ...] = ()
    label_smoothing: float = 0.0
    loss: Callable | None = None
    ema: Ema | None = None
    phases: tuple[Phase, ...] = ()
    evaluation_params: Callable | None = None
    test_time_flips: bool = False
    remat: bool = False
    accumulate: int = 1
    source: str | None = None

    def __post_init__(self):
        if not (math.isfinite(self.epochs) and self.epochs > 0):
            raise ValueError(f"epochs is {self.epochs}: give a number above 0")
        sizes = [self.batch_size, *(p.batch_size for p in self.phases if p.batch_size is not None)]
        for size in sizes:
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"batch_size is {size!r}: give a whole number above 0")
        if not isinstance(self.accumulate, int) or self.accumulate < 1:
            raise ValueError(f"accumulate is {self.accumulate!r}: give a whole number above 0")
        for size in sizes:
            if size % self.accumulate:
                raise ValueError(
                    f"batch_size {size} has no {self.accumulate} equal parts (accumulate): give a "
                    "multiple of them"
                )
        starts = [p.from_epoch for p in self.phases]
        if starts != sorted(set(starts)) or any(not 0 <= s < self.epochs for s in starts):
            raise ValueError(
                f"phases begin at epochs {starts}: give rising ones from 0 to below {self.epochs:g}"
            )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}: give 0 to below 1")
        if self.label_smoothing and self.loss is not None:
            raise ValueError("a loss of one's own beside label_smoothing: smooth in the loss")
        if self.ema is not None and not 0 <= self.ema.decay < 1:
            raise ValueError(f"the decay of the average is {self.ema.decay}: give 0 to below 1")
        if not (hasattr(self.optimizer, "init") and hasattr(self.optimizer, "update")):
            raise ValueError(
                f"optimizer is of type {type(self.optimizer).__name__}: give an Optax "
                "transformation, such as optax.adamw(1e-3)"
            )


@dataclasses.dataclass(frozen=True)
class Span:
    """Steps of one batch size and of one kind.

    Attributes:
      from_step: steps taken before it.
      to_step: steps taken after it.
      from_example: training examples seen before it.
      batch_size: examples a step.
      changes: of the task, as in `Phase`.
    """

    from_step: int
    to_step: int
    from_example: int
    batch_size: int
    changes: Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class Timetable:
    """Which step completes which epoch, where the batch size may change on the way.

    Attributes:
      train_examples: in an epoch.
      epochs: of the run.
      batch_size: examples a step, up to the first phase that changes it.
      phases: as in `Recipe`.
    """

    train_examples: int
    epochs: float
    batch_size: int
    phases: tuple[Phase, ...] = ()

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.step_of(self.epochs)

    def step_of(self, epoch: float) -> int:
        """The step that completes `epoch`. Batches run on across the ends of epochs."""
        begun = [start for start in self._starts() if start[0] < epoch] or [self._starts()[0]]
        _, step, example, batch_size, _ = begun[-1]
        missing = epoch * self.train_examples - example
        return max(1, step + max(0, math.ceil(round(missing / batch_size, 9))))

    def spans(self) -> tuple[Span, ...]:
        """The run in parts of one batch size and one set of changes, in order."""
        starts = self._starts()
        ends = [start[1] for start in starts[1:]] + [self.total_steps]
        return tuple(
            Span(step, end, example, batch_size, changes)
            for (_, step, example, batch_size, changes), end in zip(starts, ends, strict=True)
            if step < end
        )

    def span_at(self, step: int) -> Span:
        """The span of the step that follows `step` steps; the last at the end."""
        spans = self.spans()
        return next((span for span in spans if step < span.to_step), spans[-1])

    def _starts(self):
        """`(epoch, step, example, batch_size, changes)` of the start of the run and each phase."""
        starts = [(0.0, 0, 0, self.batch_size, {})]
        for later in self.phases:
            _, step, example, batch_size, changes = starts[-1]
            missing = later.from_epoch * self.train_examples - example
            steps = max(0, math.ceil(round(missing / batch_size, 9)))
            starts.append(
                (
                    later.from_epoch,
                    step + steps,
                    example + steps * batch_size,
                    later.batch_size or batch_size,
                    {**changes, **later.changes},
                )
            )
        return starts


def steps_of(epochs: float, steps_per_epoch: float) -> int:
    """The steps of `epochs` at one batch size, as `Timetable` counts them."""
    return max(1, math.ceil(round(epochs * steps_per_epoch, 9)))


def check_optimizer(tx: optax.GradientTransformation) -> None:
    """Takes two steps with a small matrix and a vector, to find a NaN before it costs a run.

    Raises:
      ValueError: an update is not finite, or has not the shapes of the parameters.
    """
    params = {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}
    gradient = {"kernel": jnp.linspace(-1.0, 1.0, 16).reshape(4, 4), "bias": jnp.linspace(0, 1, 4)}
    try:
        state = tx.init(params)
    except Exception:  # It may want the network's own parameters, by name.
        return
    for number in (1, 2):
        updates, state = tx.update(gradient, state, params)
        if jax.tree.map(jnp.shape, updates) != jax.tree.map(jnp.shape, params):
            raise ValueError("the optimizer's update has not the shapes of the parameters")
        if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(updates)):
            raise ValueError(f"the optimizer's update number {number} is not finite")
        params = optax.apply_updates(params, updates)
