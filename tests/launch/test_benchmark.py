import importlib
import itertools
import json
import pathlib
import types

import PIL.Image
import pytest

from jaxeff.errors import UsageError
from tests.launch.commands import assert_one_line_and_exit_2, run_command, run_quickly


def _benchmark(*arguments):
    return run_command("benchmark", *arguments)


@pytest.mark.slow
def test_our_step_and_the_one_without_our_kernels_take_turns():
    result = _benchmark(
        "step", "--models=squeezenet1_1", "--against=xla", "--batch_size=2", "--turns=2",
        "--turn_seconds=0.1", "--format=json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    (facts,) = report["results"]
    ours, xla = facts["contenders"]["jaxeff"], facts["contenders"]["xla"]
    assert ours["flops_per_step"] > 0
    assert "channel_sum" in ours["kernels"]
    assert "channel_sum" not in xla["kernels"]
    assert ours["images_per_second"] > 0
    assert ours["peak_memory_bytes"] > 0
    assert xla["ratio_low"] <= xla["ratio"] <= xla["ratio_high"]
    assert report["geometric_means"]["xla"] == pytest.approx(xla["ratio"])


@pytest.fixture
def run_steps(monkeypatch):
    """Runs `benchmarks.step` on four models, of which one may `fail`; each takes 100 seconds."""
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parents[2] / "launch")
    step = importlib.import_module("benchmarks.step")
    clock = itertools.count(0.0, 50.0)
    monkeypatch.setattr(step.time, "monotonic", lambda: next(clock))
    facts = {"images_per_second": 1.0, "compile_seconds": 1.0, "peak_memory_bytes": 2**20}

    def run(fail=None, **options):
        def measure(work, *_):
            if work.model == fail:
                raise UsageError("the contender torch: out of memory")
            contenders = {"jaxeff": facts, "torch": {**facts, "ratio": 2.0}}
            return {"model": work.model, "contenders": contenders}

        monkeypatch.setattr(step, "measure", measure)
        names = ("alexnet", "vgg11", "resnet18", "resnet34")
        work = {"image_size": 64, "batch_size": 64, "dtype": "float32", "threads": None}
        chosen = [types.SimpleNamespace(specification=n, name=n, args={}) for n in names]
        step.run(chosen, ["torch"], **work, turns=1, turn_seconds=1.0, **options)

    return run


def test_no_model_is_begun_that_would_end_too_late(run_steps, capsys):
    run_steps(minutes=4.0, as_json=True)
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert [result["model"] for result in report["results"]] == ["alexnet", "vgg11"]
    assert report["not_measured"] == ["resnet18", "resnet34"]
    assert "--models=resnet18,resnet34" in err


def test_what_was_measured_is_printed_when_a_model_fails(run_steps, capsys):
    with pytest.raises(UsageError, match="out of memory"):
        run_steps(fail="resnet18", minutes=None, as_json=False)
    out, err = capsys.readouterr()
    assert "vgg11" in out
    assert "torch's: 2.000" in out
    assert "--models=resnet18,resnet34" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["step", "--against=jaxef"], "give some of jit, xla, torch, torch-compile"),
        (["step", "--models=resnet19"], "did you mean resnet18"),
        (["stride"], "give what to do, step or loop or input, not stride"),
        (["input"], "--data_dir is missing"),
        (["input", "--data_dir=/nowhere", "--against=pil"], "cannot read '/nowhere/train'"),
        (["input", "--data_dir=.", "--against=pill"], "give some of pil, tfdata, torch"),
        (["input", "--data_dir=.", "--against=", "--cores=0"], "--cores=0: give numbers from 1"),
    ],
)
def test_mistakes_get_one_line(arguments, message):
    assert_one_line_and_exit_2(run_quickly("benchmark", *arguments), message)


def test_input_pipelines_take_turns(tmp_path):
    for split, label, i in itertools.product(("train", "validation"), "ab", range(4)):
        path = tmp_path / split / label / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.effect_noise((60 + i, 50), 40).convert("RGB").save(path)
    result = _benchmark(
        "input", f"--data_dir={tmp_path}", "--against=pil", "--batch_size=4", "--turns=2",
        "--turn_seconds=0.05", "--image_size=16", "--format=json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (facts,) = json.loads(result.stdout)["results"]
    ours, pil = facts["contenders"]["jaxeff"], facts["contenders"]["pil"]
    assert ours["images_per_second_per_core"] == ours["images_per_second"] > 0
    assert pil["ratio_low"] <= pil["ratio"] <= pil["ratio_high"]
