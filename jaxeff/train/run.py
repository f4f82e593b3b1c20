"""What a run is told."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

from flax import linen as nn

from jaxeff.tasks import Metric, Target, Task, averages_of
from jaxeff.train.recipe import Recipe, Span, Timetable
from jaxeff.train.workdir import Folder
from jaxeff.train.writers import MakeWriter, TensorBoard


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that a training run is told.

    Attributes:
      model: name of the architecture, for the record.
      make_module: takes `axis_name` and returns the Linen module.
      model_facts: what the record's `model` says beyond name and parameters.
      sources: texts of the user's files by name; a run goes on only while they stay the same.
      task: what is trained and measured; the recipe says how, by `Task.trained_by`.
      recipe: hyperparameters.
      target: level to reach.
      workdir: folder of the run's results (`workdir.folder`); a checkpoint in it is resumed.
      dtype: of the arithmetic, `float32` or `bfloat16`.
      seed: of parameters, order, augmentation and dropout.
      stop_at_target: ends the run at the first evaluation that meets the target.
      eval_every: epochs between evaluations.
      num_workers: processes that prepare examples; 0 uses threads of this one.
      log_every: steps between two lines of the log.
      checkpoint_every: steps between checkpoints, besides those at evaluations; 0 for none.
      accept_changed_data: goes on with a run whose data has changed, where examples were replaced
        or removed and nothing else differs.
      writers: what makes those that take the run's numbers besides its own files, on the first
        process alone (`jaxeff.train.writers`).
      profile: traces a few steps into `workdir/profile` for TensorBoard or Perfetto.
      command: the command line, for the record.
      kernels: what computes in the place of XLA's own kernels, for the record.
    """

    model: str
    make_module: Callable[..., nn.Module]
    task: Task
    recipe: Recipe
    target: Target
    workdir: Folder
    dtype: str = "float32"
    seed: int = 0
    stop_at_target: bool = True
    eval_every: float = 1.0
    num_workers: int = 0
    log_every: int = 50
    checkpoint_every: int = 0
    accept_changed_data: bool = False
    writers: tuple[MakeWriter, ...] = (TensorBoard,)
    profile: bool = False
    command: str = ""
    kernels: str = "xla"
    model_facts: Mapping[str, object] = dataclasses.field(default_factory=dict)
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        # What the record says of the recipe is what the task does.
        object.__setattr__(self, "task", self.task.trained_by(self.recipe))

    @functools.cached_property
    def timetable(self) -> Timetable:
        """Which step completes which epoch."""
        recipe = self.recipe
        return Timetable(self.task.train_examples, recipe.epochs, recipe.batch_size, recipe.phases)

    @functools.cached_property
    def spans(self) -> tuple[Span, ...]:
        """The run in parts of one batch size and one kind of example."""
        return self.timetable.spans()

    @property
    def steps_per_epoch(self) -> float:
        """Steps of the first epoch; in general no whole number."""
        return self.task.train_examples / self.recipe.batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the whole schedule."""
        return self.timetable.total_steps

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What a target may be of: the task's metrics, and those of an average if it is kept."""
        return target_metrics(self.task, self.recipe)

    def span_at(self, step: int) -> Span:
        """The span of the step that follows `step` steps; the last at the end."""
        return self.timetable.span_at(step)

    def task_of(self, span: Span) -> Task:
        """The task as the steps of `span` have it."""
        return self.task.with_changes(span.changes)

    def evaluations(self) -> dict[int, float]:
        """The epoch of each evaluation, by its step: every `eval_every` epochs and at the end."""
        count = math.ceil(round(self.recipe.epochs / self.eval_every, 9))
        epochs = [round(i * self.eval_every, 9) for i in range(1, count)] + [self.recipe.epochs]
        return {self.timetable.step_of(epoch): epoch for epoch in epochs}

    def next_pause(self, step: int) -> int:
        """The next step after `step` with an evaluation or a checkpoint, or that ends a span."""
        pauses = (*self.evaluations(), *(span.to_step for span in self.spans))
        pause = min(pause for pause in pauses if pause > step)
        every = self.checkpoint_every
        return min(pause, (step // every + 1) * every) if every else pause


def target_metrics(task: Task, recipe: Recipe) -> tuple[Metric, ...]:
    """What a target may be of: the task's metrics, and those of an average if it is kept."""
    metrics = task.metrics
    return (*metrics, *averages_of(metrics)) if recipe.ema is not None else metrics
