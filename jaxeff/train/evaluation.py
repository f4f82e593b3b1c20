"""Accuracy over a whole validation set."""

from collections.abc import Callable, Iterable

import jax
import numpy as np

from jaxeff.train import devices


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
