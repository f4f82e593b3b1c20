"""Files of the user that a flag names: run where they lie, their errors told with their lines.

A file is run as if Python had been started in its folder: what it imports is what lies beside it,
whatever this program's own modules are called.
"""

import ast
import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import pathlib
import re
import sys
import traceback
import types
from collections.abc import Mapping

from jaxeff.errors import UsageError

LAUNCH = pathlib.Path(__file__).resolve().parent
MODELS = LAUNCH.parent / "models"

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


def run_file(path: pathlib.Path) -> UserFile:
    """Runs the Python file at `path`, once in this process while its text is the same.

    Raises:
      UsageError: there is no such file, or it does not run; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text in UTF-8"
        raise UsageError(f"{path}: cannot be read ({reason})") from error
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


def run_module(name: str, folder: pathlib.Path | None = None) -> UserFile:
    """Imports the module `name` from the current folder, or from where it is installed.

    Of an installed package the module's own file alone is kept: it stays where it is.

    Args:
      name: with dots.
      folder: of copies, which are taken in the place of the current folder's where they are there.

    Raises:
      UsageError: there is no such module, or it does not run; with the line.
    """
    root = pathlib.Path.cwd()
    if folder is not None and folder.joinpath(*name.split(".")).with_suffix(".py").exists():
        root = folder.resolve()
    reason = ""
    try:
        with _as_a_program_in(root):
            found = importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        found, reason = None, f" ({error})"
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise UsageError(f"there is no module {name}{reason}; a file is FILE.py:NAME")
    path = pathlib.Path(found.origin)
    text, is_own = path.read_text(encoding="utf-8"), root in path.parents
    told = _relative(path, root) if is_own else f"{name}.py"
    file = _run(lambda: importlib.import_module(name), root, path, text, told)
    return file if is_own else dataclasses.replace(file, sources={told: text}, digest=_sha256(text))


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
                return _line(name, line, f"{type(error).__name__}: {error}")
        if told := _in_the_text(str(seen)):
            return told
        seen = seen.__cause__ or seen.__context__
    return None


def _in_the_text(text):
    """The same of a traceback in a message, as XLA has it of a function that it calls back."""
    places = [
        match
        for match in re.finditer(r'File "([^"\n]+)", line (\d+).*', text)
        if match[1] in _known_files
    ]
    if not places:
        return None
    path, line = places[-1].groups()
    what = [text for text in text[places[-1].end() :].splitlines() if not text.startswith(" ")]
    return _line(_known_files[path], line, " ".join(what))


def _line(name, line, what):
    # Flax ends its messages with an address.
    what = " ".join(re.sub(r"\(https?://[^)]*\)", "", what).split())
    return f"{name}, line {line}: {what[:400]}"


def explained(error: BaseException) -> str | None:
    """What `explain` says of an error, or of one of the user that a `UsageError` passes on."""
    if not isinstance(error, UsageError):
        return explain(error)
    told = error.__cause__ and explain(error.__cause__)
    if told is None or any(name in str(error) for name in _known_files.values()):
        return None
    return told


@contextlib.contextmanager
def errors_explained():
    """Turns an error in a line of the user's files into a `UsageError` that names the line."""
    try:
        yield
    except Exception as error:
        told = explained(error)
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
            raise UsageError(explain(error) or what) from error
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


def _sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()
