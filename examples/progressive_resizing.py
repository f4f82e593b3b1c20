"""Small images first: the resolution rises with the epochs, and each step is charged what it costs.

    jaxeff train --model=shufflenet_v2_x0_5 --recipe=examples/progressive_resizing.py

(Howard 2018, "fastai DAWNBench"; Tan & Le 2021 let the augmentation grow with it.) The record has a
segment for each size; the network is measured at the full size throughout.
"""

from jaxeff import data, train


def recipe(model_name, steps_per_epoch, image_size, epochs=20, batch_size=64, lr=0.05):
    """The packaged recipe `small` at half, three quarters and the whole of the image size."""
    steps = train.steps_of(epochs, steps_per_epoch)
    schedule = train.schedules.cosine(lr, steps, warmup_steps=round(steps_per_epoch))
    return train.Recipe(
        name="progressive_resizing",
        epochs=epochs,
        batch_size=batch_size,
        optimizer=train.optimizers.sgd(schedule, momentum=0.9, weight_decay=5e-4),
        schedule=schedule,
        lr=lr,
        transforms=data.Augmentation(crop=data.RandomResizedCrop(area=(0.5, 1.0)), flip="none"),
        phases=(
            train.phase(0, image_size=image_size // 2),
            train.phase(0.4 * epochs, image_size=image_size * 3 // 4),
            train.phase(0.7 * epochs, image_size=image_size),
        ),
    )
