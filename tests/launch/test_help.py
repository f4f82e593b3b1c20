"""The `--help` page of every command, on a terminal of eighty columns."""

import re
import sys

import pytest

import models
from jaxeff.console import commands
from models import registry
from tests.launch.commands import ROOT, run_quickly

sys.path.append(str(ROOT / "launch"))

import help_page

STATUSES = {"train": "0 3 4 75 2 1", "sweep": "0 1 75 2", "plan": "0 1 2"}


def _expanded(text):
    """`a{1,2} b` as `["a1", "a2", "b"]`, as a shell has it."""
    names = []
    for word in text.split():
        found = [word]
        while "{" in found[0]:
            found = [
                before + choice + after
                for before, choices, after in (re.split(r"[{}]", w, maxsplit=2) for w in found)
                for choice in choices.split(",")
            ]
        names += found
    return names


def test_the_networks_are_those_of_the_registry_by_family():
    for title, text in help_page.FAMILIES.items():
        of_title = [
            f for f in registry.FAMILIES if f.__name__.split(".")[-1].startswith(title.lower())
        ]
        assert sorted(_expanded(text)) == sorted(n for f in of_title for n in f.VARIANTS), title
    shown = _expanded(" ".join(help_page.FAMILIES.values()))
    assert sorted(shown) == sorted(models.names())


@pytest.mark.parametrize("name", sorted(commands()))
def test_a_page_fits_and_says_its_exit_statuses_and_the_common_flags_first(name):
    helped = run_quickly(name, "--help", env={"COLUMNS": "80"})
    assert (helped.returncode, helped.stderr) == (0, "")
    page = helped.stdout
    assert max(map(len, page.splitlines())) <= 80
    (paragraph,) = re.findall(r"^Exit status: ((?:.+\n)+)", page, re.MULTILINE)
    told = re.findall(r"(?:^|; )(\d+) ", paragraph.replace("\n", " "))
    assert told == STATUSES.get(name, "0 2 1 130").split()
    titles = re.findall(r"^([A-Z].*):\n  --", page, re.MULTILINE)
    assert titles[0] == "Common flags"
    assert titles[-1] == "Flags of every command"
    shown = re.findall(r"^  --(?:\[no\])?(\w+):", page, re.MULTILINE)
    assert len(shown) == len(set(shown)) > 5
    assert ("Networks by family" in page) == bool({"model", "models"} & set(shown))


def test_a_wide_terminal_is_not_filled():
    """Lines of more than a hundred characters are hard to read."""
    page = run_quickly("train", "--help", env={"COLUMNS": "200"}).stdout
    assert 90 < max(map(len, page.splitlines())) <= 100
