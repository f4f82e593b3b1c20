"""The network on the devices: its state, and the compiled steps that change and measure it."""

import contextlib
from collections.abc import Callable, Iterator

import jax
import numpy as np

from jaxeff import data
from jaxeff.train import parallel, splitting, steps
from jaxeff.train.evaluation import evaluate
from jaxeff.train.hosts import StopPoint
from jaxeff.train.program import Program
from jaxeff.train.run import Run


class Trainer:
    """What the devices hold and do of a run.

    Args:
      run: what the run is told.
      restore: takes the state's structure, shapes and dtypes and returns the state of a checkpoint,
        as NumPy arrays; None starts anew, from the run's seed.
      stop: where the run stops.

    Attributes:
      state: the `TrainState`, the same on every device.
      train_step: `(state, batch) -> (state, loss)` over all devices.
      evaluation_step: `(params, collections, batch) -> sums` over all devices.
    """

    def __init__(self, run: Run, restore: Callable | None = None, stop: StopPoint | None = None):
        self.run = run
        stop = StopPoint() if stop is None else stop
        axis_name = parallel.shared_axis()
        module, recipe = run.make_module(axis_name=axis_name), run.recipe
        splitting.refuse_local_statistics(module, steps.example_inputs(run.task))
        train_step = steps.make_train_step(
            module,
            recipe.optimizer,
            run.task,
            axis_name=axis_name,
            remat=recipe.remat,
            ema=recipe.ema,
            accumulate=recipe.accumulate,
        )
        evaluation_step = steps.make_evaluation_step(module, run.task, axis_name=axis_name)
        train_step = parallel.pmap(train_step, in_axes=(None, 0), donate_argnums=0)
        evaluation_step = parallel.pmap(evaluation_step, in_axes=(None, None, 0))
        self.train_step = Program(train_step, stop)
        self.evaluation_step = Program(evaluation_step, stop)

        self._evaluation_params = None
        if recipe.evaluation_params is not None:
            self._evaluation_params = parallel.pmap(recipe.evaluation_params, in_axes=(None, None))

        def start(seed):
            return steps.initial_state(module, recipe.optimizer, run.task, seed, recipe.ema)

        seed = np.uint32(run.seed)  # An argument, so that this program too serves every seed.
        state = jax.jit(start)(seed) if restore is None else restore(jax.eval_shape(start, seed))
        self.state = parallel.replicate(state)
        arrays = run.task.device_arrays()
        self._kept_arrays = None if arrays is None else parallel.replicate(arrays)

    def take_step(self, batch: dict) -> jax.Array | None:
        """Trains on a batch that is on the devices.

        Returns:
          The loss, without waiting for it; None where the run stops before this step.
        """
        result = self.train_step(self.state, batch)
        if result is None:
            return None
        self.state, loss = result
        return loss

    def evaluate(self) -> tuple[dict[str, float] | None, dict[str, float] | None]:
        """The task's metrics over all validation examples, and their number as `examples`.

        Returns:
          Those of the parameters, and those of their average where the recipe keeps one; for the
          first, None where the run stops on the way.
        """
        state, params = self.state, self.state.params
        if self._evaluation_params is not None:
            params = self._evaluation_params(state.opt_state, params)
        metrics = self._metrics(params, state.collections)
        if self.run.recipe.ema is None or metrics is None:
            return metrics, None
        average = self._metrics(state.average["params"], state.average["collections"])
        return (None, None) if average is None else (metrics, average)

    def _metrics(self, params, collections):
        run = self.run
        batches = run.task.validation_batches(
            run.recipe.batch_size, run.num_workers, parallel.this_shard()
        )
        with contextlib.closing(batches):
            return evaluate(self.evaluation_step, params, collections, batches)

    def host_batches(self, start_step: int) -> data.Batches:
        """This process's training batches on the host, from `start_step` on, without end.

        They are of the span of that step: of its batch size and its kind. Of a step that computes
        its gradient in parts, each is a part.
        """
        span = self.run.span_at(start_step)
        options = data.StreamOptions(
            batch_size=span.batch_size // self.run.recipe.accumulate,
            seed=self.run.seed,
            start_example=span.from_example + (start_step - span.from_step) * span.batch_size,
            num_workers=self.run.num_workers,
        )
        return self.run.task_of(span).train_batches(options, parallel.this_shard())

    def device_batches(self, host_batches: data.Batches, start_step: int) -> Iterator[dict]:
        """The same batches on the devices, as the training step takes them."""
        task = self.run.task_of(self.run.span_at(start_step))
        parts = self.run.recipe.accumulate
        batches = parallel.to_devices(host_batches, parts=parts)
        if self._kept_arrays is None:
            return batches

        def prepared(arrays, batch):
            """The examples of all parts at once."""
            if parts == 1:
                return task.on_devices(arrays, batch)
            whole = {name: array.reshape(-1, *array.shape[2:]) for name, array in batch.items()}
            whole = task.on_devices(arrays, whole)
            return {name: a.reshape(parts, -1, *a.shape[1:]) for name, a in whole.items()}

        on_devices = parallel.pmap(prepared, in_axes=(None, 0), out_axes=0)
        return (on_devices(self._kept_arrays, batch) for batch in batches)

    def host_state(self) -> steps.TrainState:
        """The state as NumPy arrays of their own."""
        return jax.tree.map(np.array, self.state)
