"""What a record says of any optimizer of Optax, and of whatever else a recipe holds."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np


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
