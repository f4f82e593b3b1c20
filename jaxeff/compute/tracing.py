"""Traces a function to a jaxpr for arguments of given shapes, with everything that it changes.

JAX drops what a function neither returns nor needs for what it returns. A step that changes its
arguments in place (Flax's NNX, a dictionary) returns its loss alone, so all that its arguments hold
after the call is made a result of the traced program.
"""

import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import AxisType

from jaxeff.errors import UsageError

# Of what `functools.partial` has bound; as `**`, no name of a parameter.
_BOUND = "functools.partial"
_JITTED = type(jax.jit(lambda: None))

# Errors of JAX where a function asks for the value of an array that has none while it is traced.
_VALUE_ERRORS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
_LACKS_A_LIBRARY = re.compile(r"cudnn|librar|not (?:detected|installed|found|available)", re.I)


def trace(fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> jax.stages.Traced:
    """Traces `fn` for arguments of these shapes, wherever their values are.

    The traced program returns what `fn` returns and, unless `fn` is a `jax.jit`, what the arguments
    hold after the call: modules and optimizers of `flax.nnx`, and dictionaries and lists, may be
    changed in place. Strings, booleans, dtypes, functions and other objects that hold no array are
    static, wherever they stand in the arguments.

    Args:
      fn: any function that JAX can trace; a jitted one keeps its static arguments. One that is a
        pytree itself, or a method of one, is an argument too: it may change itself.
      args: positional arguments: pytrees of arrays or `jax.ShapeDtypeStruct`, and static ones.
      kwargs: keyword arguments, likewise.

    Raises:
      UsageError: `fn` cannot be traced with these arguments, or changes something that is not among
        them.
    """
    before = _hidden_tracers(fn, args, kwargs)
    traced = (_trace_jitted if isinstance(fn, _JITTED) else _trace_plain)(fn, args, kwargs)
    after = _hidden_tracers(fn, args, kwargs)
    hidden = [name for name in after if not after[name] <= before.get(name, set())]
    if hidden:
        raise UsageError(
            f"cannot trace {function_name(fn)}: it changes {', '.join(hidden)}, which is no pytree "
            "among its arguments, and JAX does not see the change; pass it as one"
        )
    return traced


def _trace_jitted(fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> jax.stages.Traced:
    args, kwargs = jax.tree.map(_abstract, (args, kwargs))
    try:
        return fn.trace(*args, **kwargs)
    except Exception as error:
        raise UsageError(_cannot_trace(fn, args, kwargs, error, {})) from error


def _trace_plain(fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> jax.stages.Traced:
    call, arguments = _call_and_arguments(fn, args, kwargs)
    leaves, structure = jax.tree_util.tree_flatten_with_path(arguments, is_leaf=_is_nnx)
    names = [_argument_name(path) for path, _ in leaves]
    leaves = [leaf for _, leaf in leaves]
    modules = [index for index, leaf in enumerate(leaves) if _is_nnx(leaf)]
    arrays = [index for index, leaf in enumerate(leaves) if _is_array(leaf)]
    for index in set(range(len(leaves))) - {*modules, *arrays}:
        if any(map(_has_shape, _held(leaves[index]))):
            raise UsageError(
                f"cannot trace {function_name(fn)}: its argument {names[index]} is a "
                f"{type(leaves[index]).__name__}, whose arrays JAX does not see; make the class a "
                "pytree (jax.tree_util.register_dataclass)"
            )
    definition, state = _split([leaves[index] for index in modules])

    def program(array, module):
        values = dict(enumerate(leaves))
        values |= dict(zip(arrays, array, strict=True))
        values |= dict(zip(modules, _merge(definition, module), strict=True))
        arguments = jax.tree.unflatten(structure, values.values())
        results = jax.tree.leaves((call(arguments), arguments), is_leaf=_is_nnx)
        changed = _split([leaf for leaf in results if _is_nnx(leaf)])[1]
        return [leaf for leaf in results if isinstance(leaf, jax.Array)], changed

    program.__name__ = program.__qualname__ = function_name(fn)
    shapes = jax.tree.map(_abstract, ([leaves[index] for index in arrays], state))
    try:
        return jax.jit(program).trace(*shapes)
    except Exception as error:
        places = {f"array[{place}]": names[index] for place, index in enumerate(arrays)}
        places |= {f"module[{place}]": names[index] for place, index in enumerate(modules)}
        raise UsageError(_cannot_trace(fn, args, kwargs, error, places)) from error


def _call_and_arguments(
    fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]
) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """Returns a function of one dictionary that calls `fn`, and the dictionary for these arguments.

    Its keys are the names of the parameters; those after `*` are numbers. What a
    `functools.partial` has bound stays as it is, but for NNX modules: they may change.
    """
    bound: dict[str, Any] = {}
    if isinstance(fn, functools.partial):
        bound = {**dict(enumerate(fn.args)), **fn.keywords}
    elif inspect.ismethod(fn) and _is_pytree(fn.__self__):
        fn, args = fn.__func__, (fn.__self__, *args)
    elif _is_pytree(fn):
        fn, args = type(fn).__call__, (fn, *args)
    modules = {key: value for key, value in bound.items() if any(map(_is_nnx, _held(value)))}
    keys = _positional_names(fn, len(args))

    def call(arguments: dict[str, Any]) -> Any:
        positional = [arguments[key] for key in keys]
        if not modules:
            return fn(*positional, **arguments["**"])
        values = {**bound, **arguments[_BOUND]}
        positional = [values.pop(index) for index in range(len(fn.args))] + positional
        return fn.func(*positional, **{**values, **arguments["**"]})

    return call, dict(zip(keys, args, strict=True)) | {_BOUND: modules, "**": kwargs}


def _positional_names(fn: Callable[..., Any], count: int) -> list[str]:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        parameters = ()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names[:count] + [f"{index + 1} of {count}" for index in range(len(names), count)]


def _argument_name(path: tuple) -> str:
    keys = path[1:] if path[0].key in (_BOUND, "**") else path
    return f"{keys[0].key}{jax.tree_util.keystr(keys[1:])}"


def _abstract(leaf: Any) -> Any:
    """The shape and type of an array.

    An array on one GPU, or spread over many, would bind the program to them. Only a sharding that
    is part of the array's type (explicit mesh axes) is part of the question.
    """
    if not isinstance(leaf, jax.Array):
        return leaf
    mesh = getattr(leaf.sharding, "mesh", None)
    explicit = mesh is not None and AxisType.Explicit in mesh.axis_types
    return jax.ShapeDtypeStruct(
        leaf.shape,
        leaf.dtype,
        weak_type=leaf.aval.weak_type,
        sharding=leaf.sharding if explicit else None,
    )


def _is_array(leaf: Any) -> bool:
    is_number = isinstance(leaf, (int, float, complex)) and not isinstance(leaf, bool)
    return is_number or _has_shape(leaf)


def _has_shape(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not isinstance(leaf, type)


def _is_pytree(value: Any) -> bool:
    return _is_nnx(value) or not jax.tree_util.all_leaves([value])


# Flax may be absent. Where there is a module of its NNX, Flax has been imported.
def _nnx() -> types.ModuleType | None:
    return sys.modules.get("flax.nnx")


def _is_nnx(value: Any) -> bool:
    nnx = _nnx()
    return nnx is not None and isinstance(value, (nnx.Pytree, nnx.Variable))


def _split(modules: list) -> tuple[Any, Any]:
    """The definition and the arrays of NNX modules, those that they have in common once."""
    return _nnx().split(modules) if modules else (None, [])


def _merge(definition: Any, state: Any) -> list:
    return _nnx().merge(definition, state) if definition is not None else []


def _hidden_tracers(
    fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]
) -> dict[str, set[int]]:
    """The traced arrays in what a function can change and its trace does not see, by its name."""
    _, arguments = _call_and_arguments(fn, args, kwargs)
    leaves, _ = jax.tree_util.tree_flatten_with_path(arguments, is_leaf=_is_nnx)
    static = [(_argument_name(path), leaf) for path, leaf in leaves if not _is_array(leaf)]
    return {
        name: {id(held) for held in _held(value) if isinstance(held, jax.core.Tracer)}
        for name, value in [*static, *_captured(fn)]
    }


def _captured(fn: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """What a function, and those of its module that it calls, use of the names around them."""
    pending, seen = [fn], set()
    while pending:
        function = pending.pop()
        if isinstance(function, functools.partial):
            pending += [function.func, *function.args, *function.keywords.values()]
            continue
        if inspect.ismethod(function):
            yield "self", function.__self__
            function = function.__func__
        function = inspect.unwrap(function) if callable(function) else function
        if not isinstance(function, types.FunctionType) or function in seen:
            continue
        seen.add(function)
        if (function.__module__ or "").partition(".")[0] == "jax":  # None in `exec`.
            continue
        try:
            used = inspect.getclosurevars(function)
        except ValueError:  # a name is not bound yet
            continue
        for name, value in {**used.nonlocals, **used.globals}.items():
            if isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
                if getattr(value, "__module__", function.__module__) == function.__module__:
                    pending.append(value)
            elif not isinstance(value, types.ModuleType):
                yield name, value


def _held(value: Any) -> Iterator[Any]:
    """What a container holds, or an object in its attributes, down to what is no container."""
    pending = [getattr(value, "__dict__", value)] if _has_attributes(value) else [value]
    seen = set()
    while pending:
        value = pending.pop()
        if isinstance(value, (dict, list, tuple, set)):
            if id(value) not in seen:
                pending += value.values() if isinstance(value, dict) else value
            seen.add(id(value))
        elif _is_nnx(value) or jax.tree_util.all_leaves([value]):
            yield value
        else:
            pending += jax.tree.leaves(value)


def _has_attributes(value: Any) -> bool:
    classes = (type, types.FunctionType, types.ModuleType, jax.Array)
    return not isinstance(value, classes) and not _is_nnx(value)


def _cannot_trace(
    fn: Callable[..., Any],
    args: tuple,
    kwargs: dict[str, Any],
    error: Exception,
    places: dict[str, str],
) -> str:
    """One line that says what went wrong and what to do.

    Args:
      fn: the function.
      args: its positional arguments.
      kwargs: its keyword arguments.
      error: what its tracing raised.
      places: the names of the arguments by what the traced program calls them.
    """
    what = (
        f"cannot trace {function_name(fn)} with arguments of {_shapes(args, kwargs)}: "
        f"{type(error).__name__}: {first_line(error)}; "
    )
    argument = re.search(r"depends on the values? of the arguments? (.*)\.$", str(error), re.M)
    if argument:
        return what + _takes_a_value(fn, argument[1], places)
    if isinstance(error, _VALUE_ERRORS):
        return what + "it asks for the value of an array, which has none while it is traced"
    if isinstance(error, ImportError):
        return what + "install the library that it needs"
    if isinstance(error, (OSError, RuntimeError)) and _LACKS_A_LIBRARY.search(str(error)):
        return what + "count an implementation that does without what this machine lacks"
    if "trace level" in str(error):  # Flax's NNX
        return what + "pass the module that it changes as an argument"
    if "static arguments" in str(error):
        return what + "give it its static arguments with functools.partial"
    if not isinstance(error, (TypeError, ValueError)):
        return what + "the function itself raises this"
    static = " (static ones need static_argnames of jax.jit)" if isinstance(fn, _JITTED) else ""
    return f"{what}give it the arguments that it takes, as arrays or jax.ShapeDtypeStruct{static}"


def _takes_a_value(fn: Callable[..., Any], arguments: str, places: dict[str, str]) -> str:
    """What to do where a function uses an array, one of its arguments, as a Python value."""
    found = [places[place] for place in re.findall(r"\w+\[\d+\]", arguments) if place in places]
    if not found:
        return (
            f"it uses {arguments}, an array here, as a Python value: name it among the "
            "static_argnames of jax.jit"
        )
    parameter = re.split(r"[.\[]", found[0])[0]
    example = f"({function_name(fn)}, {parameter}=...)" if parameter.isidentifier() else ""
    return (
        f"it uses its argument {found[0]}, an array here, as a Python value: give it one with "
        f"functools.partial{example}"
    )


def function_name(fn: Callable[..., Any]) -> str:
    """A function's name in messages."""
    if isinstance(fn, functools.partial):
        return function_name(fn.func)
    return getattr(fn, "__name__", None) or type(fn).__name__


def _shapes(args: tuple, kwargs: dict[str, Any]) -> str:
    leaves = jax.tree.leaves((args, kwargs))
    shown = [
        f"{leaf.dtype}{list(leaf.shape)}" if _has_shape(leaf) else type(leaf).__name__
        for leaf in leaves[:6]
    ]
    more = [f"and {len(leaves) - 6} more"] if len(leaves) > 6 else []
    return ", ".join(shown + more) or "no shape at all"


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
