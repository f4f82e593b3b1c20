"""Beyond the paper: as few FLOPs to the level as we know, by a short schedule annealed to its end.

    jaxeff train --model=shufflenet_v2_x0_5 --recipe=examples/fewer_flops.py --epochs=8

Its default length is that of 50,000 images of CIFAR-10 to 58 % (docs/measured.md): 1.2 passes over
them, two thirds at three quarters of the resolution, in batches of 64 for more steps, with crops
that leave nearly all of an image, Nesterov's momentum, and a rate that rises for a fifth of the
steps and falls to zero.
"""

from jaxeff import data, train


def recipe(model_name, steps_per_epoch, image_size, epochs=1.2, batch_size=64, lr=0.1):
    """SGD for networks with batch norm."""
    steps = train.steps_of(epochs, steps_per_epoch)
    rise = round(0.2 * steps)
    schedule = train.schedules.trapezoid(lr, steps, decay_steps=steps - rise, warmup_steps=rise)
    return train.Recipe(
        name="fewer_flops",
        epochs=epochs,
        batch_size=batch_size,
        optimizer=train.optimizers.sgd(schedule, momentum=0.9, weight_decay=5e-4, nesterov=True),
        schedule=schedule,
        lr=lr,
        transforms=data.Augmentation(crop=data.RandomResizedCrop(area=(0.95, 1.0))),
        phases=(
            train.phase(0, image_size=image_size * 3 // 4),
            train.phase(0.65 * epochs, image_size=image_size),
        ),
    )
