"""Batches of thousands, for many devices: a departure from the paper, which trains with 256.

LARS (You et al. 2017) with the rate in proportion to the batch (Goyal et al. 2017) and five epochs
of warm-up, then a fall to zero with the square of what is left. The rate of 10 for a batch of 8,192
(5 for 4,096), momentum, decay and schedule are those of Google's reference of ResNet-50 in MLPerf,
which takes 25 for 16,384 and 32 with 14 epochs of warm-up for 32,768: give --lr there.

A step costs a little more than the paper's, and another optimizer needs another number of epochs to
a level: what is measured with this recipe is not what the paper measured.
"""

import optax

from jaxeff.train import optimizers
from jaxeff.train.recipe import Recipe, steps_of

LR_OF_8192 = 10.0
WARMUP_EPOCHS = 5


def recipe(
    model_name: str,
    steps_per_epoch: float,
    *,
    epochs: float = 90,
    batch_size: int = 4096,
    lr: float | None = None,
) -> Recipe:
    """The recipe for any model; `lr` replaces LARS's highest global rate."""
    lr = lr or LR_OF_8192 * batch_size / 8192
    steps = steps_of(epochs, steps_per_epoch)
    warmup_steps = min(round(WARMUP_EPOCHS * steps_per_epoch), steps - 1)
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, lr, warmup_steps),
            optax.polynomial_schedule(lr, 0.0, 2, steps - warmup_steps),
        ],
        [warmup_steps],
    )
    optimizer = optimizers.lars(
        schedule, momentum=0.9, weight_decay=1e-4, mask=optimizers.decay_mask
    )
    return Recipe("large_batch", epochs, batch_size, optimizer=optimizer, schedule=schedule, lr=lr)
