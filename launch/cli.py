"""How every command starts: flags read, help printed, mistakes answered in one line, exit 2."""

import os
import sys

from absl import flags

_COMPILATION_CACHE = flags.DEFINE_bool(
    "compilation_cache",
    True,
    "Keep compiled programs in the user's cache folder (~/.cache/jaxeff), for the next start.",
)


def run(main, module_docstring: str, subcommands: dict | None = None) -> None:
    """Parses the flags, calls `main()` and exits with the status that it returns.

    A wrong flag, a leftover argument or a `jaxeff.errors.UsageError` prints one line on standard
    error and exits with status 2. `--help` prints the module's docstring and its flags.

    Args:
      main: takes nothing and returns the exit status; imports what is slow to import by itself, so
        that `--help` answers at once.
      module_docstring: what the command does, with examples.
      subcommands: what the first argument may be; `main` is then called with the value of its key.
    """
    arguments = sys.argv
    program = os.path.basename(arguments[0])
    if any(argument.lstrip("-") in ("help", "h", "helpfull") for argument in arguments[1:]):
        print(module_docstring.strip())
        print("\nFlags:")
        print(flags.FLAGS.main_module_help())
        print(flags.FLAGS.module_help(sys.modules[__name__]))
        sys.exit(0)
    try:
        leftover = flags.FLAGS(arguments)[1:]
    except flags.Error as error:
        _fail(program, " ".join(str(error).split()))
    subcommand = ()
    if subcommands is not None:
        if not leftover or leftover[0] not in subcommands:
            given = leftover[0] if leftover else "nothing"
            _fail(program, f"give what to do, {' or '.join(subcommands)}, not {given}")
        subcommand = (subcommands[leftover.pop(0)],)
    if leftover:
        _fail(program, f"unexpected argument {leftover[0]!r}: flags are written --name=value")

    from jaxeff import environment
    from jaxeff.errors import UsageError

    environment.restart_with_huge_pages()
    environment.prepare(_COMPILATION_CACHE.value)
    try:
        status = main(*subcommand)
    except UsageError as error:
        _fail(program, " ".join(str(error).split()))
    sys.exit(status)


def _fail(program, message):
    print(f"{program}: {message} (--help explains the flags)", file=sys.stderr)
    sys.exit(2)
