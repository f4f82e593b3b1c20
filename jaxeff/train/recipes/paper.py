"""The paper's recipe: the PyTorch ImageNet example with a rate that falls smoothly.

Hernandez & Brown 2020, Section 3.2 and Appendix B: SGD with momentum 0.9 and a weight decay of
1e-4 on every parameter, batches of 256, 90 epochs over which the rate falls by 1000. Networks
without normalisation start at a tenth of the rate (and, though it has batch norm, GoogLeNet);
AlexNet alone keeps the step schedule.
"""

from jaxeff.train import optimizers, schedules
from jaxeff.train.recipe import Recipe, steps_of

LR = {"alexnet": 0.01, "googlenet": 0.01, "vgg11": 0.01}


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
