"""The version stands in one place, and what repeats it agrees."""

import pathlib

import yaml

import jaxeff

ROOT = pathlib.Path(__file__).parents[1]


def test_the_citation_and_the_changelog_are_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == jaxeff.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert changelog.split("## ")[1].strip().startswith(jaxeff.__version__)
