"""The schedule that the paper compares its own with in Figure 2.

As `paper.py`, but that the rate falls by 10 after each third of the run: every 30 of 90 epochs.
"""

from jaxeff.train import optimizers, schedules
from jaxeff.train.recipe import Recipe, steps_of
from jaxeff.train.recipes import paper


def recipe(
    model_name: str,
    steps_per_epoch: float,
    *,
    epochs: float = 90,
    batch_size: int = 256,
    lr: float | None = None,
) -> Recipe:
    """The recipe for `model_name`; `lr` replaces the highest rate."""
    lr = lr or paper.LR.get(model_name, 0.1)
    schedule = schedules.step(lr, steps_of(epochs, steps_per_epoch))
    return Recipe(
        "paper_step",
        epochs,
        batch_size,
        optimizer=optimizers.sgd(schedule, momentum=0.9, weight_decay=1e-4),
        schedule=schedule,
        lr=lr,
    )
