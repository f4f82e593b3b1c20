"""What training costs: both counts of one step, and the charge for a number of steps."""

import dataclasses

import jax
import optax
from flax import linen as nn

from jaxeff import compute, records
from jaxeff.tasks import Task
from jaxeff.train import steps

CONVENTION = (
    "flops_per_step: XLA's HLO cost analysis of one training step (loss, gradient, optimizer "
    "update, and what prepares the batch on the device) on one replica with the global batch, "
    "lowered for TPU and not compiled; train_flops: the sum of flops_per_step over the steps up to "
    "the evaluation that first met the target, or over all steps so far; macs_forward_per_example: "
    "multiply-accumulates of convolutions and matrix products, padding included, counted from the "
    "jaxpr; paper_flops: 3 x those x examples; teraflop_s_days: operations / 8.64e16. Evaluation "
    "is not charged."
)


@dataclasses.dataclass(frozen=True)
class TrainingCost:
    """What the training of a model costs, however many devices share it.

    Attributes:
      params: number of parameters.
      schedule: the cost of a step, by step.
    """

    params: int
    schedule: compute.CostSchedule

    @property
    def flops_per_step(self) -> int:
        """XLA's count of the first step, in FLOPs."""
        return self.schedule.segments[0].flops_per_step

    @property
    def macs_forward_per_example(self) -> int:
        """Multiply-accumulates of one forward pass, in the first step."""
        return self.schedule.segments[0].macs_forward_per_example

    @property
    def batch_size(self) -> int:
        """Examples of the first step."""
        return self.schedule.segments[0].batch_size

    def charge(self, step: int) -> records.Compute:
        """The record's `compute` section after `step` steps."""
        train_flops, paper_flops = self.schedule.train_flops(step), self.schedule.paper_flops(step)
        return records.Compute(
            segments=self.schedule.segments,
            convention=CONVENTION,
            train_flops=train_flops,
            teraflop_s_days=compute.teraflop_s_days(train_flops),
            paper_flops=paper_flops,
            paper_teraflop_s_days=compute.teraflop_s_days(paper_flops),
        )


def training_cost(
    module: nn.Module,
    tx: optax.GradientTransformation,
    task: Task,
    batch_size: int,
    *,
    remat: bool = False,
) -> TrainingCost:
    """Counts one training step of `module` with the whole batch on one replica.

    Runs and compiles nothing, and does not depend on the machine.

    Args:
      module: created without an axis name.
      tx: the optimizer; its update is part of the step.
      task: what a batch is and its loss.
      batch_size: examples of the global batch.
      remat: as in `steps.make_train_step`.
    """
    step, state, batch = _step_and_shapes(module, tx, task, batch_size, remat)

    def forward(params, collections, inputs):
        return module.apply({"params": params, **collections}, inputs, train=False)

    segment = compute.Segment(
        from_step=0,
        flops_per_step=compute.xla_flops(step, state, batch),
        macs_forward_per_example=compute.count_macs(
            forward, state.params, state.collections, steps.example_inputs(task)
        ),
        batch_size=batch_size,
        changes=task.changes(),
    )
    params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return TrainingCost(params, compute.CostSchedule((segment,)))


def training_step_cost(
    module: nn.Module,
    tx: optax.GradientTransformation,
    task: Task,
    batch_size: int,
    *,
    remat: bool = False,
) -> compute.StepCost:
    """The step that `training_cost` counts, by layer and phase, with both counts reconciled."""
    return compute.step_cost(*_step_and_shapes(module, tx, task, batch_size, remat))


def _step_and_shapes(module, tx, task, batch_size, remat):
    """The training step on one replica, and the shapes of its state and batch."""
    step = steps.make_train_step(module, tx, task, seed=0, remat=remat)
    state = jax.eval_shape(lambda: steps.initial_state(module, tx, task, seed=0))
    return step, state, task.batch_shapes(batch_size)
