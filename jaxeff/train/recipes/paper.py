"""The paper's recipe: the PyTorch ImageNet example with a rate that falls smoothly.

Hernandez & Brown 2020, Section 3.2 and Appendix B: SGD with momentum 0.9 and a weight decay of
1e-4 on every parameter, batches of 256, 90 epochs over which the rate falls by 1000. AlexNet,
VGG-11 and GoogLeNet start at a tenth of the rate, and so do here the larger VGGs without batch
norm, which the paper has not; AlexNet alone keeps the step schedule.
"""

from jaxeff.train import optimizers, schedules
from jaxeff.train.recipe import Recipe, steps_of

LR = dict.fromkeys(("alexnet", "googlenet", "vgg11", "vgg13", "vgg16", "vgg19"), 0.01)


def recipe(
    model_name: str,
    steps_per_epoch: float,
    *,
    epochs: float = 90,
    batch_size: int = 256,
    lr: float | None = None,
) -> Recipe:
    """The recipe for `model_name`; `lr` replaces the highest rate."""
    lr = lr or LR.get(model_name, 0.1)
    steps = steps_of(epochs, steps_per_epoch)
    if model_name == "alexnet":
        schedule = schedules.step(lr, steps)
    else:
        schedule = schedules.exponential(lr, steps, decay=1e-3)
    return Recipe(
        "paper",
        epochs,
        batch_size,
        optimizer=optimizers.sgd(schedule, momentum=0.9, weight_decay=1e-4),
        schedule=schedule,
        lr=lr,
    )
