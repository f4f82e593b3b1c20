"""For CIFAR-10 and other data sets of tens of thousands of examples: the recipe `small`, grown.

What `small` does, in batches of 256 for ten epochs, mirrored at random. The rate of SGD is in
proportion to the batch (Goyal et al. 2017): 0.05 for 64 is 0.2 for 256, for every network with
batch norm; AdamW's grows with about the square root. There is one epoch of warm-up.

EfficientNet is the exception: its batch norm averages over a hundred steps, which at that rate are
of networks that have little in common, so that validation stays at chance for half of the epochs.
Batches of 64 make more steps of an epoch, each smaller.
"""

import dataclasses

from jaxeff import data
from jaxeff.train import schedules
from jaxeff.train.recipe import Recipe, steps_of
from jaxeff.train.recipes import small


@dataclasses.dataclass(frozen=True)
class Settings:
    """What differs between models."""

    lr: float = 0.2
    batch_size: int = 256


EXCEPTIONS = {
    "alexnet": Settings(lr=5e-4),
    "efficientnet_b0": Settings(lr=0.02, batch_size=64),
    "squeezenet1_0": Settings(lr=1e-3),
    "squeezenet1_1": Settings(lr=1e-3),
    **dict.fromkeys(small.VGG, Settings(lr=5e-4)),
}
WARMUP_EPOCHS = 1


def recipe(
    model_name: str,
    steps_per_epoch: float,
    *,
    epochs: float = 10,
    batch_size: int | None = None,
    lr: float | None = None,
) -> Recipe:
    """The recipe for `model_name`; `lr` replaces the highest rate, `batch_size` leaves it."""
    own = EXCEPTIONS.get(model_name, Settings())
    batch_size, lr = batch_size or own.batch_size, lr or own.lr
    steps = steps_of(epochs, steps_per_epoch)
    warmup_steps = min(round(WARMUP_EPOCHS * steps_per_epoch), steps - 1)
    schedule = schedules.cosine(lr, steps, warmup_steps=warmup_steps)
    return Recipe(
        "cifar",
        epochs,
        batch_size,
        optimizer=small.optimizer_of(model_name, schedule),
        schedule=schedule,
        lr=lr,
        transforms=data.Augmentation(data.RandomResizedCrop(area=(0.5, 1.0)), flip="random"),
    )
