"""One training step and one evaluation step, as pure functions of arrays."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from jaxeff.errors import UsageError
from jaxeff.tasks import Task
from jaxeff.train.recipe import Ema
from jaxeff.train.user_module import (
    describe,
    initial_streams,
    kept_collections,
    random_streams,
)

# Collections that a module writes anew in each pass; the others are part of the state.
OF_ONE_PASS = ("intermediates", "auxiliary")


@struct.dataclass
class TrainState:
    """What a training step changes.

    Attributes:
      step: steps taken, int32 scalar.
      key: of dropout and of what varies a batch, uint32 `[2]`: part of the state, so that one
        compiled step serves every seed.
      params: parameters, float32.
      collections: what else the module keeps, such as `batch_stats`; empty where it keeps nothing.
      opt_state: state of the optimizer.
      average: `params` and `collections` as a recipe's `Ema` averages them; empty without one.
    """

    step: jax.Array
    key: jax.Array
    params: dict
    collections: dict
    opt_state: optax.OptState
    average: dict


def example_inputs(task: Task) -> jax.ShapeDtypeStruct:
    """Shape and dtype of what the module is applied to, for one example: `[1, ...]`."""
    return jax.eval_shape(task.inputs, task.batch_shapes(1))


def initial_state(
    module: nn.Module,
    tx: optax.GradientTransformation,
    task: Task,
    seed: int | jax.Array,
    ema: Ema | None = None,
) -> TrainState:
    """Fresh parameters, collections and optimizer state, drawn from `seed`.

    An average begins as a copy of them.
    """
    inputs = example_inputs(task)
    zeros = jnp.zeros(inputs.shape, inputs.dtype)
    kept = nn.DenyList(OF_ONE_PASS)
    key = jax.random.key(seed)
    streams = initial_streams(module, key)
    collections = dict(module.init(streams, zeros, train=False, mutable=kept))
    if not collections.get("params"):
        raise UsageError(f"{describe(module)} has no parameters that could be trained")
    params = collections.pop("params")
    # A copy, since a step may take the memory of each of its arguments only once.
    average = {} if ema is None else {"params": params, "collections": collections}
    average = jax.tree.map(jnp.copy, average)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key_data(key),
        params=params,
        collections=collections,
        opt_state=tx.init(params),
        average=average,
    )


def make_train_step(
    module: nn.Module,
    tx: optax.GradientTransformation,
    task: Task,
    *,
    axis_name: str | None = None,
    remat: bool = False,
    ema: Ema | None = None,
) -> Callable:
    """The function `(state, batch) -> (state, loss)` of one training step.

    Args:
      module: whose `__call__` takes inputs and `train`.
      tx: any optimizer of Optax.
      task: says what a batch is, and its loss.
      axis_name: the `pmap` axis over which the batch is split. Loss and gradient are averaged over
        it, and so are batch statistics if `module` was created with the same axis.
      remat: keeps the outputs of convolutions and matrix products alone for the backward pass, and
        computes what stands between them a second time (`nn.remat`).
      ema: averages parameters and collections, in `TrainState.average`.

    Returns:
      A function whose `loss` is a float32 scalar, the mean over the global batch.
    """
    forward = _rematerialised if remat else _forward

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, jax.Array]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        batch = task.augment(batch, key, axis_name)
        inputs = task.inputs(batch)

        def loss_fn(params):
            outputs, collections = nn.apply(forward, module, mutable=nn.DenyList("params"))(
                {"params": params, **state.collections}, inputs, rngs=random_streams(module, key)
            )
            return task.loss(outputs, batch, collections), collections

        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, collections), grads = grad_fn(state.params)
        if axis_name is not None:
            loss, grads = jax.lax.pmean((loss, grads), axis_name)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        collections = kept_collections(module, state.collections, collections, OF_ONE_PASS)
        average = state.average
        if ema is not None:
            values = {"params": params, "collections": collections}
            average = ema.update(average, values, state.step)
        state = TrainState(state.step + 1, state.key, params, collections, opt_state, average)
        return state, loss

    return train_step


def _forward(module, inputs):
    return module(inputs, train=True)


def _keep_products(primitive, *_, **__):
    return primitive.name in ("conv_general_dilated", "dot_general")


_rematerialised = nn.remat(_forward, policy=_keep_products)


def make_evaluation_step(module: nn.Module, task: Task, *, axis_name: str | None = None):
    """The function `(params, collections, batch) -> sums` of one validation batch.

    `batch` holds what the task's validation batches hold, `mask` bool `[N]` among it: False where
    an example only fills up the batch. `sums` holds each metric of the task, float32, summed over
    the examples that count and over `axis_name`, and their number as `examples`, int32.
    """

    def evaluation_step(params: dict, collections: dict, batch: dict) -> dict[str, jax.Array]:
        variables = {"params": params, **collections}
        mask, sums = batch["mask"], {}
        for prefix, views in task.views(batch).items():
            outputs = [module.apply(variables, inputs, train=False) for inputs in views]
            mean = sum(outputs) / len(outputs)
            for name, values in task.example_metrics(mean, batch).items():
                sums[prefix + name] = jnp.where(mask, values.astype(jnp.float32), 0.0).sum()
        sums["examples"] = mask.sum(dtype=jnp.int32)
        return sums if axis_name is None else jax.lax.psum(sums, axis_name)

    return evaluation_step
