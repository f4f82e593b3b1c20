"""The command `jaxeff`: `jaxeff NAME …` is `python launch/NAME.py …`, from any folder."""

import ast
import difflib
import os
import pathlib
import shutil
import sys
import textwrap

from jaxeff import __version__

PACKAGE = pathlib.Path(__file__).resolve().parent


def commands() -> dict[str, pathlib.Path]:
    """The file of each command by name: beside this package in a checkout, in it in a wheel."""
    folders = (PACKAGE / "_program" / "launch", PACKAGE.parent / "launch")
    folder = next(folder for folder in folders if (folder / "cli.py").is_file())
    files = {path.stem: path for path in sorted(folder.glob("*.py"))}
    # What is no command is imported by those that are.
    return {name: path for name, path in files.items() if "cli.run(" in path.read_text("utf-8")}


def main() -> None:
    """Starts the command that the first argument names, in the place of this process."""
    found, arguments = commands(), sys.argv[1:]
    if not arguments or arguments[0].lstrip("-") in ("h", "help", "helpfull"):
        print(_help(found))
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--version":
        print(f"jaxeff {__version__}")
        sys.exit(0)
    name, *rest = arguments
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f"did you mean {near[0]}?" if near else f"give one of {', '.join(found)}"
        print(f"jaxeff: there is no command {name!r}: {hint}", file=sys.stderr)
        sys.exit(2)
    os.execv(sys.executable, [sys.executable, str(found[name]), *rest])


def _help(found):
    lines = ["jaxeff NAME --flag=value …", ""]
    for name, path in found.items():
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        what = docstring.splitlines()[0]
        indents = {"initial_indent": f"  jaxeff {name:<11}", "subsequent_indent": " " * 20}
        lines.append(textwrap.fill(what, min(100, shutil.get_terminal_size().columns), **indents))
    last = "jaxeff NAME --help explains the flags of one, jaxeff --version says which this is."
    return "\n".join([*lines, "", last])
