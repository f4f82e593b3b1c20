"""The paper's order beside one whose places are known."""

import dataclasses

import pytest

from jaxeff.report import measured, order, published
from tests.records import example

MODELS = {"vgg11": 9, "alexnet": 6, "resnet18": 5, "shufflenet_v2": 2}


def _found(models=MODELS, seeds=3):
    curves = {model: (0.1,) * (n - 1) + (0.6,) for model, n in models.items()}
    records = [
        example.run(model, curve, seed=seed)
        for model, curve in curves.items()
        for seed in range(seeds)
    ]
    return measured.results(records)


def _rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_networks_stand_in_the_papers_order_with_both_places_and_factors():
    table = order.table(_found())
    rows = _rows(table)
    assert [row["model"] for row in rows] == list(MODELS)
    assert [row["the paper's place"] for row in rows] == [4, 3, 2, 1]
    assert [row["place here"] for row in rows] == [4, 3, 2, 1]
    printed = {row.our_name: row.printed_compute for row in published.alexnet_level()}
    assert rows[1]["times less, the paper"] == 1
    assert rows[1]["times less, here"] is None, "AlexNet is what the others are compared with"
    last = rows[-1]
    assert last["times less, the paper"] == printed["alexnet"] / printed["shufflenet_v2"]
    # Crossings lie in the middle of the evaluations' gaps.
    assert last["times less, here"] == pytest.approx(5.5 / 1.5)
    assert last["here over the paper"] == pytest.approx(5.5 / 1.5 / last["times less, the paper"])
    assert "1.00 (1.00 to 1.00; 4 networks)" in table.how


def test_another_order_has_another_coefficient_and_others_networks_are_left_out():
    reversed_ = dict(zip(MODELS, reversed(MODELS.values()), strict=True)) | {"my_net": 3}
    table = order.table(_found(reversed_, seeds=2))
    assert [row["place here"] for row in _rows(table)] == [1, 2, 3, 4]
    assert "-1.00 (no interval below three seeds; 4 networks)" in table.how


def test_networks_of_too_few_seeds_are_in_the_order_and_out_of_its_interval():
    curves = {model: (0.1,) * (n - 1) + (0.6,) for model, n in MODELS.items()}
    records = [
        example.run(model, curve, seed=seed)
        for model, curve in curves.items()
        for seed in range(1 if model == "shufflenet_v2" else 3)
    ]
    table = order.table(measured.results(records))
    assert len(table.rows) == 4
    assert (
        "1.00 (no interval below three seeds; 4 networks), of those with three seeds or more "
        "1.00 (1.00 to 1.00; 3 networks)" in table.how
    )


def test_networks_are_compared_by_the_recipe_of_the_baseline():
    def by(recipe, curves):
        made = [
            example.run(model, curve, seed=seed)
            for model, curve in curves.items()
            for seed in range(3)
        ]
        return [dataclasses.replace(r, recipe={**r.recipe, "name": recipe}) for r in made]

    curves = {model: (0.1,) * (n - 1) + (0.6,) for model, n in MODELS.items()}
    quick = {"resnet18": (0.6,), "vgg16": (0.6,)}  # The other recipe takes one evaluation.
    rows = _rows(order.table(measured.results([*by("small", curves), *by("quick", quick)])))
    assert [row["model"] for row in rows] == list(MODELS)
    assert [row["place here"] for row in rows] == [4, 3, 2, 1]
    # A network that has no other runs stands there by those.
    del curves["shufflenet_v2"]
    quick = {"shufflenet_v2": (0.6,)}
    rows = _rows(order.table(measured.results([*by("small", curves), *by("quick", quick)])))
    assert [row["model"] for row in rows] == list(MODELS)


def test_two_networks_have_no_order():
    assert order.table(_found({"alexnet": 4, "vgg11": 5})).rows == ()


def test_networks_that_all_miss_have_no_order():
    records = [example.run(model, (0.1, 0.2), seed=seed) for model in MODELS for seed in range(3)]
    table = order.table(measured.results(records))
    assert "not known, since all 4 networks have the same place" in table.how
