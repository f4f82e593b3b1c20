"""What a table of factors says of where its runs were made."""

import csv
import dataclasses
import io

import pytest

from jaxeff import measure
from jaxeff.errors import UsageError
from jaxeff.measure import table
from tests.records import example


def test_the_processor_is_what_computed():
    here = example.run("alexnet", (0.6,))
    gpu = dataclasses.replace(here.hardware, platform="gpu", device_kind="NVIDIA H200")
    there = dataclasses.replace(here, hardware=gpu)
    rows = measure.table({"here": [here], "there": [there], "both": [here, there]}, None)
    found = csv.DictReader(io.StringIO(measure.as_csv(rows)))
    assert {row["configuration"]: row["processor"] for row in found} == {
        "here": "a processor",
        "there": "NVIDIA H200",
        "both": "NVIDIA H200 a processor",
    }


def test_runs_on_different_data_are_not_put_together():
    runs = [example.run(seed=seed) for seed in range(3)]
    other = dataclasses.replace(runs[2].dataset, fingerprint="another")
    runs[2] = dataclasses.replace(runs[2], dataset=other)
    with pytest.raises(UsageError, match="a: its records are of different data"):
        table({"a": runs}, None)


def test_a_run_that_stopped_says_nothing_of_a_harder_level():
    runs = [example.run(seed=seed, level=0.5) for seed in range(3)]
    with pytest.raises(UsageError, match=r"seed 0 stopped at top1:0\.5, .* of top1:0\.9"):
        table({"a": runs}, None, 0.9, "top1")
    (row,) = table({"a": runs}, None, 0.3, "top1")
    assert row.train_flops.missed == 0
