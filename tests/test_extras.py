"""What the package imports is declared, and a command names the extra that it lacks."""

import ast
import configparser
import os
import pathlib
import re
import subprocess
import sys

import pytest

from jaxeff import extras
from jaxeff.errors import UsageError
from tests.launch.commands import assert_one_line_and_exit_2, run_quickly

ROOT = pathlib.Path(__file__).parents[1]
# Distributions that are not called as their modules are.
DISTRIBUTIONS = {
    "absl": "absl-py",
    "cv2": "opencv-python-headless",
    "mlflow": "mlflow-skinny",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# What each part may import: of all of these extras, or of all of the extras of one tuple.
OF_PARTS = {
    "jaxeff/compute": [()],
    "jaxeff/cpu": [()],
    "jaxeff/nn": [("train",)],
    "jaxeff/data": [("train", "tfds", "hf")],
    "jaxeff/tasks": [("train",)],
    "jaxeff/train": [("train", "wandb", "mlflow")],
    "jaxeff/records": [("train",), ("report",)],
    "jaxeff/measure": [("train",), ("report",)],
    "jaxeff/report": [("report", "gcs")],
    "models": [("train", "bench")],
    "launch/report.py": [("report",)],
    **{f"launch/{name}.py": [("train",), ("report",)] for name in ("cli", "help_page", "ranges")},
    "launch": [("train", "report", "bench", "tpu")],
}
# `--against=tfdata` of benchmark.py says itself what it needs: TensorFlow has other dependencies.
UNDECLARED = {"launch/benchmarks/input_pipelines/tfdata.py": {"tensorflow"}}


def _declared():
    """Names of distributions by extra, as `setup.cfg` has them; those of all under ''."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    return {
        extra: {re.match(r"[\w-]+", line)[0].lower() for line in text.split("\n") if line}
        for extra, text in texts.items()
    }


def _distribution(module):
    return DISTRIBUTIONS.get(module, module.replace("_", "-").replace(".", "-")).lower()


def _imports(path):
    """Distributions of what a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module)
    own = {"jaxeff", "models", *(p.stem for p in (ROOT / "launch").iterdir())}
    modules = {"orbax.checkpoint" if n.startswith("orbax") else n.split(".")[0] for n in found}
    return {_distribution(m) for m in modules - own - set(sys.stdlib_module_names)} - {"jaxlib"}


def _files(part):
    path = ROOT / part
    return [path] if path.suffix else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("part", OF_PARTS)
def test_what_a_part_imports_is_declared(part):
    declared = _declared()
    assert _files(part)
    for path in _files(part):
        imported = _imports(path) - UNDECLARED.get(path.relative_to(ROOT).as_posix(), set())
        for of in OF_PARTS[part]:
            missing = imported - set().union(*(declared[extra] for extra in ("", *of)))
            assert not missing, (path, of)


def test_every_part_is_held_to_something():
    parts = {part for part in (ROOT / "jaxeff").iterdir() if (part / "__init__.py").exists()}
    assert {part.relative_to(ROOT).as_posix() for part in parts} <= set(OF_PARTS)
    for path in (ROOT / "jaxeff").glob("*.py"):  # What everything imports.
        assert _imports(path) <= {"etils"}, path


def test_an_extra_brings_what_it_is_for():
    declared = _declared()
    for extra, modules in extras.MODULES.items():
        brought = set(map(_distribution, modules))
        assert brought <= declared[extra]
        assert declared[extra] - brought <= {"schedulefree"}  # Tests compare with it.
    assert declared[""] == {"jax", "numpy"}


MISSING = [
    *((name, [], "flax", "train") for name in ("train", "evaluate", "sweep", "count", "plan")),
    ("benchmark", ["step"], "etils", "train"),
    ("report", [], "plotly", "report"),
    ("sweep", ["--models=alexnet", "--out=never"], "jinja2", "report"),
    ("plan", ["--models=alexnet", "--compile", "--topology=2x2"], "libtpu", "tpu"),
    ("train", ["--model=alexnet", "--dataset=hf", "--data_dir=."], "pyarrow", "hf"),
    ("train", ["--model=alexnet", "--dataset=cifar10"], "tensorflow_datasets", "tfds"),
    ("train", ["--model=alexnet", "--dataset=imagenet2012", "--data_dir=gs://b/d"], "gcsfs", "gcs"),
    ("train", ["--model=alexnet", "--workdir=gs://bucket/run"], "gcsfs", "gcs"),
    ("train", ["--model=alexnet", "--log_to=tensorboard,wandb"], "wandb", "wandb"),
    ("train", ["--model=alexnet", "--log_to=mlflow"], "mlflow", "mlflow"),
    ("evaluate", ["--workdir=gs://bucket/run"], "gcsfs", "gcs"),
    ("benchmark", ["step"], "torch", "bench"),
    ("benchmark", ["input", "--data_dir=.", "--against=torch"], "torchvision", "bench"),
]


@pytest.mark.parametrize(("name", "arguments", "module", "extra"), MISSING)
def test_a_missing_extra_is_named_by_the_command_that_needs_it(
    name, arguments, module, extra, tmp_path
):
    finished = run_quickly(name, *arguments, cwd=tmp_path, missing=[module])
    assert_one_line_and_exit_2(finished, module, f"pip install -e '{ROOT}[{extra}]'")
    assert finished.stdout == ""
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_named_shortly(monkeypatch, tmp_path):
    for module in extras.MODULES["train"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as error:
        extras.require("train", "this")
    assert str(error.value).startswith("this needs absl, cv2, etils and 15 more, which are not")
    monkeypatch.chdir(ROOT)
    with pytest.raises(UsageError, match=re.escape("pip install -e '.[train]'")):
        extras.require("train", "this")
    monkeypatch.setattr(extras, "_ROOT", tmp_path)  # As in site-packages.
    with pytest.raises(UsageError, match=re.escape("pip install 'jaxeff[train]'")):
        extras.require("train", "this")


COUNT = (
    "from jaxeff.compute import step_cost; import jax.numpy as jnp; print(step_cost(jnp.tanh, 1.))"
)


@pytest.mark.slow
def test_a_wheel_alone_counts_a_step_and_names_what_else_it_needs(tmp_path):
    """In a fresh virtual environment, which takes a minute and a package index."""

    def run(*command):
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={})

    assert run(sys.executable, "-m", "venv", tmp_path / "venv").returncode == 0
    programs = tmp_path / "venv" / "bin"
    wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", f"--wheel-dir={tmp_path}", ROOT]
    # Of a checkout in PYTHONPATH pip would say that it is installed already.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    assert subprocess.run(wheel).returncode == 0
    install = [programs / "pip", "install", *tmp_path.glob("*.whl")]
    assert subprocess.run(install, env=env).returncode == 0
    counted = run(programs / "python", "-c", COUNT)
    assert "XLA's count, FLOPs" in counted.stdout, counted.stderr
    for name in ("train", "evaluate", "sweep", "count", "plan", "benchmark", "report"):
        extra = "report" if name == "report" else "train"
        said = run(programs / "jaxeff", name)
        assert_one_line_and_exit_2(said, name, f"pip install 'jaxeff[{extra}]'")
