"""A recipe of one's own: AdamW, one cycle, mixup and an average of the weights.

    jaxeff train --model=shufflenet_v2_x0_5 --recipe=examples/my_recipe.py

`recipe` is told the model's name and the steps of an epoch; what else it takes by keyword it is
given where that is known: the flags --epochs, --batch_size and --lr, `train_examples`,
`num_classes`, `image_size`. Everything in the step is charged: the mixing and the averaging too.
"""

from jaxeff import data, train


def recipe(model_name, steps_per_epoch, epochs=20, batch_size=64, lr=2e-3):
    """AdamW at 2e-3 without decay of biases and norms; what changes is one line each."""
    steps = train.steps_of(epochs, steps_per_epoch)
    schedule = train.schedules.one_cycle(lr, steps)
    return train.Recipe(
        name="my_recipe",
        epochs=epochs,
        batch_size=batch_size,
        optimizer=train.optimizers.adamw(
            schedule, weight_decay=0.05, mask=train.optimizers.decay_mask
        ),
        schedule=schedule,
        lr=lr,
        transforms=data.Augmentation(crop=data.RandomResizedCrop(area=(0.5, 1.0)), flip="none"),
        batch_transforms=(data.Mixup(alpha=0.2),),
        label_smoothing=0.1,
        ema=train.Ema(decay=0.99),
    )
