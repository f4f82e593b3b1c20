"""jaxeff's training step, as `launch/train.py` takes it, on random images."""

import contextlib
import functools
import os


class Step:
    """The `pmap` step over this machine's devices.

    Args:
      work: the fields of `contenders.Work`.
      native: takes XLA's native form of every layer, as plain Flax does.
    """

    def __init__(self, work: dict, native: bool):
        _use_threads(work["threads"])
        import jax
        import numpy as np

        import models
        from jaxeff import nn, train
        from jaxeff.train import devices, steps

        make_module = functools.partial(
            models.create, work["model"], work["num_classes"], work["dtype"]
        )
        module = make_module(axis_name=devices.shared_axis())
        recipe = train.resolve("paper", work["model"], batch_size=work["batch_size"])
        sgd = train.make_optimizer(recipe, 1000, 100.0)
        scale = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        rng = np.random.default_rng(0)
        size = work["image_size"]
        batch = {
            "image": rng.integers(0, 256, (work["batch_size"], size, size, 3), np.uint8),
            "label": rng.integers(0, work["num_classes"], work["batch_size"], np.int32),
        }
        self._jax = jax
        self._forms = nn.native_forms if native else contextlib.nullcontext
        with self._forms():
            state = jax.jit(lambda: steps.initial_state(module, sgd, size, seed=0))()
        self._state = devices.replicate(state)
        self._batch = next(train.to_devices([batch]))
        self._step = devices.parallel(
            steps.make_train_step(
                module, sgd, **scale, label_smoothing=0.0, seed=0, axis_name=devices.shared_axis()
            ),
            donate_argnums=0,
        )
        self._count = functools.partial(
            train.training_cost,
            make_module(axis_name=None),
            sgd,
            image_size=size,
            batch_size=work["batch_size"],
            **scale,
        )

    def take(self, steps: int) -> None:
        """Takes `steps` steps and waits for their results."""
        with self._forms():
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
        }

    def flops_per_step(self) -> int:
        """XLA's count of the step; making it takes memory of its own."""
        return self._count().flops_per_step

    def peak_memory_bytes(self) -> int | None:
        """Of the device's allocations since the start, or None on CPU."""
        statistics = self._jax.devices()[0].memory_stats()
        return statistics["peak_bytes_in_use"] if statistics else None


def _use_threads(threads):
    """XLA's CPU backend takes as many threads as the process may use cores."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
