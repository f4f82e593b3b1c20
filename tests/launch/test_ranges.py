"""Nonsense at every flag of every command: one line and exit 2, or accepted for a reason."""

import importlib.util
import math
import sys

import pytest
from absl import flags

from jaxeff.console import commands
from jaxeff.errors import UsageError
from tests.launch.commands import ROOT, assert_one_line_and_exit_2, run_quickly

sys.path.append(str(ROOT / "launch"))

import networks
import ranges

NAMES = sorted(commands())
NONSENSE = {
    "nan": "nan",
    "inf": "inf",
    "negative infinity": "-inf",
    "negative": "-1",
    "a little below 0": "-1e-300",
    "overflow": "1e400",
    "huge": "9" * 20,
    "longer than Python reads": "9" * 5000,
    "2 ** 63": str(2**63),
    "next seed of the same parameters": str(2**32),
    "almost nothing": "1e-300",
    "empty": "",
    "blank": " ",
    "text": "nonsense",
    "unicode": "größe \U0001f600 ١٢",
    "control characters": "a\x1b[2J\nb\0",
    "half of a character": "\udcff",
    "a list": "1,2",
    "a fraction": "0.5",
    "hexadecimal": "0x10",
    "nobody's home": "~nobody-of-that-name/x",
    "a long name": "x" * 300,
    "a very long text": "x" * 200_000,
}
# Texts of which another reader decides what they mean, each with its own errors in one line: names
# of networks, recipes and data sets, splits, arguments, flags of another command, kernels.
READ_ELSEWHERE = {
    "against",
    "baseline",
    "dataset",
    "device",
    "emit_settings",
    "fn",
    "log_to",
    "model",
    "model_args",
    "models",
    "recipe",
    "reference",
    "train_flags",
    "train_split",
    "validation_split",
    "without",
}


@pytest.fixture(scope="module")
def flags_of():
    """The flags of each command, by its name, as its file defines them."""
    found = {}
    for name in NAMES:
        before = set(flags.FLAGS)
        specification = importlib.util.spec_from_file_location(
            f"_flags_of_{name}", ROOT / "launch" / f"{name}.py"
        )
        specification.loader.exec_module(importlib.util.module_from_spec(specification))
        own = [flag for flag in set(flags.FLAGS) - before if flag not in CLI]
        found[name] = {flag: flags.FLAGS[flag] for flag in own}
        for flag in own:
            delattr(flags.FLAGS, flag)
    return found


# Every command has them, and absl reads them.
CLI = {"compilation_cache", "cpu_kernels"}


def _parsed(own, arguments):
    """The values of a command's flags after `arguments`, or the error's text."""
    values = flags.FlagValues()
    for name, flag in own.items():
        values[name] = flag
    values.unparse_flags()
    for flag in own.values():
        flag.unparse()
    try:
        values(["command", *arguments])
        ranges.check(values)
    except flags.Error as error:
        return None, " ".join(str(error).split())
    return values, None


@pytest.mark.parametrize("command", NAMES)
def test_every_flag_that_takes_a_number_or_a_path_has_a_range(flags_of, command):
    assert flags_of[command]
    for name, flag in flags_of[command].items():
        if flag.flag_type() in ("bool", "string enum", "enum"):
            continue
        assert (name in ranges.RANGES) != (name in READ_ELSEWHERE), name


@pytest.mark.parametrize("command", NAMES)
def test_what_flags_are_by_default_is_in_their_ranges(flags_of, command):
    _, error = _parsed(flags_of[command], [])
    assert error is None


@pytest.mark.parametrize("kind", NONSENSE)
@pytest.mark.parametrize("command", NAMES)
def test_nonsense_is_refused_in_one_line_or_means_something(flags_of, command, kind):
    text = NONSENSE[kind]
    for name, flag in flags_of[command].items():
        values, error = _parsed(flags_of[command], [f"--{name}={text}"])
        if error is not None:
            assert name in error
            continue
        value = values[name].value
        if flag.flag_type() == "bool":
            pytest.fail(f"--{name}={text!r} is no truth")
        if isinstance(value, int | float):
            assert math.isfinite(value)
            assert ranges.RANGES[name].problem(value) is None
            # Nothing is cut off, rounded or wrapped.
            assert value == (int(text, 0) if flag.flag_type() == "int" else float(text))
        elif name in ranges.RANGES:
            for part in value if isinstance(value, list) else [value]:
                assert ranges.RANGES[name].problem(part) is None
                assert "\0" not in part
        else:
            assert name in READ_ELSEWHERE


@pytest.mark.parametrize(
    ("command", "argument", "words"),
    [
        ("train", "--epochs=inf", "give a number"),
        ("train", "--epochs=1e300", "above 0, at most 1e+06"),
        ("train", f"--seed={2**32}", "--seed"),
        ("train", "--eval_every=1e-9", "give 0.0001 to"),
        ("train", "--workdir=~nobody-of-that-name/x", "there is no user nobody-of-that-name"),
        ("train", "--workdir=gs:/bucket/run", "write gs://bucket/folder"),
        ("train", "--workdir=gs://", "write gs://bucket/folder"),
        ("evaluate", "--workdir=s3:bucket", "write gs://bucket/folder"),
        ("report", "--records=runs,gs:/bucket/runs", "write gs://bucket/folder"),
        ("report", "--export_sota=gs://bucket/x.csv", "on a disk of this machine"),
        ("plan", "--compiled=gs:/bucket/x", "on a disk of this machine"),
        ("sweep", "--pack=s3://bucket/x", "on a disk of this machine"),
        ("train", "--coordinator_address=x", "give HOST:PORT"),
        ("train", f"--batch_size={'9' * 20}", "--batch_size"),
        ("plan", "--price_per_chip_hour=nan", "give a number"),
        ("plan", "--epochs=nan", "give a number"),
        ("report", "--out=", "it is empty"),
        ("report", "--years=1e300", "above 0, at most 80"),
        ("sweep", f"--seeds={'9' * 5000}", "give 0,1,2 or 0-4"),
        ("benchmark", f"--cores={'9' * 5000}", "give numbers of cores"),
    ],
)
def test_what_was_once_a_traceback_names_what_to_give(flags_of, command, argument, words):
    _, error = _parsed(flags_of[command], [argument])
    assert words in error
    assert len(error) < 300


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("report", ["--out=", "--records=none"], ("--out", "empty")),
        ("report", ["--out=gs://b/x"], ("--out=gs://b/x", "on a disk of this machine")),
        ("sweep", ["--models=alexnet", "--out=gs://b/x"], ("--out=gs://b/x", "on a disk")),
        ("sweep", ["--known", "--out=gs://b/x"], ("--out=gs://b/x", "on a disk")),
        (
            "train",
            ["--model=alexnet", "--batch_size=2000", "--workdir=/dev/null/x"],
            ("training images; give at most that",),
        ),
        ("train", ["--flagfile=/dev/null/none"], ("/dev/null/none",)),
    ],
)
def test_what_depends_on_data_and_model_is_one_line_too(command, arguments, words):
    assert_one_line_and_exit_2(run_quickly(command, *arguments), *words)


def test_images_too_small_for_a_network_are_refused_with_the_size_that_it_takes():
    alexnet = networks.load("alexnet")
    networks.require_size(alexnet, 63)
    with pytest.raises(UsageError, match="no pixel is left after the layers of alexnet; give 63"):
        networks.require_size(alexnet, 40)
