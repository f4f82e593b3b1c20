"""For the embedded data sets and others of their size: minutes on a laptop.

Linear warm-up, of one epoch where nothing else is said, then a cosine to zero. Networks with batch
norm are trained by SGD with momentum 0.9 and a weight decay of 5e-4. Those without it stand still
for their first epochs then, some seeds for good; AdamW (Loshchilov and Hutter 2019) trains them
from the first step on. SqueezeNet ends in a ReLU, behind which the first steps of AdamW, as large
as its later ones, can leave a class dead; a warm-up of five epochs does not.
"""

import dataclasses

import optax

from jaxeff import data
from jaxeff.train import optimizers, schedules
from jaxeff.train.recipe import Recipe, steps_of


@dataclasses.dataclass(frozen=True)
class Settings:
    """What differs between models."""

    lr: float = 0.05
    batch_size: int = 64
    epochs: float = 20
    warmup_epochs: float = 1


VGG = ("vgg11", "vgg13", "vgg16", "vgg19")
WITHOUT_NORMALISATION = ("alexnet", "squeezenet1_0", "squeezenet1_1", *VGG)
EXCEPTIONS = {
    "alexnet": Settings(lr=3e-4),
    "efficientnet_b0": Settings(lr=0.01, batch_size=16, epochs=30),
    "resnet50": Settings(lr=0.01, batch_size=16),
    "resnext50_32x4d": Settings(lr=0.01, batch_size=16),
    "shufflenet_v1": Settings(lr=0.02, batch_size=16),
    "squeezenet1_0": Settings(lr=4e-4, batch_size=16, epochs=25, warmup_epochs=5),
    "squeezenet1_1": Settings(lr=4e-4, batch_size=16, epochs=25, warmup_epochs=5),
    "wide_resnet50_2": Settings(lr=0.01, batch_size=16, epochs=12),
    **dict.fromkeys(VGG, Settings(lr=3e-4)),
}


def recipe(
    model_name: str,
    steps_per_epoch: float,
    *,
    epochs: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
) -> Recipe:
    """The recipe for `model_name`; what is given replaces the model's own."""
    own = EXCEPTIONS.get(model_name, Settings())
    epochs, batch_size, lr = epochs or own.epochs, batch_size or own.batch_size, lr or own.lr
    steps = steps_of(epochs, steps_per_epoch)
    warmup_steps = min(round(own.warmup_epochs * steps_per_epoch), steps - 1)
    schedule = schedules.cosine(lr, steps, warmup_steps=warmup_steps)
    return Recipe(
        "small",
        epochs,
        batch_size,
        optimizer=optimizer_of(model_name, schedule),
        schedule=schedule,
        lr=lr,
        transforms=data.Augmentation(data.RandomResizedCrop(area=(0.5, 1.0))),
    )


def optimizer_of(model_name: str, schedule: optax.Schedule) -> optax.GradientTransformation:
    """AdamW for those of `WITHOUT_NORMALISATION`, SGD with momentum for the others."""
    if model_name in WITHOUT_NORMALISATION:
        return optimizers.adamw(schedule, weight_decay=0.05)
    return optimizers.sgd(schedule, momentum=0.9, weight_decay=5e-4)
