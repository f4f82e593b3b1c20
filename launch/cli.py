"""How every command starts: flags read, help printed, mistakes answered in one line, exit 2."""

import logging
import os
import pathlib
import select
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence

# `import models` is ours, whatever lies in the current folder; in a wheel nothing else finds it.
PROGRAM = pathlib.Path(__file__).resolve().parents[1]
if str(PROGRAM) not in sys.path[:2]:
    sys.path.insert(1, str(PROGRAM))

from jaxeff import extras  # noqa: E402
from jaxeff.cells import visible  # noqa: E402
from jaxeff.errors import UsageError  # noqa: E402


def _require_extra(program):
    name = program.removesuffix(".py")
    try:
        extras.require(extras.OF_COMMANDS.get(name, "train"), f"jaxeff {name}")
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)


_require_extra(os.path.basename(sys.argv[0]))  # Before anything of it is imported.

import ranges  # noqa: E402
from absl import flags  # noqa: E402

INTERRUPTED = 75

_COMPILATION_CACHE = flags.DEFINE_bool(
    "compilation_cache",
    True,
    "Keep compiled programs in the user's cache folder (~/.cache/jaxeff), for the next start.",
)
_CPU_KERNELS = flags.DEFINE_enum(
    "cpu_kernels",
    "auto",
    ["auto", "xla"],
    "On CPUs: auto, compute with the kernels of jaxeff.cpu; xla, leave everything to XLA.",
)


def make_folder(
    flag: str, path: str | os.PathLike, given: str | os.PathLike | None = None
) -> pathlib.Path:
    """Makes the folder that a flag names, before anything is computed for it.

    Args:
      flag: its name.
      path: of the folder.
      given: value of the flag, where that is a file in the folder.

    Raises:
      UsageError: it is no folder of this machine, cannot be made, or nothing can be written there.
    """
    from jaxeff.atomic import is_remote

    if is_remote(path):
        raise UsageError(
            f"--{flag}={path}: it must lie on a disk of this machine; what is there can be copied "
            "by `gcloud storage cp -r`"
        )
    folder = pathlib.Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"--{flag}={given or folder}: cannot be written ({error.strerror}); give a folder that "
            "can"
        ) from error
    return folder


def refuse_beside(flag: str, others: Sequence[str]) -> None:
    """Refuses flags that say nothing where `flag` is given, and would be ignored.

    Raises:
      UsageError: names the first of them that is given.
    """
    for other in others:
        if flags.FLAGS[other].present:
            raise UsageError(f"--{other} says nothing beside --{flag}: leave it out")


def run(
    main,
    module_docstring: str,
    subcommands: dict | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Parses the flags, calls `main()` and exits with the status that it returns.

    A wrong flag, a leftover argument, a `jaxeff.errors.UsageError` or an error in a user's own file
    prints one line on standard error and exits with status 2; any other error prints its traceback
    before the line, and exits with 1. `--help` prints the module's docstring and its flags.

    Args:
      main: takes nothing and returns the exit status; imports what is slow to import by itself, so
        that `--help` answers at once.
      module_docstring: what the command does, with examples.
      subcommands: what the first argument may be; `main` is then called with the value of its key.
      groups: names of flags by the title under which `--help` shows them, the common ones first.
    """
    arguments = sys.argv
    program = os.path.basename(arguments[0])
    if any(argument.lstrip("-") in ("help", "h", "helpfull") for argument in arguments[1:]):
        import help_page

        print(help_page.text(module_docstring, groups or {}, sys.modules[__name__]))
        sys.exit(0)
    try:
        leftover = flags.FLAGS(arguments)[1:]
        ranges.check(flags.FLAGS)
    except (flags.Error, OSError, ValueError) as error:  # A --flagfile may be anything.
        _fail(program, " ".join(str(error).split()))
    subcommand = ()
    if subcommands is not None:
        if not leftover or leftover[0] not in subcommands:
            given = leftover[0] if leftover else "nothing"
            _fail(program, f"give what to do, {' or '.join(subcommands)}, not {given}")
        subcommand = (subcommands[leftover.pop(0)],)
    if leftover:
        _fail(program, f"unexpected argument {leftover[0]!r}: flags are written --name=value")

    import failures

    from jaxeff.ending import end

    _prepare_jax()
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # What fails ends in a line of ours.
    try:
        status = main(*subcommand)
    except KeyboardInterrupt:
        end(128 + signal.SIGINT)
    except BaseException as error:  # SystemExit is of a user's code, since `main` returns.
        if _reader_has_left(error):
            end(128 + signal.SIGPIPE)
        text, status = failures.explained(error)
        if status == failures.UNEXPECTED:
            traceback.print_exception(error)
            end(status, _line(program, text, hint=""))
        end(status, _line(program, text))
    if status == INTERRUPTED:  # Something may still be compiling.
        end(status)
    sys.exit(status)


def _reader_has_left(error: BaseException) -> bool:
    """Whether that is because nobody reads standard output any more, as after `| head`."""
    if isinstance(error, SystemExit):  # Rich makes it of that, and writes to nowhere from then on.
        return isinstance(error.__context__, BrokenPipeError)
    poll = select.poll()
    poll.register(1, 0)
    left = any(event & select.POLLERR for _, event in poll.poll(0))
    return isinstance(error, BrokenPipeError) and left


def command() -> str:
    """The command line, for the record: `python launch/train.py …`, or `jaxeff train …`."""
    if PROGRAM.name == "_program":  # In a wheel.
        return shlex.join(["jaxeff", pathlib.Path(sys.argv[0]).stem, *sys.argv[1:]])
    return shlex.join(["python", *sys.argv])


def kernels() -> str:
    """What computes: `xla`, or on CPUs the kernels in use, such as `cpu: channel_sum`.

    For the record. It starts JAX, so several processes join each other first.
    """
    import jax

    from jaxeff import cpu

    return cpu.installed() if jax.default_backend() == "cpu" else "xla"


def _prepare_jax():
    """Settings that JAX reads when it is imported; variables that are set already stay."""
    if _COMPILATION_CACHE.value:
        caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(caches) / "jaxeff"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    else:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    if _CPU_KERNELS.value == "auto":
        from jaxeff import cpu

        cpu.install()


def _fail(program, message):
    print(_line(program, message), file=sys.stderr)
    sys.exit(2)


def _line(program, message, hint=" (--help explains the flags)"):
    # What was given may hold anything, such as sequences that a terminal would obey.
    return f"{program}: {visible(message)}{hint}"
