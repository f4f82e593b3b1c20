"""The task's metrics over a whole validation set."""

import contextlib
import os
from collections.abc import Callable, Iterable

import jax
import numpy as np
from flax import linen as nn

from jaxeff import records
from jaxeff.errors import UsageError
from jaxeff.tasks import Task
from jaxeff.train import parallel, steps
from jaxeff.train.checkpoints import Checkpoints
from jaxeff.train.workdir import folder as run_folder


def evaluate(
    evaluation_step: Callable,
    params,
    collections,
    batches: Iterable[dict],
    steps_in_flight: int = 8,
) -> dict[str, float] | None:
    """The metrics over every example of `batches` that its mask counts.

    Args:
      evaluation_step: `pmap` of `steps.make_evaluation_step`, or a `Program` of it.
      params: replicated parameters.
      collections: replicated, what else the module keeps.
      batches: this process's validation batches, on the host.
      steps_in_flight: batches that the host may run ahead of the devices.

    Returns:
      The mean of each metric by name, and `examples`, the number of examples counted over all
      processes; None where the run stops on the way.
    """
    sums = []
    for batch in parallel.to_devices(batches):
        sums.append(evaluation_step(params, collections, batch))
        if sums[-1] is None:
            return None
        if len(sums) > steps_in_flight:
            jax.block_until_ready(sums[-steps_in_flight])
    sums = jax.device_get(sums)
    totals = {key: np.sum([batch[key] for batch in sums], dtype=np.float64) for key in sums[0]}
    examples = int(totals.pop("examples"))
    return {name: float(total / examples) for name, total in totals.items()} | {
        "examples": examples
    }


def evaluate_variables(
    module: nn.Module, variables: dict, task: Task, batch_size: int, num_workers: int = 0
) -> dict[str, float]:
    """The metrics of `module` over the task's validation examples, on all devices.

    Args:
      module: the network.
      variables: its `params` and what else it keeps.
      task: gives the examples and their metrics.
      batch_size: examples at a time, rounded up to a multiple of the devices.
      num_workers: processes that prepare examples; 0 uses threads of this one.

    Returns:
      As `evaluate`.
    """
    collections = dict(variables)
    params = collections.pop("params")
    step = steps.make_evaluation_step(module, task, axis_name=parallel.shared_axis())
    device_count = jax.device_count()
    batch_size = -(-batch_size // device_count) * device_count
    with contextlib.closing(
        task.validation_batches(batch_size, num_workers, parallel.this_shard())
    ) as batches:
        return evaluate(
            parallel.pmap(step, in_axes=(None, None, 0)),
            parallel.replicate(params),
            parallel.replicate(collections),
            batches,
        )


def restore_variables(
    workdir: str | os.PathLike, average: bool = False
) -> tuple[dict, records.Record]:
    """The variables of a run's newest checkpoint, and its record up to there.

    Args:
      workdir: folder of the run.
      average: takes the averages that the run's recipe keeps in their place.

    Returns:
      `{"params": …, "batch_stats": …}` of NumPy arrays, with what else the module keeps, and the
      record.

    Raises:
      UsageError: there is no such run, its checkpoint or record cannot be read, it keeps no
        average, or its optimizer keeps other parameters than those to measure.
    """
    folder = run_folder(workdir)
    if not (folder / "checkpoints").is_dir():
        raise UsageError(f"--workdir={workdir}: no run of train.py with a checkpoint is there")
    with contextlib.closing(Checkpoints(folder / "checkpoints")) as checkpoints:
        state, kept = checkpoints.restore()
    record = records.from_json(kept["record"], source=f"{folder}/checkpoints")
    if average:
        if not state.get("average"):
            raise UsageError(f"--workdir={workdir}: the run's recipe keeps no average")
        return {"params": state["average"]["params"], **state["average"]["collections"]}, record
    if record.recipe.get("evaluation_params") is not None:
        raise UsageError(
            f"--workdir={workdir}: its optimizer trains other parameters than it measures, and a "
            "checkpoint holds the first; the record's curve has the measured ones"
        )
    # Checkpoints of jaxeff 0.1 keep `batch_stats` by itself.
    collections = state.get("collections", {"batch_stats": state.get("batch_stats")})
    return {"params": state["params"], **(collections or {})}, record
