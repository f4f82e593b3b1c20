import itertools
import json

import PIL.Image
import pytest

from tests.launch.commands import assert_one_line_and_exit_2, run_command


def _benchmark(*arguments):
    return run_command("benchmark", *arguments)


@pytest.mark.slow
def test_our_step_and_the_native_one_take_turns():
    result = _benchmark(
        "step", "--models=squeezenet1_1", "--against=native", "--batch_size=2", "--turns=2",
        "--turn_seconds=0.1", "--format=json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    (facts,) = report["results"]
    ours, native = facts["contenders"]["jaxeff"], facts["contenders"]["native"]
    assert ours["flops_per_step"] == native["flops_per_step"] > 0
    assert ours["images_per_second"] > 0
    assert ours["peak_memory_bytes"] > 0
    assert native["ratio_low"] <= native["ratio"] <= native["ratio_high"]
    assert report["geometric_means"]["native"] == pytest.approx(native["ratio"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["step", "--against=jaxef"], "give some of native, torch, torch-huge-pages, "),
        (["step", "--models=resnet19"], "did you mean resnet18"),
        (["stride"], "give what to do, step or loop or input, not stride"),
        (["input"], "--data_dir is missing"),
        (["input", "--data_dir=/nowhere", "--against=pil"], "cannot read '/nowhere/train'"),
        (["input", "--data_dir=.", "--against=pill"], "give some of pil, tfdata, torch"),
        (["input", "--data_dir=.", "--against=", "--cores=0"], "--cores=0: give numbers from 1"),
    ],
)
def test_mistakes_get_one_line(arguments, message):
    result = _benchmark(*arguments)
    assert_one_line_and_exit_2(result, message)


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
