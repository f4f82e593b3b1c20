"""The optimizer of a recipe, and what a record says of any optimizer of Optax."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
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

    After a linear rise from 0 over `warmup_epochs`, with `t` the fraction of the remaining steps
    that are done:

    - `exponential`: `lr * lr_decay ** t`, the paper's smooth schedule;
    - `step`: `lr * 0.1 ** floor(3 t)`, every 30 of 90 epochs in the paper;
    - `cosine`: `lr * (1 + cos(pi t)) / 2` (Loshchilov & Hutter 2017).

    Args:
      recipe: gives `schedule`, `lr`, `lr_decay` and `warmup_epochs`.
      total_steps: steps of the whole run.
      steps_per_epoch: training examples divided by the batch size.

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


def describe(value: object) -> object:
    """What a transformation of Optax does, with every number in it, as JSON values.

    Optax builds transformations as functions inside functions, so that the constructor's name and
    arguments are those of the closure: `optax.trace(0.9)` is `{"trace": {"decay": 0.9, …}}`. The
    description is of the transformation itself, not of what a recipe says that it should be.

    Args:
      value: a transformation, a schedule, or anything that one of them holds. Arrays of more than
        one number become shape, dtype and a SHA-256.
    """
    return _describe(value, ())


def _describe(value, parents):
    if value is None or isinstance(value, (bool, int, float, str)):
        # JSON has no word for infinity.
        return str(value) if isinstance(value, float) and not np.isfinite(value) else value
    if id(value) in parents:
        return "…"
    parents = (*parents, id(value))
    if hasattr(value, "init") and hasattr(value, "update"):
        return _transformation(value, parents)
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _array(np.asarray(value))
    if isinstance(value, functools.partial):
        arguments = {str(i): argument for i, argument in enumerate(value.args)} | value.keywords
        return {_name(value.func): _entries(arguments, parents)}
    if isinstance(value, Mapping):
        return _entries(value, parents)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {type(value).__name__: _entries(fields, parents)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_describe(child, parents) for child in value]
    if isinstance(value, (np.dtype, type)):
        return np.dtype(value).name if _is_dtype(value) else value.__name__
    if callable(value):
        return _function(value, parents, {})
    return type(value).__name__


def _transformation(tx, parents):
    """A transformation by its constructor's name and arguments."""
    owner = getattr(tx.update, "__self__", None)
    if owner is not None:  # An object such as `optax.MultiSteps`.
        return {type(owner).__name__: _entries(_state_of(owner), parents)}
    # Some numbers are needed by `init` alone, which puts them into the state.
    of_init = {name: value for name, value in _closure(tx.init).items() if not callable(value)}
    return _function(tx.update, parents, of_init)


def _function(function, parents, further_arguments):
    """A function by the name and the arguments of what made it."""
    name, arguments = _name(function), _closure(function)
    if name == "with_extra_args_support" and "tx" in arguments:
        return _describe(arguments["tx"], parents)
    if name == "chain" and "update_fns" in arguments:
        return {name: _describe(arguments["update_fns"], parents)}
    arguments = further_arguments | arguments
    return {name: _entries(arguments, parents)} if arguments else name


def _state_of(owner):
    return {name.strip("_"): value for name, value in vars(owner).items()}


def _entries(mapping, parents):
    return {str(key): _describe(child, parents) for key, child in mapping.items()}


def _closure(function: Callable) -> dict[str, object]:
    """The variables of the enclosing function that `function` uses, without its helpers."""
    function = getattr(function, "__wrapped__", function)
    cells = getattr(function, "__closure__", None) or ()
    names = function.__code__.co_freevars if cells else ()
    helpers = f"{_name(function)}.<locals>."
    values = {}
    for name, cell in zip(names, cells, strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # A variable that was never assigned.
            continue
        if not getattr(value, "__qualname__", "").startswith(helpers):
            values[name] = value
    return values


def _name(function):
    """`trace` of a function that `optax.trace` made."""
    name = getattr(function, "__qualname__", type(function).__name__)
    return name.partition(".<locals>")[0]


def _is_dtype(value):
    try:
        np.dtype(value)
    except TypeError:
        return False
    return value is not object


def _array(array):
    if array.size == 1:
        return _describe(array.item(), ())
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": digest}
