"""SGD with PyTorch's semantics and the schedules of its learning rate."""

import optax

from jaxeff.train.recipes import Recipe


def make_optimizer(
    recipe: Recipe, total_steps: int, steps_per_epoch: float
) -> optax.GradientTransformation:
    """The optimizer of a run of `total_steps` by `recipe`."""
    schedule = learning_rate(recipe, total_steps, steps_per_epoch)
    return sgd(schedule, recipe.momentum, recipe.weight_decay)


def learning_rate(recipe: Recipe, total_steps: int, steps_per_epoch: float) -> optax.Schedule:
    """The learning rate by step, counted from 0.

    After a linear rise from 0 over `warmup_epochs`, with `t` the share of the remaining steps that
    are done:

    - `exponential`: `lr * lr_decay ** t`, the paper's smooth schedule;
    - `step`: `lr * 0.1 ** floor(3 t)`, every 30 of 90 epochs in the paper;
    - `cosine`: `lr * (1 + cos(pi t)) / 2` (Loshchilov & Hutter 2017).

    Args:
      recipe: gives `schedule`, `lr`, `lr_decay` and `warmup_epochs`.
      total_steps: steps of the whole run.
      steps_per_epoch: training images divided by the batch size.

    Returns:
      A function from the step to the rate.
    """
    warmup_steps = min(round(recipe.warmup_epochs * steps_per_epoch), total_steps - 1)
    decay_steps = total_steps - warmup_steps
    falling = SCHEDULES[recipe.schedule](recipe, decay_steps)
    if warmup_steps == 0:
        return falling
    rising = optax.linear_schedule(0.0, recipe.lr, warmup_steps)
    return optax.join_schedules([rising, falling], [warmup_steps])


def _exponential(recipe, steps):
    return optax.exponential_decay(recipe.lr, steps, recipe.lr_decay)


def _step(recipe, steps):
    boundaries = {round(steps * third / 3): 0.1 for third in (1, 2)}
    return optax.piecewise_constant_schedule(recipe.lr, boundaries)


def _cosine(recipe, steps):
    return optax.cosine_decay_schedule(recipe.lr, steps)


SCHEDULES = {"exponential": _exponential, "step": _step, "cosine": _cosine}


def sgd(
    schedule: optax.Schedule, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """`torch.optim.SGD(momentum=momentum, weight_decay=weight_decay, nesterov=False)`.

    `g += weight_decay * p; buffer = momentum * buffer + g; p -= lr * buffer`, for every parameter.
    The decay is coupled: it passes through the momentum and is scaled by the rate.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(decay=momentum),
        optax.scale_by_learning_rate(schedule),
    )
