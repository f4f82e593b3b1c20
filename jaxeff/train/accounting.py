"""What training costs: both counts of one step, and the charge for a number of steps."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
from flax import linen as nn

from jaxeff import compute, records
from jaxeff.tasks import Task
from jaxeff.train import steps
from jaxeff.train.recipe import Recipe, Span

CONVENTION = (
    "flops_per_step: XLA's HLO cost analysis of one training step (loss, gradient, optimizer "
    "update, and what prepares the batch on the device) on one replica with the global batch, "
    "lowered for TPU and not compiled; train_flops: the sum of flops_per_step over the steps up to "
    "the evaluation that first met the target, or over all steps so far; macs_forward_per_example: "
    "multiply-accumulates of convolutions and matrix products, padding included, counted from the "
    "jaxpr; what the host does to a batch is no arithmetic of the device and not counted; "
    "paper_flops: 3 x those x examples; teraflop_s_days: operations / 8.64e16. Evaluation "
    "is not charged."
)


@dataclasses.dataclass(frozen=True)
class TrainingCost:
    """What the training of a model costs, however many devices share it.

    Attributes:
      params: number of parameters.
      schedule: the cost of a step, by step.
      evaluation_macs_per_example: multiply-accumulates of measuring one example, by the prefix of
        the metrics' names that need them.
    """

    params: int
    schedule: compute.CostSchedule
    evaluation_macs_per_example: Mapping[str, int] = dataclasses.field(default_factory=dict)

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
    module: nn.Module, recipe: Recipe, task: Task, spans: Sequence[Span] = ()
) -> TrainingCost:
    """Counts the training steps of `module` with the whole batch on one replica.

    Runs and compiles nothing, and does not depend on the machine.

    Args:
      module: created without an axis name.
      recipe: its optimizer, average and batch transforms are part of the step.
      task: what a batch is and its loss.
      spans: of the run, each a segment; without them, all steps are like the first.
    """

    state = _state_shapes(module, recipe, task)

    @functools.cache
    def forward_macs(changes):
        def forward(params, collections, inputs):
            return module.apply({"params": params, **collections}, inputs, train=False)

        inputs = steps.example_inputs(task.with_changes(dict(changes)))
        return compute.count_macs(forward, state.params, state.collections, inputs)

    @functools.cache
    def flops(batch_size, changes):
        of_span = task.with_changes(dict(changes))
        step, batch = _step_and_batch(module, recipe, of_span, batch_size)
        return compute.xla_flops(step, state, batch) + _preparation_flops(of_span, batch_size)

    segments = []
    for span in spans or (Span(0, 1, 0, recipe.batch_size, {}),):
        changes = tuple(span.changes.items())
        segments.append(
            compute.Segment(
                from_step=span.from_step,
                flops_per_step=flops(span.batch_size, changes),
                macs_forward_per_example=forward_macs(changes),
                batch_size=span.batch_size,
                changes=task.with_changes(span.changes).changes(),
            )
        )
    views = jax.eval_shape(task.views, task.batch_shapes(1))
    return TrainingCost(
        params=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        schedule=compute.CostSchedule(tuple(segments)),
        evaluation_macs_per_example={
            prefix: len(inputs) * forward_macs(()) for prefix, inputs in views.items()
        },
    )


def training_step_cost(module: nn.Module, recipe: Recipe, task: Task) -> compute.StepCost:
    """The step that `training_cost` counts, by layer and phase, with both counts reconciled."""
    step, batch = _step_and_batch(module, recipe, task, recipe.batch_size)
    return compute.step_cost(step, _state_shapes(module, recipe, task), batch)


def _state_shapes(module, recipe, task):
    tx, ema = recipe.optimizer, recipe.ema
    return jax.eval_shape(lambda: steps.initial_state(module, tx, task, seed=0, ema=ema))


def _step_and_batch(module, recipe, task, batch_size):
    """The training step on one replica, and the shapes of its batch."""
    parts = recipe.accumulate
    step = steps.make_train_step(
        module,
        recipe.optimizer,
        task,
        remat=recipe.remat,
        ema=recipe.ema,
        accumulate=parts,
        unroll=True,
    )
    if parts == 1:
        return step, task.batch_shapes(batch_size)
    return step, {
        name: jax.ShapeDtypeStruct((parts, *part.shape), part.dtype)
        for name, part in task.batch_shapes(batch_size // parts).items()
    }


def _preparation_flops(task, batch_size):
    """What a batch takes on the devices before the step, where they keep the examples."""
    arrays = task.device_arrays()
    if arrays is None:
        return 0
    shapes = {
        name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()
    }
    return compute.xla_flops(task.on_devices, shapes, task.host_batch_shapes(batch_size))
