"""Muon: momentum made orthogonal, by matrix products that are charged like any others.

    jaxeff train --model=shufflenet_v2_x0_5 --recipe=examples/muon.py

(Jordan et al. 2024.) Kernels of convolutions and matrices take Muon, biases and norms AdamW, at a
tenth of its rate; `exclude=("NAME",)` gives AdamW the last layer too. Beside the same run with
--recipe=small it says what the optimizer is worth, its own arithmetic paid.
"""

from jaxeff import data, train


def recipe(model_name, steps_per_epoch, epochs=20, batch_size=64, lr=0.02):
    """Muon with a constant rate that falls linearly to zero over the last 40 % of the steps."""
    steps = train.steps_of(epochs, steps_per_epoch)
    schedule = train.schedules.trapezoid(lr, steps, decay_steps=round(0.4 * steps))
    return train.Recipe(
        name="muon",
        epochs=epochs,
        batch_size=batch_size,
        optimizer=train.optimizers.muon(schedule, lambda step: 0.1 * schedule(step)),
        schedule=schedule,
        lr=lr,
        transforms=data.Augmentation(crop=data.RandomResizedCrop(area=(0.5, 1.0)), flip="none"),
    )
