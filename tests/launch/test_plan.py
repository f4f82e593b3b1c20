import functools
import importlib.metadata
import importlib.util
import json
import signal
import subprocess
import sys

import pytest

from tests.launch.commands import ROOT, assert_one_line_and_exit_2, run_quickly

sys.path.append(str(ROOT / "launch"))

import compiling
import networks

_plan = functools.partial(run_quickly, "plan")
_SMALL = ("--models=squeezenet1_1", "--image_size=32", "--batch_size=32")


def test_a_plan_follows_from_count_bytes_and_roofline():
    finished = _plan(
        *_SMALL,
        "--device=v3",
        "--devices=16",
        "--attained=0.25",
        "--epochs=2",
        "--train_images=1000",
        "--validation_images=100",
        "--price_per_chip_hour=3",
        "--images_per_second_per_core=500",
        "--format=json",
    )
    assert finished.returncode == 0, finished.stderr
    plan = json.loads(finished.stdout)
    (row,) = plan["models"]
    counted = run_quickly("count", *_SMALL, "--format=json")
    (cost,) = json.loads(counted.stdout)["models"]
    training = cost["xla_train_flops_per_image"]
    assert row["train_flops"] == pytest.approx(training * 2000)
    # Two images on each core of a chip that has 123 TFLOP/s and 900 GB/s.
    assert row["arithmetic_seconds"] == pytest.approx(2 * training / 61.5e12)
    # At the least all parameters, their momentum and gradients are moved.
    moved = row["memory_seconds"] * 450e9
    assert 5 * row["gradient_bytes"] < moved < 20 * row["gradient_bytes"]
    assert row["bound"] == "memory"
    # Eight chips as 2 x 4, without rings, have half of four links of 82 GB/s.
    reduced = 2 * 7 / 8 * row["gradient_bytes"] / (4 * 82e9 / 2)
    assert row["all_reduce_seconds"] == pytest.approx(reduced)
    assert row["step_seconds"] == pytest.approx(row["memory_seconds"] / 0.25 + reduced)
    assert row["images_per_second"] == pytest.approx(32 / row["step_seconds"])
    evaluation = 2 * cost["macs_forward_per_image"] / training
    images = 2000 + 200 * evaluation
    assert row["hours"] == pytest.approx(images / row["images_per_second"] / 3600)
    # Two devices of a TPU v3 are a chip, and chips are paid for.
    assert row["chip_hours"] == pytest.approx(8 * row["hours"])
    assert row["cost"] == pytest.approx(24 * row["hours"])
    assert row["input_cores"] == pytest.approx(row["images_per_second"] / 500)
    scaling = {each["chips"]: each for each in row["scaling"]}
    assert list(scaling) == [2**power for power in range(11)]
    assert scaling[1]["efficiency"] == 1
    assert scaling[8]["step_seconds"] == pytest.approx(row["step_seconds"])
    assert scaling[1024]["batch_size"] == 4096
    assert plan["total"]["cost"] == row["cost"]
    assert "TPU v3" in plan["assumptions"]["device_kind"]


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        (["--device=v5e", "--devices=8"], True),
        (["--device=a100", "--devices=8"], False),
    ],
)
def test_few_images_on_a_tpu_are_pointed_out(arguments, warned):
    finished = _plan(*_SMALL, *arguments)
    assert finished.returncode == 0, finished.stderr
    assert ("fewer than 128 images" in " ".join(finished.stdout.split())) == warned


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, ROOT / "launch" / "plan.py", *_SMALL, "--format=json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # As `| head` does.
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.slow
def test_hosts_that_are_too_slow_bind_and_the_table_says_so():
    finished = _plan(
        "--models=shufflenet_v2",
        *_SMALL[1:],
        "--device=h100",
        "--cores=2",
        "--images_per_second_per_core=100",
    )
    assert finished.returncode == 0, finished.stderr
    row = next(line for line in finished.stdout.splitlines() if "shufflenet_v2" in line).split()
    assert "input" in row
    assert row[row.index("input") + 1] == "200"
    assert max(map(len, finished.stdout.splitlines())) <= 80
    assert "NVIDIA H100 architecture white paper" in " ".join(finished.stdout.split())
    # 20 epochs of 1.33 million images at 200 a second.
    assert float(row[-2]) == pytest.approx(20 * 1.33e6 / 200 / 3600, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device=v99"], ["v99", "did you mean"]),
        (["--attained=1.5"], ["--attained=1.5", "at most 1"]),
        (["--epochs=0"], ["--epochs=0"]),
        (["--models=resnet101"], ["resnet101", "--epochs"]),
        (["--device=t4", "--dtype=bfloat16"], ["bfloat16", "T4"]),
        (["--devices=3"], ["--batch_size=256", "255"]),
        (["--cores=4"], ["--images_per_second_per_core"]),
        (["--compile", "--device=a100"], ["A100", "no TPU"]),
        (["--largest_batch"], ["--largest_batch", "--compile"]),
    ],
)
def test_what_cannot_be_planned_is_one_line(arguments, words):
    assert_one_line_and_exit_2(_plan(*arguments), *words)


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="the TPU compiler is not installed: pip install libtpu",
)


@needs_libtpu
def test_what_is_no_file_of_answers_is_one_line_and_stays_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("not\nmine\n")
    (tmp_path / "archive").write_bytes(b"\xfd7zXZ")
    for name, reason in [
        ("", "directory"),
        ("notes.txt", "something else"),
        ("archive", "no text"),
        ("notes.txt/x", "exists"),
    ]:
        finished = _plan(*_SMALL, "--compile", "--topology=2x2", f"--compiled={tmp_path / name}")
        assert_one_line_and_exit_2(finished, "--compiled", reason)
    assert (tmp_path / "notes.txt").read_text() == "not\nmine\n"


def test_answers_survive_a_line_that_was_cut_short(tmp_path):
    path = tmp_path / "new" / "answers.jsonl"
    answers = compiling.Answers(path)
    assert answers.get({"model": "a"}) is None
    answers.add({"model": "a"}, {"fits": True})
    with path.open("a") as file:
        file.write('{"question": {"model": "b"}, "ans')
    again = compiling.Answers(path)
    again.add({"model": "c"}, {"fits": False})
    assert [again.get({"model": name}) for name in "abc"] == [{"fits": True}, None, {"fits": False}]
    assert answers.get({"model": "c"}) == {"fits": False}  # What another process added.


def test_a_compiler_that_was_killed_is_asked_again(tmp_path, monkeypatch):
    answers = compiling.Answers(tmp_path / "answers.jsonl")
    model = networks.load("squeezenet1_1")
    question = {"device_kind": "TPU v5e", "topology": (2, 2), "answers": answers, "batch_size": 32}
    said = [(-9, "", "Killed"), (0, '{"failed": "the TPU compiler failed: RET"}', "")]

    def run(command, **_):
        return subprocess.CompletedProcess(command, *said.pop(0))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(compiling, "_versions", dict)
    assert "status -9" in compiling.compile_step(model, **question)["failed"]
    for _ in range(2):  # What the compiler says is kept.
        assert "RET" in compiling.compile_step(model, **question)["failed"]


def test_the_largest_batch_is_compiled(tmp_path, monkeypatch):
    """The compiler is played: 100 MB of state, and 10 MB an image on a device."""
    asked = []

    def run(command, **_):
        each = json.loads(command[-1])["batch_size"] // 4
        asked.append(each)
        needed = 100e6 + 10e6 * each
        answer = {"fits": needed <= 15.75 * 2**30, "needed_bytes": needed}
        answer |= {"available_bytes": None, "state_bytes": 40e6, "code_bytes": None}
        return subprocess.CompletedProcess(command, 0, json.dumps(answer), "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(compiling, "_versions", dict)
    model = networks.load("squeezenet1_1")
    arguments = {
        "device_kind": "TPU v5e",
        "topology": (2, 2),
        "answers": compiling.Answers(tmp_path / "answers.jsonl"),
        "batch_size": 32,
    }
    for _ in range(2):
        first = compiling.compile_step(model, **arguments)
        found = compiling.largest_batch(model, devices=4, first=first, **arguments)
        assert found == int((15.75 * 2**30 - 100e6) / 10e6)
    assert asked == [8, pytest.approx(964, abs=5), found]


@pytest.mark.slow
@needs_libtpu
def test_the_tpu_compiler_plans_a_step_once(tmp_path):
    log = tmp_path / "compiled.jsonl"
    arguments = (
        *_SMALL,
        "--compile",
        f"--compiled={log}",
        "--topology=2x2",
        "--dtype=bfloat16",
        "--epochs=1",
        "--format=json",
    )
    first, second = (_plan(*arguments) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert len(log.read_text().splitlines()) == 1
    (row,) = json.loads(first.stdout)["models"]
    assert row["fits"]
    # The batch of eight images on a chip takes little of its memory, and thousands have room.
    assert row["needed_bytes"] < 0.01 * row["available_bytes"]
    assert row["largest_batch_per_device"] > 1000
    assert row["memory_seconds"] > 5 * row["gradient_bytes"] / 819e9
    # Parameters, their momentum and the batch go in.
    (answer,) = (json.loads(line)["answer"] for line in log.read_text().splitlines())
    assert answer["argument_bytes"] >= 2 * row["gradient_bytes"] + 8 * 32 * 32 * 3
    assert answer["output_bytes"] < row["gradient_bytes"]  # The state takes the old one's place.


@pytest.mark.slow
@needs_libtpu
def test_what_does_not_fit_or_fails_has_no_hours(tmp_path):
    """Answers are read from the log, as if the compiler had given them."""
    question = {
        "model": "shufflenet_v2",
        "args": {},
        "source": None,
        "device_kind": "TPU v5e",
        "topology": [2, 2],
        "image_size": 32,
        "num_classes": 1000,
        "batch_size": 32,
        "dtype": "bfloat16",
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "libtpu")},
    }
    sizes = {"state_bytes": 2 * 2**30, "gradient_bytes": 2**30, "code_bytes": None}
    too_large = dict.fromkeys(("bytes_accessed", "estimated_seconds")) | sizes
    too_large |= {"fits": False, "needed_bytes": 19 * 2**30, "available_bytes": 11 * 2**30}
    answers = {
        "shufflenet_v2": too_large,
        "mobilenet_v1": {"failed": "the TPU compiler failed: RET"},
    }
    lines = [
        json.dumps({"question": question | {"model": model}, "answer": answer})
        for model, answer in answers.items()
    ]
    log = tmp_path / "compiled.jsonl"
    log.write_text("\n".join(lines))
    finished = _plan(
        "--models=shufflenet_v2,mobilenet_v1",
        *_SMALL[1:],
        "--compile",
        "--topology=2x2",
        "--dtype=bfloat16",
        f"--compiled={log}",
    )
    assert finished.returncode == 1, finished.stderr
    assert "mobilenet_v1: the TPU compiler failed: RET" in finished.stdout
    row = next(line for line in finished.stdout.splitlines() if "shufflenet_v2" in line)
    assert "does not fit" in row
    assert row.split()[-2:] == ["-", "-"]
    # Of 19 GiB three are the state and the gradients; the other eight have half of the images.
    assert row.split()[3:5] == ["19.00", "4"]
