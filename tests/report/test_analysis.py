"""Records of every version and task, side by side."""

import dataclasses
import math
import pathlib

import pytest

from jaxeff import records
from jaxeff.report import files, page
from jaxeff.report.analysis import analyse, curves_by_group
from jaxeff.report.charts import page_data
from jaxeff.report.names import readable
from tests.records.example import GROWING, averaged, regression, run

VERSION1 = pathlib.Path(__file__).parents[1] / "records" / "version1"


def _rows(analysis, name):
    (table,) = (table for table in analysis.tables if table.name == name)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _elsewhere(record, **changes):
    return dataclasses.replace(
        record, environment=dataclasses.replace(record.environment, **changes)
    )


def test_records_of_version_1_are_compared_with_those_of_version_2(tmp_path):
    reached = records.read(VERSION1 / "reached.json")
    new = _elsewhere(
        dataclasses.replace(reached, run_id="new", seed=1), kernels="xla", cpu_model="a processor"
    )
    records.write(tmp_path / "record.json", new)
    valid, refused = files.read_records(
        [VERSION1 / "reached.json", VERSION1 / "missed.json", tmp_path / "record.json"]
    )
    assert refused == []
    analysis = analyse(valid)
    (median,) = (row for row in _rows(analysis, "measured") if row["model"] == "shufflenet_v2")
    assert (median["seeds"], median["never got there"]) == ("0 1", 0)
    # Both are charged the same; they crossed somewhere in the 23 steps before the evaluation.
    assert 1246477620736 * 11 / 12 < median["XLA FLOPs, median"] < 1246477620736
    assert 611681531904 * 11 / 12 < median["3 x MACs x images, median"] < 611681531904
    environments = [(row["kernels"], row["cpu_model"]) for row in _rows(analysis, "runs")]
    assert environments == [("not recorded", None)] * 2 + [("xla", "a processor")]
    (group,) = page_data(analysis)["groups"]
    assert group["label"] == "digits at 64 px, 98 % top-1"
    first, *_ = group["runs"]
    # Batches of 64 images of 11 755 872 multiply-accumulates, evaluated every 23 steps or so.
    macs = {shown["model"]: shown["macs"] for shown in group["configurations"]}
    assert macs["ShuffleNet v2"] == 11755872
    assert first["curve"][0][1] == float(f"{3 * 11755872 * 64 * 23:.6g}")


def _to_a_loss(level):
    record = run("alexnet", (0.4, 0.6))
    target = records.crossing(record.curve, "loss", level, "min")
    return dataclasses.replace(record, target=target)


def _without_top5():
    """A run of AlexNet on ImageNet by a task that measures top-1 alone."""
    record = run("alexnet", (0.4, 0.6))
    curve = [
        dataclasses.replace(point, metrics={"top1": point.metrics["top1"]})
        for point in record.curve
    ]
    return dataclasses.replace(
        record,
        task={"name": "another", "metrics": {"top1": "max"}},
        curve=tuple(curve),
        dataset=dataclasses.replace(record.dataset, name="imagenet2012"),
    )


@pytest.mark.parametrize("among", [(), (run(), run("resnet18"))])
def test_another_task_stands_in_the_tables_and_takes_no_part_in_curves_and_levels(among):
    others = regression(), regression((0.5, 0.4), seed=1), _to_a_loss(1.0), _without_top5()
    analysis = analyse([*among, *others])
    labels = [row["data and level"] for row in _rows(analysis, "runs")][len(among) :]
    assert labels == [
        "sine, loss at most 0.2",
        "sine, loss at most 0.2",
        "d at 8 px, loss at most 1",
        "imagenet2012, 50 % top-1",
    ]
    sine = next(row for row in _rows(analysis, "measured") if row["model"] == "mlp")
    # The loss starts above the level and falls below it in one run; in the other it does not.
    assert (sine["seeds"], sine["never got there"], sine["epochs, median"]) == ("0 1", 1, math.inf)
    drawn = [
        shown["model"]
        for group in page_data(analysis)["groups"]
        for shown in group["configurations"]
    ]
    assert sorted(drawn) == [readable(record.model.name) for record in among]
    levels = {row["data"] for row in _rows(analysis, "levels")} if among else set()
    assert levels == ({"d at 8 px"} if among else set())
    text = page.render(analysis)
    assert ('id="curves-chart"' in text) == bool(among)
    assert "sine, loss at most 0.2" in text


def test_curves_that_differ_by_their_environment_alone_are_named_by_it():
    here = run()
    kernels = _elsewhere(here, kernels="cpu: a kernel", cpu_model="another")
    name = "alexnet, small, seed 0"

    def names(*records):
        (within,) = curves_by_group(records).values()
        return list(within)

    # The kernels are enough to tell the two apart; the third needs its processor.
    assert names(here, kernels, run(seed=1)) == [
        f"{name}, kernels xla",
        f"{name}, kernels cpu: a kernel",
        "alexnet, small, seed 1",
    ]
    assert names(here, kernels, _elsewhere(here, cpu_model=None), here) == [
        f"{name}, kernels xla, a processor",
        f"{name}, kernels cpu: a kernel, another",
        f"{name}, kernels xla, processor not recorded",
        f"{name}, kernels xla, a processor (2)",
    ]


def test_the_page_charges_each_image_at_what_it_cost_by_hand():
    (group,) = page_data(analyse([run(top1=(0.4, 0.6, 0.7), segments=GROWING)]))["groups"]
    (shown,), (configuration,) = group["runs"], group["configurations"]
    # 100 images of 95 multiply-accumulates, then 200 of 150 between two evaluations.
    assert [point[1] for point in shown["curve"]] == [
        3 * 95 * 100,
        3 * (95 * 100 + 150 * 200),
        3 * (95 * 100 + 150 * 400),
    ]
    # The level is met in the second gap.
    assert configuration["at"][0]["paper"] == [3 * (95 * 100 + 150 * 100), None, None]
    assert configuration["macs"] == pytest.approx((100 * 95 + 200 * 150) / 300)


def test_averages_and_flips_are_drawn_beside_their_run_at_the_same_points():
    record = averaged(top1=(0.1, 0.2, 0.3), average=(0.1, 0.6, 0.7), level=0.5)
    flips = {"flip_top1": "max", "flip_top5": "max", "flip_loss": "min"}
    curve = [
        dataclasses.replace(
            point,
            metrics={**point.metrics, "flip_top1": 0.25, "flip_top5": 1.0, "flip_loss": 1.0},
            ema_metrics={
                **point.ema_metrics,
                "flip_top1": 0.65,
                "flip_top5": 1.0,
                "flip_loss": 1.0,
            },
        )
        for point in record.curve
    ]
    both = dataclasses.replace(
        record,
        seed=1,
        curve=tuple(curve),
        task={**record.task, "metrics": {**record.task["metrics"], **flips}},
    )
    assert records.from_json(both.to_json(), source="here") == both
    analysis = analyse([record, both, run(level=0.5)])
    average, plain = page_data(analysis)["groups"]
    assert average["label"] == "d at 8 px, 50 % top-1 (average)"
    assert (average["metric"], average["reached"]) == ("top1", 2)
    first, second = sorted(average["runs"], key=lambda shown: shown["name"])
    assert first["ways"] == {"ema_": [[0.1, 1.0], [0.6, 1.0], [0.7, 1.0]]}
    assert list(second["ways"]) == ["ema_", "flip_", "ema_flip_"]
    assert second["ways"]["flip_"] == [[0.25, 1.0]] * 3
    assert second["ways"]["ema_flip_"] == [[0.65, 1.0]] * 3
    assert plain["runs"][0]["ways"] == {}
    # The level is one of the averages: met at the second evaluation, 20 steps of 6000.
    assert average["configurations"][0]["at"][0]["xla"][0] == 90_000
