"""What a run is told."""

import dataclasses
import math
import pathlib
from collections.abc import Callable

import optax
from flax import linen as nn

from jaxeff.tasks import Target, Task
from jaxeff.train.optimizer import make_optimizer
from jaxeff.train.recipes import Recipe


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that a training run is told.

    Attributes:
      model: name of the architecture, for the record.
      make_module: takes `axis_name` and returns the Linen module.
      task: what is trained and measured.
      recipe: hyperparameters.
      target: level to reach.
      workdir: folder of the run's results; a checkpoint in it is resumed.
      make_optimizer: takes the recipe, the steps of the run and the steps an epoch.
      dtype: of the arithmetic, `float32` or `bfloat16`.
      seed: of parameters, order, augmentation and dropout.
      stop_at_target: ends the run at the first evaluation that meets the target.
      eval_every: epochs between evaluations.
      num_workers: processes that prepare examples; 0 uses threads of this one.
      log_every: steps between two lines of the log.
      checkpoint_every: steps between checkpoints, besides the one at each evaluation; 0 for none.
      accept_changed_data: goes on with a run whose data has changed, where examples were replaced
        or removed and nothing else differs.
      profile: traces a few steps into `workdir/profile` for TensorBoard or Perfetto.
      command: the command line, for the record.
      kernels: what computes in the place of XLA's own kernels, for the record.
    """

    model: str
    make_module: Callable[..., nn.Module]
    task: Task
    recipe: Recipe
    target: Target
    workdir: pathlib.Path
    make_optimizer: Callable[[Recipe, int, float], optax.GradientTransformation] = make_optimizer
    dtype: str = "float32"
    seed: int = 0
    stop_at_target: bool = True
    eval_every: float = 1.0
    num_workers: int = 0
    log_every: int = 50
    checkpoint_every: int = 0
    accept_changed_data: bool = False
    profile: bool = False
    command: str = ""
    kernels: str = "xla"

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which every training example is seen once; in general no whole number."""
        return self.task.train_examples / self.recipe.batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the whole schedule."""
        return self._step_of(self.recipe.epochs)

    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer of the whole schedule."""
        return self.make_optimizer(self.recipe, self.total_steps, self.steps_per_epoch)

    def evaluations(self) -> dict[int, float]:
        """The epoch of each evaluation, by its step: every `eval_every` epochs and at the end."""
        count = math.ceil(round(self.recipe.epochs / self.eval_every, 9))
        epochs = [round(i * self.eval_every, 9) for i in range(1, count)] + [self.recipe.epochs]
        return {self._step_of(epoch): epoch for epoch in epochs}

    def next_pause(self, step: int) -> int:
        """The next step after `step` with an evaluation or a checkpoint."""
        pause = min(evaluation for evaluation in self.evaluations() if evaluation > step)
        every = self.checkpoint_every
        return min(pause, (step // every + 1) * every) if every else pause

    def _step_of(self, epochs):
        """The step that completes `epochs`. Batches run on across the ends of epochs."""
        return max(1, math.ceil(round(epochs * self.steps_per_epoch, 9)))
