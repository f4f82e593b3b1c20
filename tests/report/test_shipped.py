"""Records that come with the package, told apart from the reader's."""

import dataclasses

import pytest

from jaxeff import measure
from jaxeff.measure import known
from jaxeff.report import measured, shipped
from jaxeff.report.analysis import analyse
from jaxeff.report.charts import page_data
from tests.records.example import run


@pytest.fixture(scope="module")
def package():
    return [run for run in shipped.shipped() if not measure.is_of_search(run)]


@pytest.mark.parametrize("dataset", ["digits", "cifar10-jpeg"])
def test_the_numbers_of_the_package_are_those_that_a_sweep_prints(package, dataset):
    (within,) = (
        within
        for group, within in measured.results([], None, package).items()
        if group.dataset == dataset
    )
    rows = {
        (row.records[0].model.name, row.records[0].recipe["name"]): row
        for row in known.known_rows()
        if row.records[0].dataset.name == dataset
    }
    base = measured.baseline_of(within, "alexnet", shipped=True)
    compared = 0
    for result in within:
        row = rows[result.key.model, result.key.recipe]
        assert result.shipped
        assert result.estimate() == row.train_flops
        if row.factor is not None and result is not base:
            assert measure.factor(base.crossings(), result.crossings()) == row.factor
            compared += 1
    assert compared >= 15


def test_a_record_is_charged_up_to_the_level_it_is_read_at():
    record = run("alexnet", (0.2, 0.4, 0.6, 0.9), level=0.9)
    earlier = shipped.at_level(record, "top1", 0.5)
    expected = run("alexnet", (0.2, 0.4, 0.6, 0.9), level=0.5, run_id=record.run_id)
    assert earlier.target == expected.target
    assert earlier.compute == expected.compute
    assert shipped.at_level(record, "top5", 0.5) is record
    stopped = run("alexnet", (0.2, 0.4), level=0.3)
    assert shipped.at_level(stopped, "top1", 0.5) is stopped


def _packaged(records):
    return [dataclasses.replace(record, run_id=f"p-{record.run_id}") for record in records]


def test_the_readers_runs_are_compared_with_her_baseline_and_else_with_the_packages():
    seeds = range(3)
    theirs = [
        *(run("alexnet", (0.1, 0.2, 0.3, 0.6), seed=seed) for seed in seeds),
        *(run("resnet18", (0.1, 0.6), seed=seed) for seed in seeds),
    ]
    mine = [run("resnet18", (0.6,), seed=seed) for seed in seeds]
    found = analyse(mine, shipped=_packaged(theirs))
    (within,) = found.results.values()
    assert {result.name: len(result.runs) for result in within} == {
        "alexnet": 3,
        "resnet18": 3,
        "resnet18 (yours)": 3,
    }
    table = next(table for table in found.tables if table.name == "measured")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    factors = {(row["model"], row["measured"]): (row["times less"], row["than"]) for row in rows}
    # Crossings after 3.5, 1.5 and 0.5 epochs of one cost.
    assert factors["resnet18", "with jaxeff"] == (pytest.approx(3.5 / 1.5), "alexnet")
    assert factors["resnet18", "yours"] == (pytest.approx(3.5 / 0.5), "alexnet")
    own, packaged = found.findings
    assert own.text.startswith("resnet18 (yours) took 7 times less than alexnet (95 %: ")
    assert packaged.text.startswith("resnet18 took the least compute of 2 models")
    assert (own.shipped, packaged.shipped) == (False, True)

    with_baseline = analyse(
        [*mine, *(run("alexnet", (0.1, 0.6), seed=seed) for seed in seeds)],
        shipped=_packaged(theirs),
    )
    (group,) = page_data(with_baseline)["groups"]
    level = group["level"]
    shown = {each["name"]: each for each in group["factors"]}
    assert {name: each["base"] for name, each in shown.items()} == {
        "ResNet-18": "AlexNet",
        "ResNet-18 (yours)": "AlexNet (yours)",
    }
    at = {name: each["factor"][each["levels"].index(level)] for name, each in shown.items()}
    assert at == {
        "ResNet-18": pytest.approx(3.5 / 1.5, rel=1e-5),
        "ResNet-18 (yours)": pytest.approx(1.5 / 0.5, rel=1e-5),
    }
