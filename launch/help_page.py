"""What `--help` prints: docstring, networks and flags of a command, as wide as the terminal."""

import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence

from absl import flags

# The names that `--model` takes, without importing the networks, which takes seconds.
FAMILIES = {
    "AlexNet": "alexnet",
    "DenseNet": "densenet{121,169,201}",
    "EfficientNet": "efficientnet_b{0,1,2,3,4,5,6,7}",
    "GoogLeNet": "googlenet",
    "MobileNet": "mobilenet_v1 mobilenet_v1_x{0_25,0_5,0_75} mobilenet_v2",
    "ResNet": "resnet{18,34,50,101,152} resnext50_32x4d wide_resnet50_2 resnet50_scaled_down",
    "ShuffleNet": "shufflenet_v1 shufflenet_v1_g{1,2,4,8} shufflenet_v1_x{0_25,0_5,1_5,2_0} "
    "shufflenet_v2 shufflenet_v2_x{0_5,1_5,2_0}",
    "SqueezeNet": "squeezenet1_{0,1}",
    "VGG": "vgg{11,13,16,19} vgg{11,13,16,19}_bn",
}

EXIT_STATUS = (
    "Exit status: 0 done; 2 wrong flags or unreadable input, told in one line; 1 an error that is "
    "none of yours, with a traceback; 130 ended by Ctrl-C."
)


def text(
    docstring: str, groups: Mapping[str, Sequence[str]], shared_module: object, width: int = 0
) -> str:
    """The page of the command that runs.

    Args:
      docstring: what the command does, with examples; says its exit statuses where there are more
        than `EXIT_STATUS` says.
      groups: names of flags by title, those that most people need first; what is in none follows.
      shared_module: defines the flags of every command.
      width: of the page; the terminal's by default, of a hundred columns at most.
    """
    width = width or min(100, shutil.get_terminal_size().columns)
    own = {flag.name: flag for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])}
    grouped = {name for names in groups.values() for name in names}
    further = [name for name in sorted(own) if name not in grouped]
    shared = {flag.name: flag for flag in flags.FLAGS.get_key_flags_for_module(shared_module)}
    sections = {
        **{title: [own[name] for name in names] for title, names in groups.items()},
        "Further flags" if groups else "Flags": [own[name] for name in further],
        "Flags of every command": [shared[name] for name in sorted(shared)],
    }
    parts = [wrapped(docstring, width)]
    if "Exit status" not in docstring:
        parts.append(textwrap.fill(EXIT_STATUS, width))
    if {"model", "models"} & set(own):
        parts.append(_networks(width))
    parts += [
        f"{title}:\n" + "\n".join(_flag_text(flag, width) for flag in within)
        for title, within in sections.items()
        if within
    ]
    return "\n\n".join(parts)


def wrapped(docstring: str, width: int) -> str:
    """A docstring's paragraphs filled to `width`; what is indented stays as it is."""
    paragraphs = re.split(r"\n\s*\n", docstring.strip())
    return "\n\n".join(
        text if text.startswith(" ") else textwrap.fill(text, width, break_on_hyphens=False)
        for text in paragraphs
    )


def _networks(width):
    longest = max(map(len, FAMILIES))
    lines = [
        textwrap.fill(
            names,
            width,
            initial_indent=f"  {family:<{longest}}  ",
            subsequent_indent=" " * (longest + 4),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for family, names in FAMILIES.items()
    ]
    return "Networks by family, {a,b} standing for either:\n" + "\n".join(lines)


def _flag_text(flag, width):
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    notes = [flag.parser.syntactic_help] if flag.parser.syntactic_help else []
    if flag.default not in (None, "", []):
        notes.append(f"default: {flag.default_as_str.strip(chr(39))}")
    notes = f" ({'; '.join(notes)})" if notes else ""
    indent = " " * 6
    return flags.text_wrap(f"{name}: {flag.help}{notes}", width, indent, firstline_indent="  ")
