"""Budgets beside crossings, of runs whose shortest sufficient schedule is known."""

import dataclasses

import pytest

from jaxeff.report.analysis import analyse, curves_by_group
from tests.records.example import run

FLOPS = 60_000  # of ten steps, an epoch, of a model with scale 1


def _searched(model, needs, scale):
    """Runs of each seed through schedules of 1 to 16 epochs; a seed needs so many epochs."""
    runs = []
    for seed, epochs in enumerate(needs):
        for length in (1, 2, 3, 4, 5, 6, 8, 16):
            made = run(model, (0.1,) * (length - 1) + (0.9 if length >= epochs else 0.2,),
                       seed=seed, scale=scale)  # fmt: skip
            recipe = {**made.recipe, "epochs": length, "eval_every": 2 * length}
            last = dataclasses.replace(made.curve[-1], epoch=length)
            over = {"status": "completed", "command": f"{made.command} --nostop_at_target"}
            runs.append(dataclasses.replace(made, recipe=recipe, curve=(last,), **over))
    return runs


def _crossed(model, evaluation, scale):
    runs = [
        run(model, (0.1,) * (evaluation - 1) + (0.6,), seed=seed, scale=scale) for seed in range(3)
    ]
    return [dataclasses.replace(r, recipe={**r.recipe, "epochs": 20.0}) for r in runs]


def test_a_budget_stands_beside_the_crossing_and_says_what_of_the_factor_was_schedule():
    records = [
        *_searched("alexnet", (5, 5, 5), scale=4),
        *_searched("shufflenet_v2", (3, 3, 3), scale=1),
        *_crossed("alexnet", 16, scale=4),
        *_crossed("shufflenet_v2", 4, scale=1),
    ]
    made = analyse(records)
    (table,) = [table for table in made.tables if table.name == "budgets"]
    rows = {row[1]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    # Alike seeds lie in the middle of their gap: 4 to 5 epochs of 4 x 60 000, and 2 to 3.
    assert rows["alexnet"]["budget, epochs"] == pytest.approx(4.5)
    assert rows["alexnet"]["budget, XLA FLOPs"] == pytest.approx(4 * 4.5 * FLOPS)
    found = rows["shufflenet_v2"]
    assert found["budget, XLA FLOPs"] == pytest.approx(2.5 * FLOPS)
    assert found["times less, by budget"] == pytest.approx(4 * 4.5 / 2.5)
    assert found["times less, by crossing"] == pytest.approx(4 * 15.5 / 3.5)
    schedule = (4 * 15.5 / 3.5) / (4 * 4.5 / 2.5)
    assert found["of the latter, schedule"] == pytest.approx(schedule)
    assert found["crossing over budget"] == pytest.approx(3.5 / 2.5)
    assert found["epochs that end at the level"].startswith("1: 0 of 3, 2: 0 of 3, 3: 3 of 3")
    assert (found["seeds"], found["never got there"]) == (3, 0)
    # Runs of a search are no crossings, and have no curve to draw.
    (measured,) = [table for table in made.tables if table.name == "measured"]
    assert len(measured.rows) == 2
    assert sum(map(len, curves_by_group(records).values())) == 6


def test_without_a_search_there_is_no_such_table():
    made = analyse(_crossed("alexnet", 4, scale=1))
    assert "budgets" not in {table.name for table in made.tables}


def test_both_factors_are_from_one_configuration():
    def by(name, runs):
        return [dataclasses.replace(r, recipe={**r.recipe, "name": name}) for r in runs]

    records = [
        *by("small", _searched("alexnet", (4, 4, 4), scale=1) + _crossed("alexnet", 10, scale=1)),
        *by("fast", _searched("alexnet", (5, 5, 5), scale=1) + _crossed("alexnet", 5, scale=1)),
        *_searched("resnet18", (2, 2, 2), scale=1),
        *_crossed("resnet18", 5, scale=1),
    ]
    (table,) = [table for table in analyse(records).tables if table.name == "budgets"]
    rows = {(row[1], row[3]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    found = rows["resnet18", "small"]
    assert found["times less, by budget"] == pytest.approx(3.5 / 1.5)
    assert found["times less, by crossing"] == pytest.approx(9.5 / 4.5)
    assert found["of the latter, schedule"] == pytest.approx((9.5 / 4.5) / (3.5 / 1.5))
