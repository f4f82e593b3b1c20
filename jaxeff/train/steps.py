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
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize < 4:
            raise UsageError(
                f"{describe(module)}: its parameter {jax.tree_util.keystr(path)} is {leaf.dtype}, "
                "whose sums lose small updates; keep param_dtype float32, and give "
                "--dtype=bfloat16 for the arithmetic"
            )
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
    accumulate: int = 1,
    unroll: bool = False,
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
      accumulate: in how many parts, one after the other, the gradient of a batch is computed. If
        more than 1, the arrays of a batch have a leading axis over them, `[accumulate, n, ...]`.
      unroll: writes out the parts, for XLA's count, which counts the body of a loop once.

    Returns:
      A function whose `loss` is a float32 scalar, the mean over the global batch.
    """
    forward = _rematerialised if remat else _forward

    def loss_and_grads(params: dict, collections: dict, batch: dict, key: jax.Array):
        batch = task.augment(batch, key, axis_name)
        inputs = task.inputs(batch)

        def loss_fn(params):
            outputs, written = nn.apply(forward, module, mutable=nn.DenyList("params"))(
                {"params": params, **collections}, inputs, rngs=random_streams(module, key)
            )
            return task.loss(outputs, batch, written), written

        (loss, written), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        return loss, grads, kept_collections(module, collections, written, OF_ONE_PASS)

    if accumulate > 1:
        loss_and_grads = _in_parts(loss_and_grads, accumulate, unroll)

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, jax.Array]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        loss, grads, collections = loss_and_grads(state.params, state.collections, batch, key)
        if axis_name is not None:
            loss, grads = jax.lax.pmean((loss, grads), axis_name)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if ema is not None:
            values = {"params": params, "collections": collections}
            average = ema.update(average, values, state.step)
        state = TrainState(state.step + 1, state.key, params, collections, opt_state, average)
        return state, loss

    return train_step


def _in_parts(loss_and_grads, accumulate, unroll):
    """`loss_and_grads` of a batch, the mean over its parts, whose activations are not kept."""

    def accumulated(params, collections, batch, key):
        def add(carry, part):
            loss_sum, grads_sum, collections = carry
            number, batch = part
            own_key = jax.random.fold_in(key, number)
            loss, grads, collections = loss_and_grads(params, collections, batch, own_key)
            grads_sum = jax.tree.map(jnp.add, grads_sum, grads)
            return (loss_sum + loss, grads_sum, collections), None

        zeros = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        (loss, grads, collections), _ = jax.lax.scan(
            add, (*zeros, collections), (jnp.arange(accumulate), batch), unroll=unroll
        )
        loss, grads = jax.tree.map(lambda total: total / accumulate, (loss, grads))
        return loss, grads, collections

    return accumulated


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
