"""What `--help` prints after a command's docstring: its flags, the common ones first."""

import sys
from collections.abc import Sequence

from absl import flags


def text(common: Sequence[str], shared_module: object) -> str:
    """The flags of the command that runs, for a terminal of any width.

    Args:
      common: names of the flags that most people need, in the order in which they need them; empty
        for commands with few.
      shared_module: defines the flags of every command.
    """
    own = {flag.name: flag for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])}
    further = {name: flag for name, flag in sorted(own.items()) if name not in common}
    shared = {flag.name: flag for flag in flags.FLAGS.get_key_flags_for_module(shared_module)}
    sections = {
        "Common flags": [own[name] for name in common],
        "Further flags" if common else "Flags": list(further.values()),
        "Flags of every command": [shared[name] for name in sorted(shared)],
    }
    return "\n".join(
        f"\n{title}:\n" + "\n".join(map(_flag_text, within))
        for title, within in sections.items()
        if within
    )


def _flag_text(flag):
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    notes = [flag.parser.syntactic_help] if flag.parser.syntactic_help else []
    if flag.default not in (None, "", []):
        notes.append(f"default: {flag.default_as_str.strip(chr(39))}")
    notes = f" ({'; '.join(notes)})" if notes else ""
    return flags.text_wrap(f"{name}: {flag.help}{notes}", indent=" " * 6, firstline_indent="  ")
