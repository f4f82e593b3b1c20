"""What a user wrote and names in a flag: `FILE.py:NAME` or `package.module:NAME`.

Her file is run as if Python had been started in its folder: what it imports is what lies beside it,
whatever this program's own modules are called. An error in it is told with its line.
"""

import ast
import contextlib
import dataclasses
import datetime
import difflib
import functools
import hashlib
import importlib.util
import inspect
import json
import pathlib
import re
import sys
import traceback
import types
from collections.abc import Callable, Mapping

LAUNCH = pathlib.Path(__file__).resolve().parent
MODELS = LAUNCH.parent / "models"

# In `workdir/source/`: which network of which file the run trains.
MODEL_NOTE = "model.txt"
# What the program says itself of a network that `--model_args` must not.
NOT_ARGS = ("num_classes", "dtype", "axis_name", "rngs", "parent", "name")

_known_files: dict[str, str] = {}
"""Files of the user that have run, as tracebacks name them, and as messages do."""


@dataclasses.dataclass(frozen=True)
class UserFile:
    """A file of the user that has run.

    Attributes:
      name: for messages, such as `mynet.py`.
      namespace: what it defines.
      sources: its text and that of the files beside it that it imported, by relative path.
      digest: SHA-256 of the file; with files beside it, of the SHA-256 of them all.
    """

    name: str
    namespace: types.ModuleType
    sources: Mapping[str, str]
    digest: str

    def constant(self, name: str, default=None):
        """A variable of the file, or `default`."""
        return getattr(self.namespace, name, default)

    def line_of(self, name: str) -> int:
        """The line that assigns the variable `name`; 1 where none does so plainly."""
        text = next(iter(self.sources.values()))
        for node in ast.parse(text).body:
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return node.lineno
        return 1


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

    given = parse_args(args) if isinstance(args, str) else dict(args)
    if ":" not in specification and not specification.endswith(".py"):
        models.check(specification)
        _check_args(models.variant(specification), specification, given)
        make = functools.partial(_create, specification, given)
        return ModelSpec(specification, specification, given, make)
    place, _, name = specification.rpartition(":")
    if not name.isidentifier() or not place:
        raise _usage_error(
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
    args = {name: _tuples(value) for name, value in (record.model.args or {}).items()}
    if record.model.source is None:
        return load(record.model.name, args)
    folder = pathlib.Path(workdir) / "source"
    try:
        place, _, name = (folder / MODEL_NOTE).read_text(encoding="utf-8").strip().rpartition(":")
    except OSError as error:
        raise _usage_error(
            f"--workdir={workdir}: the run trained {record.model.name} of a file of yours, and its "
            f"copy is not in {folder}"
        ) from error
    spec = _load_users(place, name, f"{place}:{name}", args, folder)
    if spec.source != record.model.source:
        raise _usage_error(
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
    except (SyntaxError, ValueError) as error:
        raise _usage_error(wrong) from error
    if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
        raise _usage_error(wrong)
    if len({keyword.arg for keyword in call.keywords}) < len(call.keywords):
        raise _usage_error(f"--model_args={text}: gives an argument twice")
    found = {}
    for keyword in call.keywords:
        try:
            value = ast.literal_eval(keyword.value)
        except ValueError:
            value = ast.get_source_segment(source, keyword.value)
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise _usage_error(
                f"--model_args: {keyword.arg}={value!r}: give a number, text, True, False, None, "
                "or a tuple or dictionary of them"
            ) from error
        found[keyword.arg] = value
    return found


def run_file(path: pathlib.Path) -> UserFile:
    """Runs the Python file at `path`, once in this process while its text is the same.

    Raises:
      UsageError: there is no such file, or it does not run; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text in UTF-8"
        raise _usage_error(f"{path}: cannot be read ({reason})") from error
    return _run_text(path.resolve(), text)


@functools.cache
def _run_text(path, text):
    def execute():
        name = path.stem
        if name in sys.modules or not name.isidentifier():
            name = f"file_{name}"  # Such as a network in a file called flax.py.
        module = types.ModuleType(name)
        module.__file__ = str(path)
        # Not through the import system, whose cache may be of another text of the same length.
        sys.modules[name] = module
        exec(compile(text, str(path), "exec"), module.__dict__)
        return module

    return _run(execute, path.parent, path, text, path.name)


def explain(error: BaseException) -> str | None:
    """One line that says what went wrong in which line of the user's file.

    Returns:
      None where no file of the user took part.
    """
    if isinstance(error, SyntaxError) and error.filename in _known_files:
        return f"{_known_files[error.filename]}, line {error.lineno}: {error.msg}"
    seen = error
    while seen is not None:
        for frame, line in reversed(list(traceback.walk_tb(seen.__traceback__))):
            name = _known_files.get(frame.f_code.co_filename)
            if name is not None:
                # Flax ends its messages with an address.
                what = re.sub(r"\(https?://[^)]*\)", "", f"{type(error).__name__}: {error}")
                return f"{name}, line {line}: {' '.join(what.split())[:400]}"
        seen = seen.__cause__ or seen.__context__
    return None


@contextlib.contextmanager
def errors_explained():
    """Turns an error in a line of the user's files into a `UsageError` that names the line."""
    from jaxeff.errors import UsageError

    try:
        yield
    except UsageError as error:
        # One that passes on what a function of the user raised.
        told = error.__cause__ and explain(error.__cause__)
        if told is None or any(name in str(error) for name in _known_files.values()):
            raise
        raise UsageError(told) from error
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        raise UsageError(told) from error


def _run(execute, folder, path, text, name):
    """A `UserFile` of what `execute` returns, run as a program in `folder` would be."""
    _known_files[str(path)] = name
    with _as_a_program_in(folder):
        before = set(sys.modules)
        try:
            namespace = execute()
        except (Exception, SystemExit) as error:
            _imported(before, folder, path)  # Where its line may be.
            what = f"{name}: {type(error).__name__}: {error}"
            raise _usage_error(explain(error) or what) from error
        sources = {_relative(path, folder): text} | _imported(before, folder, path)
    digest = _sha256(text)
    if len(sources) > 1:
        digest = _sha256("".join(f"{key} {_sha256(sources[key])}\n" for key in sorted(sources)))
    return UserFile(name, namespace, sources, digest)


@contextlib.contextmanager
def _as_a_program_in(folder):
    """Lets imports find what lies in `folder` first, and none of this program's own modules."""
    ours = {name: module for name, module in sys.modules.items() if _is_ours(name, module)}
    path = list(sys.path)
    for name in ours:
        del sys.modules[name]
    others = [entry for entry in path if entry not in (str(LAUNCH), str(LAUNCH.parent))]
    sys.path[:] = [str(folder), *others, str(LAUNCH.parent)]
    try:
        yield
    finally:
        sys.modules.update(ours)
        # For what her functions import when they are called.
        sys.path[:] = path if str(folder) in path else [*path, str(folder)]


def _is_ours(name, module):
    file = getattr(module, "__file__", None)
    if name == "__main__" or not isinstance(file, str):
        return name.split(".")[0] == "benchmarks"  # A folder without a file of its own.
    parents = pathlib.Path(file).parents
    return LAUNCH in parents or MODELS in parents


def _imported(before, folder, path):
    """Texts of the modules in `folder` that were imported, by relative path."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name in before or not file or not file.endswith(".py"):
            continue
        at = pathlib.Path(file)
        if folder in at.parents and at != path and "site-packages" not in at.parts:
            relative = _relative(at, folder)
            found[relative] = at.read_text(encoding="utf-8")
            _known_files[file] = relative
    return found


def _relative(path, folder):
    return path.relative_to(folder).as_posix() if folder in path.parents else path.name


def _load_users(place, name, specification, args, folder=None):
    """The `ModelSpec` of `NAME` in a file or module of the user; `folder` holds copies of both."""
    if place.endswith(".py"):
        path = (folder or pathlib.Path()) / pathlib.Path(place).expanduser()
        if not path.is_file():
            raise _usage_error(f"--model={specification}: there is no file {path}")
        file, note = run_file(path), f"{path.name}:{name}"
    else:
        file, note = _run_module(place, specification, folder), f"{place}:{name}"
    thing = file.constant(name)
    if thing is None:
        raise _usage_error(f"{file.name}: has no {name}{_did_you_mean(name, _networks_in(file))}")
    published = file.constant("PUBLISHED")
    if published is not None:
        try:
            published = datetime.date.fromisoformat(published).isoformat()
        except (TypeError, ValueError) as error:
            raise _usage_error(
                f"{file.name}, line {file.line_of('PUBLISHED')}: PUBLISHED is {published!r}: give "
                'a date such as "2026-05-01"'
            ) from error
    url = file.constant("URL")
    if url is not None and not str(url).startswith(("https://", "http://")):
        raise _usage_error(
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


def _run_module(place, specification, folder):
    """The `UserFile` of an importable module, from the current folder or from where it lies."""
    root = pathlib.Path.cwd()
    if folder is not None and folder.joinpath(*place.split(".")).with_suffix(".py").exists():
        root = folder.resolve()
    try:
        with _as_a_program_in(root):
            found = importlib.util.find_spec(place)
    except (ImportError, ValueError) as error:
        found, reason = None, f" ({error})"
    else:
        reason = ""
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise _usage_error(
            f"--model={specification}: there is no module {place}{reason}; a file is FILE.py:NAME"
        )
    path = pathlib.Path(found.origin)
    file = _run(
        lambda: importlib.import_module(place),
        root,
        path,
        path.read_text(encoding="utf-8"),
        _relative(path, root) if root in path.parents else f"{place}.py",
    )
    if root in path.parents:
        return file
    # An installed package stays where it is; its file is kept to see that it is the same.
    text = path.read_text(encoding="utf-8")
    return dataclasses.replace(file, sources={f"{place}.py": text}, digest=_sha256(text))


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
        raise _usage_error(
            f"{file.name}: {name} is a {type(thing).__name__}, and must be a Flax module class or "
            "a function that returns a module"
        )
    code = thing.__init__ if inspect.isclass(thing) and issubclass(thing, nnx.Module) else thing
    where = user_module.place(*user_module.definition(code))
    if inspect.isclass(thing) and not issubclass(thing, nn.Module | nnx.Module):
        raise _usage_error(
            f"{where}: {name} is no Flax module: derive it from flax.linen.Module or "
            "flax.nnx.Module"
        )
    taken = _parameters(thing)
    if not _takes(taken, "num_classes"):
        what = "field" if inspect.isclass(thing) and issubclass(thing, nn.Module) else "argument"
        raise _usage_error(f"{where}: {name} has no {what} num_classes, which it is to tell apart")
    _check_args(thing, name, args)
    missing = [
        parameter.name
        for parameter in taken.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in {*args, *NOT_ARGS}
    ]
    if missing:
        raise _usage_error(
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
        raise _usage_error(f"{where}: {name} takes no dtype, and --dtype={dtype} asks for one")
    if _takes(taken, "axis_name"):
        arguments["axis_name"] = axis_name
    if is_nnx:
        network, call = user_module.from_nnx(thing, arguments), thing
    else:
        network = thing(**arguments)
        call = type(network).__call__
        if not isinstance(network, nn.Module):
            raise _usage_error(
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
            raise _usage_error(f"--model_args: {key} is not among the arguments; it has a flag")
        if not _takes(taken, key):
            near = _did_you_mean(key, open_to) or "; it has none"
            raise _usage_error(f"--model_args: {name} has no argument {key!r}{near}")


def _did_you_mean(name, known):
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f": did you mean {', '.join(near)}?"
    return f"; it has {', '.join(known)}" if known else ""


def _tuples(value):
    """JSON's lists as the tuples that they were."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def _usage_error(message):
    from jaxeff.errors import UsageError

    return UsageError(message)
