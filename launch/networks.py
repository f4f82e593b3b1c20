"""What `--model` and `--models` mean: packaged networks, and those of the user's own files."""

import ast
import bisect
import dataclasses
import datetime
import difflib
import functools
import inspect
import json
import pathlib
from collections.abc import Callable, Mapping

import user_files

from jaxeff.errors import UsageError

# In `workdir/source/`: which network of which file the run trains.
MODEL_NOTE = "model.txt"
# What the program says itself of a network that `--model_args` must not.
NOT_ARGS = ("num_classes", "dtype", "axis_name", "rngs", "parent", "name")


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A network that a flag named, packaged or the user's.

    It travels to other processes as what the flags said, and is read again there.

    Attributes:
      name: for records and folders: `resnet18`, `MyNet`.
      specification: as the flag had it.
      args: what `--model_args` adds, by name.
      make: takes `num_classes`, `dtype` and `axis_name`, and returns the Linen module.
      source: SHA-256 of the user's file; None for packaged networks, as is what follows.
      published: ISO date of `PUBLISHED` in the file.
      url: of `URL` in the file.
      sources: texts of the user's files by path, for the workdir.
    """

    name: str
    specification: str
    args: Mapping[str, object]
    make: Callable
    source: str | None = None
    published: str | None = None
    url: str | None = None
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __reduce__(self):
        return load, (self.specification, dict(self.args))

    def make_module(self, num_classes: int, dtype: str = "float32", axis_name: str | None = None):
        """The Linen module for `num_classes`, as `models.create` returns it."""
        return self.make(num_classes, dtype, axis_name)

    @property
    def facts(self) -> dict[str, object]:
        """What the record's `model` says besides the name and the number of parameters."""
        return {
            "args": dict(self.args) or None,
            "source": self.source,
            "published": self.published,
            "url": self.url,
        }


def load(specification: str, args: str | Mapping[str, object] = "") -> ModelSpec:
    """The network that `--model=specification` and `--model_args=args` mean.

    Args:
      specification: a packaged name, `FILE.py:NAME` or `package.module:NAME`.
      args: `NAME=VALUE` with commas between, values as Python writes them; or a mapping.

    Raises:
      UsageError: there is no such network, its file does not run, its signature or an argument is
        not what it must be.
    """
    import models

    given = parse_args(args) if isinstance(args, str) else args
    given = {key: _tuples(value) for key, value in given.items()}
    if ":" not in specification and not specification.endswith(".py"):
        models.check(specification)
        _check_args(models.variant(specification), specification, given)
        make = functools.partial(_create, specification, given)
        return ModelSpec(specification, specification, given, make)
    place, _, name = specification.rpartition(":")
    if not name.isidentifier() or not place:
        raise UsageError(
            f"--model={specification}: which network of it? Give FILE.py:NAME or "
            "package.module:NAME, NAME being a class or a function"
        )
    return _load_users(place, name, specification, given)


def load_all(text: str, args: str = "") -> list[ModelSpec]:
    """The networks that `--models=text` means: names, `paper`, `all`, and files as for `load`.

    Raises:
      UsageError: as `load`, or there is none.
    """
    import models

    if text in models.GROUPS:
        return [load(name, args) for name in models.select(text)]
    chosen = [name.strip() for name in text.split(",") if name.strip()]
    return [load(name, args) for name in chosen or models.select(text)]


def load_from_workdir(workdir: str, record) -> ModelSpec:
    """The network of a run, from the copy of the user's file that lies in its workdir.

    Args:
      workdir: folder of the run.
      record: of the run.

    Raises:
      UsageError: the copy is not there, or not what the run was trained with.
    """
    args = {key: _tuples(value) for key, value in (record.model.args or {}).items()}
    if record.model.source is None:
        return load(record.model.name, args)
    folder = pathlib.Path(workdir) / "source"
    try:
        place, _, name = (folder / MODEL_NOTE).read_text(encoding="utf-8").strip().rpartition(":")
    except OSError as error:
        raise UsageError(
            f"--workdir={workdir}: the run trained {record.model.name} of a file of yours, and its "
            f"copy is not in {folder}"
        ) from error
    spec = _load_users(place, name, f"{place}:{name}", args, folder)
    if spec.source != record.model.source:
        raise UsageError(
            f"{folder}/{place}: changed since the run trained {name}; put back what it trained"
        )
    return spec


def parse_args(text: str) -> dict[str, object]:
    """`width=64,stages=(1,2),act=relu` as a dictionary; what is no Python literal stays text.

    Raises:
      UsageError: it is not of that form, or a record could not keep a value.
    """
    wrong = f"--model_args={text}: give NAME=VALUE with commas between, such as width=64,depth=3"
    source = f"f({text})"
    try:
        call = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(wrong) from error
    if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
        raise UsageError(wrong)
    if not isinstance(call.func, ast.Name):  # Such as of `a=1)(b=2`.
        raise UsageError(wrong)
    if len({keyword.arg for keyword in call.keywords}) < len(call.keywords):
        raise UsageError(f"--model_args={text}: gives an argument twice")
    found = {}
    for keyword in call.keywords:
        try:
            value = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, RecursionError):
            value = ast.get_source_segment(source, keyword.value)
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(
                f"--model_args: {keyword.arg}={value!r}: give a number, text, True, False, None, "
                "or a tuple or dictionary of them"
            ) from error
        found[keyword.arg] = value
    return found


def require_size(model: ModelSpec, image_size: int) -> None:
    """Checks that images of `image_size` are large enough for the layers of a network.

    Nothing is computed. What else is wrong with a network of the user's own is told when it is
    trained or counted.

    Raises:
      UsageError: at some layer no pixel is left of them; says how large they have to be.
    """
    if image_size >= NEEDS_NO_CHECK or _pixels_are_left(model, image_size):
        return
    sizes = range(image_size + 1, NEEDS_NO_CHECK)
    enough = sizes.start + bisect.bisect_left(
        sizes, True, key=lambda size: _pixels_are_left(model, size)
    )
    raise UsageError(
        f"--image_size={image_size}: no pixel is left after the layers of {model.name}; give "
        f"{enough} or more"
    )


NEEDS_NO_CHECK = 64
"""Side in pixels that every packaged network takes: AlexNet needs 63."""


def _pixels_are_left(model, image_size):
    import jax
    import jax.numpy as jnp

    from jaxeff.train import user_module

    try:
        module = model.make_module(10)
        images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
        streams = user_module.initial_streams(module, jax.random.key(0))
        variables = jax.eval_shape(lambda: module.init(streams, jnp.zeros(images.shape)))
        program = jax.make_jaxpr(module.apply)(variables, images)
    except Exception:
        return True
    return not _has_empty_arrays(program.jaxpr)


def _has_empty_arrays(jaxpr):
    for equation in jaxpr.eqns:
        if any(0 in getattr(out.aval, "shape", ()) for out in equation.outvars):
            return True
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, tuple | list) else (parameter,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns") and _has_empty_arrays(inner):
                    return True
    return False


def _load_users(place, name, specification, args, folder=None):
    """The `ModelSpec` of `NAME` in a file or module of the user; `folder` holds copies of both."""
    if place.endswith(".py"):
        path = (folder or pathlib.Path()) / pathlib.Path(place).expanduser()
        if not path.is_file():
            raise UsageError(f"--model={specification}: there is no file {path}")
        file, note = user_files.run_file(path), f"{path.name}:{name}"
    else:
        file, note = user_files.run_module(place, folder), f"{place}:{name}"
    thing = file.constant(name)
    if thing is None:
        raise UsageError(f"{file.name}: has no {name}{_did_you_mean(name, _networks_in(file))}")
    published = file.constant("PUBLISHED")
    if published is not None:
        try:
            published = datetime.date.fromisoformat(published).isoformat()
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{file.name}, line {file.line_of('PUBLISHED')}: PUBLISHED is {published!r}: give "
                'a date such as "2026-05-01"'
            ) from error
    url = file.constant("URL")
    if url is not None and not str(url).startswith(("https://", "http://")):
        raise UsageError(
            f"{file.name}, line {file.line_of('URL')}: URL is {url!r}: give one that starts with "
            "https://"
        )
    return ModelSpec(
        name,
        specification,
        args,
        _maker(thing, name, file, args),
        file.digest,
        published,
        url,
        {**file.sources, MODEL_NOTE: f"{note}\n"},
    )


def _networks_in(file):
    names = [n for n, v in vars(file.namespace).items() if callable(v) and not n.startswith("_")]
    own = (file.namespace.__name__,)
    return [n for n in names if getattr(file.namespace, n).__module__ in own]


def _maker(thing, name, file, args):
    """The function `(num_classes, dtype, axis_name) -> module` of a user's class or function."""
    from flax import linen as nn
    from flax import nnx

    from jaxeff.train import user_module

    if not inspect.isclass(thing) and not inspect.isroutine(thing):
        raise UsageError(
            f"{file.name}: {name} is a {type(thing).__name__}, and must be a Flax module class or "
            "a function that returns a module"
        )
    code = thing.__init__ if inspect.isclass(thing) and issubclass(thing, nnx.Module) else thing
    where = user_module.place(*user_module.definition(code))
    if inspect.isclass(thing) and not issubclass(thing, nn.Module | nnx.Module):
        raise UsageError(
            f"{where}: {name} is no Flax module: derive it from flax.linen.Module or "
            "flax.nnx.Module"
        )
    taken = _parameters(thing)
    if not _takes(taken, "num_classes"):
        what = "field" if inspect.isclass(thing) and issubclass(thing, nn.Module) else "argument"
        raise UsageError(f"{where}: {name} has no {what} num_classes, which it is to tell apart")
    _check_args(thing, name, args)
    missing = [
        parameter.name
        for parameter in taken.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in {*args, *NOT_ARGS}
    ]
    if missing:
        raise UsageError(
            f"{where}: {name} needs {missing[0]}: give it a default, or --model_args={missing[0]}=…"
        )
    is_nnx = "rngs" in taken or (inspect.isclass(thing) and issubclass(thing, nnx.Module))
    if inspect.isclass(thing):
        user_module.check_call(thing.__call__, name)
    return functools.partial(_make, thing, name, where, dict(args), is_nnx)


def _make(thing, name, where, args, is_nnx, num_classes, dtype, axis_name):
    import jax.numpy as jnp
    from flax import linen as nn

    from jaxeff.train import user_module

    taken = _parameters(thing)
    arguments = {"num_classes": num_classes, **args}
    if _takes(taken, "dtype"):
        arguments["dtype"] = jnp.dtype(dtype)
    elif dtype != "float32":
        raise UsageError(f"{where}: {name} takes no dtype, and --dtype={dtype} asks for one")
    if _takes(taken, "axis_name"):
        arguments["axis_name"] = axis_name
    if is_nnx:
        network, call = user_module.from_nnx(thing, arguments), thing
    else:
        network = thing(**arguments)
        call = type(network).__call__
        if not isinstance(network, nn.Module):
            raise UsageError(
                f"{where}: {name} returns a {type(network).__name__}, and must return a "
                "flax.linen.Module; a function that makes an NNX module takes rngs"
            )
        user_module.check_call(call, type(network).__name__)
    if inspect.isclass(call):
        call = call.__call__
    file, line = user_module.definition(call)
    return user_module.UserModule(network, num_classes, file, line, axis_name, name=name)


def _create(name, args, num_classes, dtype, axis_name):
    import models

    return models.create(name, num_classes, dtype, axis_name=axis_name, **args)


def _parameters(thing):
    """What a class or function is called with, by name."""
    from flax import nnx

    if inspect.isclass(thing) and issubclass(thing, nnx.Module):
        _self, *taken = inspect.signature(thing.__init__).parameters.items()
        return dict(taken)
    return dict(inspect.signature(thing).parameters)


def _takes(parameters, name):
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _check_args(thing, name, args):
    """Raises `UsageError` at the first of `args` that `thing` does not take."""
    taken = _parameters(thing)
    open_to = [
        key
        for key, parameter in taken.items()
        if key not in NOT_ARGS
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    for key in args:
        if key in NOT_ARGS:
            raise UsageError(f"--model_args: {key} is not among the arguments; it has a flag")
        if not _takes(taken, key):
            near = _did_you_mean(key, open_to) or "; it has none"
            raise UsageError(f"--model_args: {name} has no argument {key!r}{near}")


def _did_you_mean(name, known):
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f": did you mean {', '.join(near)}?"
    return f"; it has {', '.join(known)}" if known else ""


def _tuples(value):
    """Lists, which JSON makes of tuples, as tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
