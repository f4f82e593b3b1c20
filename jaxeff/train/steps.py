"""One training step and one evaluation step, as pure functions of arrays."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

# Of the loss of each auxiliary classifier that a module puts into its collection `auxiliary`
# (Szegedy et al. 2014, Section 5).
AUXILIARY_WEIGHT = 0.3


@struct.dataclass
class TrainState:
    """What a training step changes.

    Attributes:
      step: steps taken, int32 scalar.
      params: parameters, float32.
      batch_stats: running statistics of batch norm, float32; empty where there is none.
      opt_state: state of the optimizer.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState


def initial_state(
    module: nn.Module, optimizer: optax.GradientTransformation, image_size: int, seed: int
) -> TrainState:
    """Fresh parameters, batch statistics and optimizer state, drawn from `seed`."""
    images = jnp.zeros((1, image_size, image_size, 3))
    variables = module.init(jax.random.key(seed), images, train=False)
    params = variables["params"]
    batch_stats = variables.get("batch_stats", {})
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params))


def normalise(images: jax.Array, mean: tuple, std: tuple) -> jax.Array:
    """`(images / 255 - mean) / std` per channel: uint8 `[N, H, W, 3]` to float32."""
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    return (images.astype(jnp.float32) - 255 * mean) * (1 / (255 * std))


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Cross entropy per image, in nats.

    Args:
      logits: `[N, K]` float32.
      labels: `[N]` int32.
      label_smoothing: mass spread evenly over the `K` classes (Szegedy et al. 2016).

    Returns:
      `[N]` float32.
    """
    if label_smoothing == 0.0:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def make_train_step(
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    mean: tuple,
    std: tuple,
    label_smoothing: float,
    seed: int,
    axis_name: str | None,
):
    """The function `(state, batch) -> (state, loss)` of one training step.

    `batch` holds `image` uint8 `[N, H, W, 3]` and `label` int32 `[N]`. With `axis_name`, the batch
    is this device's share; loss and gradient are averaged over the axis, and so are the batch
    statistics if `module` was created with the same axis. `loss` is a float32 scalar.
    """

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, jax.Array]:
        images = normalise(batch["image"], mean, std)
        dropout = jax.random.fold_in(jax.random.key(seed), state.step)

        def loss_of(params):
            logits, updated = module.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats", "auxiliary"],
                rngs={"dropout": dropout},
            )
            loss = cross_entropy(logits, batch["label"], label_smoothing).mean()
            for logits in jax.tree.leaves(updated.get("auxiliary", {})):
                auxiliary = cross_entropy(logits, batch["label"], label_smoothing).mean()
                loss += AUXILIARY_WEIGHT * auxiliary
            return loss, updated.get("batch_stats", {})

        (loss, batch_stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        if axis_name is not None:
            loss, gradient = jax.lax.pmean((loss, gradient), axis_name)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, batch_stats, opt_state), loss

    return train_step


def make_evaluation_step(module: nn.Module, *, mean: tuple, std: tuple, axis_name: str | None):
    """The function `(params, batch_stats, batch) -> sums` of one validation batch.

    `batch` holds `image` uint8 `[N, H, W, 3]`, `label` int32 `[N]` and `mask` bool `[N]`, False
    where an image only fills up the batch. `sums` holds, over the images that count and summed over
    `axis_name`: `loss` float32, and int32 `top1`, `top5` and `images`.
    """

    def evaluation_step(params: dict, batch_stats: dict, batch: dict) -> dict[str, jax.Array]:
        images = normalise(batch["image"], mean, std)
        logits = module.apply({"params": params, "batch_stats": batch_stats}, images, train=False)
        labels, mask = batch["label"], batch["mask"]
        loss = jnp.where(mask, cross_entropy(logits, labels), 0.0)
        hits = top_k_hits(logits, labels, min(5, logits.shape[-1])) & mask[:, None]
        sums = {
            "loss": loss.sum(),
            "top1": hits[:, 0].sum(dtype=jnp.int32),
            "top5": hits.sum(dtype=jnp.int32),
            "images": mask.sum(dtype=jnp.int32),
        }
        return sums if axis_name is None else jax.lax.psum(sums, axis_name)

    return evaluation_step


def top_k_hits(logits: jax.Array, labels: jax.Array, k: int) -> jax.Array:
    """Whether the label is the 1st, 2nd, … k-th largest logit.

    Equal logits count in the order of their classes. A row with a logit that is not finite hits
    nowhere: a broken network must not look like a right one.

    Args:
      logits: `[N, K]` float32.
      labels: `[N]` int32.
      k: how many of the largest logits to look at.

    Returns:
      `[N, k]` bool, at most one True a row.
    """
    _, classes = jax.lax.top_k(logits, k)
    finite = jnp.isfinite(logits).all(axis=-1)
    return (classes == labels[:, None]) & finite[:, None]
