"""What a table of factors says of where its runs were made."""

import csv
import dataclasses
import io

from jaxeff import measure
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
