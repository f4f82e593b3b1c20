"""Who may import whom, and who says what: `docs/design.md`, held against the code."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# What each part may import of the others; everything may import
# `jaxeff.errors`, `jaxeff.atomic`, `jaxeff.cells`, `jaxeff.ending` and `jaxeff.extras`.
MAY_IMPORT = {
    "jaxeff/compute": set(),
    "jaxeff/nn": set(),
    "jaxeff/cpu": set(),
    "jaxeff/data": set(),
    "jaxeff/tasks": {"jaxeff.data"},
    "jaxeff/records": {"jaxeff.compute"},
    "jaxeff/train": {
        "jaxeff.tasks",
        "jaxeff.data",
        "jaxeff.records",
        "jaxeff.compute",
        "jaxeff.nn",
    },
    "jaxeff/measure": {"jaxeff.records", "jaxeff.compute"},
    "jaxeff/report": {"jaxeff.records", "jaxeff.compute", "jaxeff.measure"},
    "models": {"jaxeff.nn"},
}


def _files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def _imports(path):
    """The parts of jaxeff that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = {".".join(name.split(".")[:2]) for name in found if name.startswith("jaxeff.")}
    return parts | {"models" for name in found if name.split(".")[0] == "models"}


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_lies_below_it(part):
    own = part.replace("/", ".")
    everywhere = {f"jaxeff.{n}" for n in ("errors", "atomic", "cells", "ending", "extras")}
    everywhere |= {"jaxeff.__version__"}
    allowed = MAY_IMPORT[part] | {own} | everywhere
    assert _files(part)
    for path in _files(part):
        assert _imports(path) <= allowed, path


@pytest.mark.parametrize("folder", ["train", "records", "measure"])
def test_what_is_trained_is_named_by_its_task_alone(folder):
    """Records of version 1 were of images, and their reader has to say so."""
    for path in _files(f"jaxeff/{folder}"):
        if path.name != "version1.py":
            words = re.findall(r"top1|top5|\bimages?\b", path.read_text(encoding="utf-8"))
            assert not words, (path, words)


@pytest.mark.parametrize(
    "part",
    ["models", *(f"jaxeff/{n}" for n in ("nn", "train", "data", "tasks", "compute", "records"))],
)
def test_what_a_cpu_needs_is_named_in_its_own_house_alone(part):
    for path in _files(part):
        words = re.findall(r"(?i)jaxeff\.cpu|onednn|ynnpack", path.read_text(encoding="utf-8"))
        assert not words, (path, words)


def test_only_the_commands_import_the_cpu_kernels():
    for part in ("models", "jaxeff"):
        for path in _files(part):
            if "jaxeff/cpu/" not in path.as_posix():
                assert "jaxeff.cpu" not in _imports(path), path
