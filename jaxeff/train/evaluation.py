"""Accuracy over a whole validation set."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterable

import jax
import numpy as np
from flax import linen as nn

from jaxeff import data, records
from jaxeff.errors import UsageError
from jaxeff.train import devices, steps
from jaxeff.train.checkpoints import Checkpoints


def evaluate(
    evaluation_step: Callable,
    params,
    batch_stats,
    batches: Iterable[dict],
    steps_in_flight: int = 8,
) -> dict[str, float]:
    """Loss and accuracy over every image of `batches` that its mask counts.

    Args:
      evaluation_step: `pmap` of `steps.make_evaluation_step`.
      params: replicated parameters.
      batch_stats: replicated batch statistics.
      batches: this process's validation batches, on the host.
      steps_in_flight: batches that the host may run ahead of the devices.

    Returns:
      `loss` (mean cross entropy in nats), `top1` and `top5` (shares in [0, 1]) and `images`, the
      number of images counted over all processes.
    """
    sums = []
    for batch in devices.to_devices(batches):
        sums.append(devices.first_shards(evaluation_step(params, batch_stats, batch)))
        if len(sums) > steps_in_flight:
            jax.block_until_ready(sums[-steps_in_flight])
    sums = jax.device_get(sums)
    totals = {key: np.sum([batch[key] for batch in sums], dtype=np.float64) for key in sums[0]}
    images = int(totals["images"])
    return {
        "loss": float(totals["loss"] / images),
        "top1": float(totals["top1"] / images),
        "top5": float(totals["top5"] / images),
        "images": images,
    }


def evaluate_variables(
    module: nn.Module,
    variables: dict,
    dataset: data.Dataset,
    *,
    image_size: int,
    batch_size: int,
    num_workers: int = 0,
) -> dict[str, float]:
    """Loss and accuracy of `module` over the validation set of `dataset`, on all local devices.

    Args:
      module: the network.
      variables: its `params` and `batch_stats`.
      dataset: gives images, crop and normalisation.
      image_size: side in pixels at which the network sees the images.
      batch_size: images at a time, rounded up to a multiple of the devices.
      num_workers: processes that prepare images; 0 uses threads of this one.

    Returns:
      As `evaluate`.
    """
    step = steps.make_evaluation_step(
        module, mean=dataset.mean, std=dataset.std, axis_name=devices.shared_axis()
    )
    device_count = jax.device_count()
    with contextlib.closing(
        data.validation_batches(
            dataset,
            image_size,
            batch_size=-(-batch_size // device_count) * device_count,
            num_workers=num_workers,
            shard=data.Shard(jax.process_index(), jax.process_count()),
        )
    ) as batches:
        return evaluate(
            devices.parallel(step),
            devices.replicate(variables["params"]),
            devices.replicate(variables["batch_stats"]),
            batches,
        )


def restore_variables(workdir: str | os.PathLike) -> tuple[dict, dict]:
    """The variables of a run's newest checkpoint, and its record up to there.

    Args:
      workdir: folder of the run.

    Returns:
      `{"params": …, "batch_stats": …}` of NumPy arrays, and the record.

    Raises:
      UsageError: there is no such run, or its checkpoint or record cannot be read.
    """
    folder = pathlib.Path(workdir)
    if not (folder / "checkpoints").is_dir():
        raise UsageError(f"--workdir={workdir}: no run of train.py with a checkpoint is there")
    with contextlib.closing(Checkpoints(folder / "checkpoints")) as checkpoints:
        state, progress = checkpoints.restore()
    records.validate(progress["record"], source=f"{folder}/checkpoints")
    return {"params": state["params"], "batch_stats": state["batch_stats"]}, progress["record"]
