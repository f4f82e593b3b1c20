"""The tables of TPU steps in `docs/tpu.md` say what the compiler answered, and what follows."""

import csv
import importlib.resources
import json
import pathlib
import re

import pytest

from jaxeff import compute

DOCS = pathlib.Path(__file__).parents[1] / "docs"
KINDS = {f"v{name}": f"TPU v{name}" for name in ("3", "4", "5e", "5p", "6e")} | {"v7x": "TPU7x"}
CHIPS = 4


@pytest.fixture(scope="module")
def answers():
    found = {}
    for line in (DOCS / "tpu_compiled.jsonl").read_text(encoding="utf-8").splitlines():
        asked, answer = json.loads(line)["question"], json.loads(line)["answer"]
        found[tuple(asked[k] for k in ("model", "device_kind", "dtype", "batch_size"))] = answer
    return found


@pytest.fixture(scope="module")
def flops_of_an_image():
    file = importlib.resources.files("jaxeff.report") / "model_costs.csv"
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return {row["model"]: float(row["xla_train_flops_per_image"]) for row in rows}


def _tables():
    """Of the section of the sixteen: the text before each table, its header and rows."""
    page = (DOCS / "tpu.md").read_text(encoding="utf-8")
    section = page.split("### The sixteen\n")[1].split("\n**By our own count")[0]
    for match in re.finditer(r"((?:^.+\n)+)\n((?:^\|.*\n)+)", section, re.MULTILINE):
        header, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in match[2].splitlines()
        ]
        yield match[1], header, rows


def _number(cell):
    return float(cell.removesuffix(" a").replace(" ", ""))


def _roofline(answer, kind, dtype, flops, batch_size):
    return compute.device_roofline(
        kind,
        dtype,
        flops=flops * batch_size / CHIPS / compute.hardware.DEVICES_PER_CHIP.get(kind, 1),
        bytes_moved=answer["bytes_accessed"],
        compiler_seconds=answer["estimated_seconds"],
    )


def _check_rate(cell, answer, kind, dtype, flops, batch_size):
    found = _roofline(answer, kind, dtype, flops, batch_size)
    # An optimizer's operations are shared by the images of the batch.
    assert _number(cell) == pytest.approx(batch_size / CHIPS / found.seconds, rel=1e-3)
    return found


def test_tables_by_slice_are_of_the_answers(answers, flops_of_an_image):
    seen = 0
    for text, header, rows in _tables():
        if "v5e" not in header:
            continue
        for model, *cells in rows:
            for name, cell in zip(header[1:], cells, strict=True):
                key = model, KINDS[name], "bfloat16", 256
                assert (cell == "–") == (key not in answers), key
                if cell == "–":
                    continue
                seen += 1
                if "GiB" in text:
                    assert _number(cell) == round(answers[key]["needed_bytes"] / 2**30, 2)
                    continue
                flops = flops_of_an_image[model]
                found = _check_rate(cell, answers[key], *key[1:3], flops, 256)
                assert cell.endswith(" a") == (found.bound == "arithmetic")
    assert seen == 2 * sum(key[2:] == ("bfloat16", 256) for key in answers)


def test_the_table_of_float32_is_of_the_answers(answers, flops_of_an_image):
    ((_, _, rows),) = [each for each in _tables() if "float32, v5e" in each[0]]
    assert {row[0] for row in rows} == {key[0] for key in answers if key[2] == "float32"}
    for model, *cells, ratio in rows:
        seconds = []
        for dtype, gib, rate in zip(("float32", "bfloat16"), cells[::2], cells[1::2], strict=True):
            answer = answers[model, "TPU v5e", dtype, 256]
            assert _number(gib) == round(answer["needed_bytes"] / 2**30, 2)
            flops = flops_of_an_image[model]
            seconds.append(_check_rate(rate, answer, "TPU v5e", dtype, flops, 256).seconds)
        assert _number(ratio) == pytest.approx(seconds[0] / seconds[1], abs=0.006)


def test_the_table_of_a_large_batch_is_of_the_answers(answers, flops_of_an_image):
    ((_, _, rows),) = [each for each in _tables() if "batch 2 048" in each[0]]
    assert len(rows) == 16
    for model, gib, *cells in rows:
        key = model, "TPU v5e", "bfloat16", 2048
        if gib == "not compiled":
            assert key not in answers
            continue
        answer, (*seconds, rate, bound) = answers[key], cells
        found = _check_rate(rate, answer, *key[1:3], flops_of_an_image[model], 2048)
        assert _number(gib) == round(answer["needed_bytes"] / 2**30, 2)
        assert bound == found.bound
        parts = found.arithmetic_seconds, found.memory_seconds, found.compiler_seconds
        for cell, part in zip(seconds, parts, strict=True):
            assert _number(cell) == pytest.approx(part * 1e3, rel=1e-3, abs=0.01)
