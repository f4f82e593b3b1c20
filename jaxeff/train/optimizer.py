"""SGD with PyTorch's semantics and the schedules of its learning rate."""

import functools

import jax
import jax.numpy as jnp
import optax

from jaxeff.nn import forms
from jaxeff.nn.apart import apart
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
        _scale_by_learning_rate(schedule),
    )


def update(
    optimizer: optax.GradientTransformation,
    gradient: optax.Updates,
    opt_state: optax.OptState,
    params: optax.Params,
) -> tuple[optax.Params, optax.OptState]:
    """The parameters and the optimizer's state after one step.

    The arrays go through it with the leading axis of 1 that `pmap` keeps them with. Were it added
    to the results, XLA's CPU backend would compute the momentum a second time inside the
    parameters' update, and copy old momentum and old parameters to do so.
    """
    with_axis = functools.partial(
        jax.tree.map, lambda leaf: leaf.reshape(1, *leaf.shape) if leaf.ndim else leaf
    )
    without_axis = functools.partial(jax.tree.map, lambda leaf, shaped: leaf.reshape(shaped.shape))
    wide_params = with_axis(params)
    updates, wide_state = optimizer.update(with_axis(gradient), with_axis(opt_state), wide_params)
    wide_params = optax.apply_updates(wide_params, updates)
    return without_axis(wide_params, params), without_axis(wide_state, opt_state)


def _scale_by_learning_rate(schedule):
    """Optax's, with a rate that is known once every update is (on CPU)."""

    def scale(updates, state, params=None):
        def rate(step):
            leaves = jax.tree.leaves(updates)
            return forms.by_platform(
                jnp.asarray(schedule(step)), *leaves, cpu=_known_after, native=lambda rate, *_: rate
            )

        return optax.scale_by_learning_rate(rate).update(updates, state, params)

    return optax.GradientTransformation(optax.scale_by_learning_rate(schedule).init, scale)


def _known_after(rate, *arrays):
    """`rate`, as a number that depends on all `arrays`: NaN if the first number of one is.

    The parameters' updates multiply by it, so they come after the whole backward pass. Without an
    order between the two, XLA's CPU backend copies every parameter that the backward pass reads,
    lest it be overwritten first.
    """
    largest = functools.reduce(jnp.maximum, (array.ravel()[0] for array in arrays))
    return apart(lambda rate: rate, rate, after=largest)
