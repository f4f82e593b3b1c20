"""A training step in JAX on random images: the launcher's, or one that a user wrote."""

import functools
import os
from collections.abc import Sequence

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Step:
    """A step of one of our models over this machine's devices.

    Args:
      work: the fields of `contenders.Work`.
      by: `launcher`, the `pmap` step of `launch/train.py`, or `user`, a `jax.jit` of the model and
        Optax on one device.
      kernels: `auto`, those of `jaxeff.cpu`, or `xla`, none.
      without: names of the kernels to leave out.
    """

    def __init__(self, work: dict, by: str, kernels: str = "auto", without: Sequence[str] = ()):
        _use_threads(work["threads"])
        from jaxeff import cpu

        self._kernels = cpu.install(without) if kernels == "auto" else cpu.installed()
        import jax
        import numpy as np

        rng = np.random.default_rng(0)
        shape = (work["batch_size"], work["image_size"], work["image_size"], 3)
        batch = {
            "image": rng.integers(0, 256, shape, np.uint8),
            "label": rng.integers(0, work["num_classes"], work["batch_size"], np.int32),
        }
        self._jax, self._work = jax, work
        make = {"launcher": _launchers_step, "user": _users_step}[by]
        self._step, self._state, self._batch = make(work, batch)

    def take(self, steps: int) -> None:
        """Takes `steps` steps and waits for their results."""
        for _ in range(steps):
            self._state, loss = self._step(self._state, self._batch)
        self._jax.block_until_ready((self._state, loss))

    def facts(self) -> dict:
        """What ran where."""
        device = self._jax.devices()[0]
        return {
            "platform": device.platform,
            "device_kind": device.device_kind,
            "software": f"jax {self._jax.__version__}",
            "kernels": self._kernels if device.platform == "cpu" else "xla",
        }

    def flops_per_step(self) -> int:
        """XLA's count of the launcher's step; making it takes memory of its own."""
        return _count(self._work)

    def peak_memory_bytes(self) -> int | None:
        """Of the device's allocations since the start, or None on CPU."""
        statistics = self._jax.devices()[0].memory_stats()
        return statistics["peak_bytes_in_use"] if statistics else None


def _launchers_step(work, batch):
    """The step of `launch/train.py`, its state and the batch, on the devices."""
    import jax

    from jaxeff.train import parallel, steps

    axis_name, task = parallel.shared_axis(), _task(work)
    module = _module(work, axis_name)
    sgd = _launchers_recipe(work).optimizer
    step = steps.make_train_step(module, sgd, task, axis_name=axis_name)
    state = jax.jit(lambda: steps.initial_state(module, sgd, task, seed=0))()
    return (
        parallel.pmap(step, in_axes=(None, 0), donate_argnums=0),
        parallel.replicate(state),
        next(parallel.to_devices([batch])),
    )


def _count(work):
    from jaxeff import train

    cost = train.training_cost(_module(work), _launchers_recipe(work), _task(work))
    return cost.flops_per_step


def _model(work):
    import networks

    return networks.load(work["model"], work["model_args"])


def _module(work, axis_name=None):
    return _model(work).make_module(work["num_classes"], work["dtype"], axis_name)


def _task(work):
    from jaxeff import data, tasks

    # Normalises as ImageNet's images are; no image of it is looked at.
    return tasks.ImageClassification(data.load("synthetic"), work["image_size"])


def _launchers_recipe(work):
    from jaxeff import train

    batch_size = work["batch_size"]
    return train.resolve(
        "paper", _model(work).name, train_examples=100 * batch_size, batch_size=batch_size
    )


def _users_step(work, batch):
    """A step as a user of `models` would write it, with Flax and Optax alone."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import linen as nn

    from jaxeff.train.user_module import initial_streams, random_streams

    module = _module(work)
    sgd = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(1e-3, momentum=0.9))

    def loss_of(params, collections, batch, key):
        images = (batch["image"].astype(jnp.float32) / 255 - jnp.array(MEAN)) / jnp.array(STD)
        logits, collections = module.apply(
            {"params": params, **collections},
            images,
            train=True,
            mutable=nn.DenyList(("params", "intermediates", "auxiliary")),
            rngs=random_streams(module, key),
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return losses.mean(), collections

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, batch):
        params, collections, opt_state, key = state
        key, dropout = jax.random.split(key)
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, collections), gradients = gradient(params, collections, batch, dropout)
        updates, opt_state = sgd.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), collections, opt_state, key), loss

    @jax.jit
    def start():
        key = jax.random.key(0)
        images = jnp.zeros((1, work["image_size"], work["image_size"], 3))
        collections = dict(module.init(initial_streams(module, key), images))
        params = collections.pop("params")
        collections.pop("auxiliary", None)
        return params, collections, sgd.init(params), key

    return step, start(), jax.device_put(batch)


def _use_threads(threads):
    """XLA's CPU backend takes as many threads as the process may use cores."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
