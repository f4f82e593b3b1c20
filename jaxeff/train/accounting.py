"""What training costs: both counts of one step, and the charge for a number of steps."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxeff import compute
from jaxeff.train import steps

CONVENTION = (
    "flops_per_step: XLA's HLO cost analysis of one training step (normalisation, loss, gradient, "
    "optimizer update) on one replica with the global batch, lowered for TPU and not compiled; "
    "train_flops: that times the steps up to the evaluation that first met the target, or all "
    "steps so far; macs_forward_per_image: multiply-accumulates of convolutions and matrix "
    "products, padding included, counted from the jaxpr; paper_flops: 3 x those x images; "
    "teraflop_s_days: operations / 8.64e16. Evaluation is not charged."
)


@dataclasses.dataclass(frozen=True)
class TrainingCost:
    """What one training step of a model costs, however many devices share it.

    Attributes:
      params: number of parameters.
      batch_size: images a step.
      flops_per_step: XLA's count, in FLOPs.
      macs_forward_per_image: multiply-accumulates of one forward pass.
    """

    params: int
    batch_size: int
    flops_per_step: int
    macs_forward_per_image: int

    def charge(self, step: int) -> dict:
        """The record's `compute` section after `step` steps, in FLOPs and teraflop/s-days."""
        train_flops = self.flops_per_step * step
        paper_flops = compute.paper_flops(self.macs_forward_per_image, step * self.batch_size)
        return {
            "flops_per_step": self.flops_per_step,
            "flops_per_image": self.flops_per_step / self.batch_size,
            "macs_forward_per_image": self.macs_forward_per_image,
            "convention": CONVENTION,
            "train_flops": train_flops,
            "teraflop_s_days": compute.teraflop_s_days(train_flops),
            "paper_flops": paper_flops,
            "paper_teraflop_s_days": compute.teraflop_s_days(paper_flops),
        }


def training_cost(
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    image_size: int,
    batch_size: int,
    mean: tuple,
    std: tuple,
    label_smoothing: float = 0.0,
) -> TrainingCost:
    """Counts one training step of `module` with the whole batch on one replica.

    Runs and compiles nothing, and does not depend on the machine.

    Args:
      module: created without an axis name.
      optimizer: its update is part of the step.
      image_size: side of the images in pixels.
      batch_size: global batch.
      mean: of the normalisation, which is part of the step.
      std: likewise.
      label_smoothing: of the loss.
    """
    step, state, batch = _step_and_shapes(
        module, optimizer, image_size, batch_size, mean, std, label_smoothing
    )

    def forward(params, batch_stats, images):
        return module.apply({"params": params, "batch_stats": batch_stats}, images, train=False)

    one_image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    return TrainingCost(
        params=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        batch_size=batch_size,
        flops_per_step=compute.xla_flops(step, state, batch),
        macs_forward_per_image=compute.count_macs(
            forward, state.params, state.batch_stats, one_image
        ),
    )


def training_step_cost(
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    image_size: int,
    batch_size: int,
    mean: tuple,
    std: tuple,
    label_smoothing: float = 0.0,
) -> compute.StepCost:
    """The step that `training_cost` counts, by layer and phase, with both counts reconciled."""
    step, state, batch = _step_and_shapes(
        module, optimizer, image_size, batch_size, mean, std, label_smoothing
    )
    return compute.step_cost(step, state, batch)


def _step_and_shapes(module, optimizer, image_size, batch_size, mean, std, label_smoothing):
    """The training step on one replica, and the shapes of its state and batch."""
    step = steps.make_train_step(
        module,
        optimizer,
        mean=mean,
        std=std,
        label_smoothing=label_smoothing,
        seed=0,
        axis_name=None,
    )
    state = jax.eval_shape(lambda: steps.initial_state(module, optimizer, image_size, 0))
    shape = (image_size, image_size, 3)
    batch = {
        "image": jax.ShapeDtypeStruct((batch_size, *shape), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
    }
    return step, state, batch
