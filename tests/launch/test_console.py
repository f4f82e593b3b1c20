"""The command `jaxeff`, in a checkout and from a wheel."""

import json
import os
import subprocess
import sys
import zipfile

import pytest

import jaxeff
from jaxeff import console
from tests.launch.commands import ROOT

CALL = "from jaxeff.console import main; main()"


def _jaxeff(*arguments, cwd, path=ROOT):
    return subprocess.run(
        [sys.executable, "-c", CALL, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(path)},
        timeout=300,
    )


def test_every_command_has_a_name_and_a_line(tmp_path):
    names = {"benchmark", "count", "evaluate", "plan", "report", "train"}
    assert names <= set(console.commands())
    assert not {"cli", "counting", "networks", "user_files"} & set(console.commands())
    helped = _jaxeff("--help", cwd=tmp_path)
    assert helped.returncode == 0, helped.stderr
    for name in console.commands():
        assert f"jaxeff {name} " in helped.stdout
    assert "Trains a model until it reaches a target accuracy" in helped.stdout


def test_a_command_is_the_file_of_its_name(tmp_path):
    ours = _jaxeff("train", "--help", cwd=tmp_path)
    by_hand = subprocess.run(
        [sys.executable, ROOT / "launch" / "train.py", "--help"], capture_output=True, text=True
    )
    assert (ours.returncode, ours.stdout) == (0, by_hand.stdout)
    wrong = _jaxeff("train", "--model=resnt18", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    unknown = _jaxeff("trian", cwd=tmp_path)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert "did you mean train?" in unknown.stderr
    version = _jaxeff("--version", cwd=tmp_path)
    assert (version.returncode, version.stdout) == (0, f"jaxeff {jaxeff.__version__}\n")


NET = """
import data, models
from flax import linen as nn

assert models.HERS and data.HERS

class MyNet(nn.Module):
    num_classes: int
    @nn.compact
    def __call__(self, images, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3))(images))
        return nn.Dense(self.num_classes)(x.mean((1, 2)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What the wheel installs, in a folder."""
    pytest.importorskip("setuptools", reason="builds a wheel")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("jaxeff", "launch", "models", "setup.py", "setup.cfg", "pyproject.toml"):
        (source / name).symlink_to(ROOT / name)
    for name in ("README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    build = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", build, str(out)], cwd=source, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    zipfile.ZipFile(next(out.glob("*.whl"))).extractall(out / "site")
    return out / "site"


def test_a_wheel_installs_no_package_but_jaxeff(wheel):
    assert [path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")] == [
        "jaxeff"
    ]
    (info,) = wheel.glob("*.dist-info")
    assert "jaxeff = jaxeff.console:main" in (info / "entry_points.txt").read_text()
    program = wheel / "jaxeff" / "_program"
    for folder in ("launch", "models"):
        for path in (ROOT / folder).rglob("*.py"):
            assert (program / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    for path in (ROOT / "jaxeff").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (wheel / path.relative_to(ROOT)).exists(), path


def test_a_folder_with_a_network_and_hostile_names_trains_from_the_wheel(wheel, tmp_path):
    (tmp_path / "mynet.py").write_text(NET)
    for name in ("models", "data"):
        (tmp_path / f"{name}.py").write_text("HERS = True\n")
    for name in ("cli", "train", "user_files", "counting", "benchmarks"):
        (tmp_path / f"{name}.py").write_text("1 / 0\n")
    flags = ("--dataset=synthetic", "--image_size=8", "--epochs=1", "--workdir=run")
    trained = _jaxeff("train", "--model=mynet.py:MyNet", *flags, cwd=tmp_path, path=wheel)
    assert trained.returncode in (0, 3), trained.stderr
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["model"]["name"] == "MyNet"
    assert record["command"].startswith("jaxeff train --model=mynet.py:MyNet")
    evaluated = _jaxeff("evaluate", "--workdir=run", cwd=tmp_path, path=wheel)
    assert evaluated.stdout.startswith("MyNet on synthetic at 8 px"), evaluated.stderr
