"""What comes with the package, and what README says of it."""

import dataclasses
import math
import pathlib

import pytest

from jaxeff import data
from jaxeff.errors import UsageError
from jaxeff.measure import known, known_spread
from tests.records import example

ROOT = pathlib.Path(__file__).parents[2]
PAGES = {"cifar10-jpeg": ROOT / "README.md", "digits": ROOT / "docs" / "measured.md"}


def test_every_number_has_its_seeds_its_level_and_lies_in_its_interval():
    rows = known.known_rows()
    assert rows
    for row in rows:
        assert row.reference
        assert row.level == known.known_levels()[row.records[0].dataset.name]["level"]
        for estimate in (row.train_flops, row.epochs, row.factor):
            if estimate.low is not None:
                assert estimate.low <= estimate.value <= estimate.high
        assert (row.train_flops.low is None) == (row.train_flops.seeds < 3)


@pytest.mark.parametrize("dataset", PAGES)
def test_the_tables_in_the_readme_and_the_docs_are_made_of_the_records(dataset):
    rows = [row for row in known.known_rows() if row.records[0].dataset.name == dataset]
    assert len({row.records[0].model.name for row in rows}) == 16
    assert known.as_markdown(rows) in PAGES[dataset].read_text(encoding="utf-8")


def test_the_level_of_the_digits_is_the_one_that_was_found():
    found = known.known_levels()["digits"]
    assert data.load("digits").target == f"{found['metric']}:{found['level']:g}"
    assert data.load("digits").fingerprint == found["fingerprint"]
    at_level = next(c for c in found["candidates"] if c["level"] == found["level"])
    assert at_level["reached"] >= 0.95 * found["seeds"]


def test_the_spread_of_one_run_is_the_deviation_of_its_kind():
    row = next(row for row in known.known_rows() if row.spread is not None)
    first = row.records[0]
    another = dataclasses.replace(first, seed=99, curve=())
    found = known_spread(another)
    assert found.relative == row.spread
    assert found.seeds == row.train_flops.seeds - row.train_flops.missed
    assert f"{found.relative:.0%}" in found.text()


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("model", {"name": "no_such_model"}),
        ("model", {"source": "0" * 64}),
        ("model", {"args": {"width": 0.5}}),
        ("dataset", {"fingerprint": "0" * 64}),
        ("recipe", {"lr": 0.123}),
        ("recipe", {"name": "paper"}),
        ("recipe", {"epochs": 3.0}),
        ("task", {"image_size": 32}),
    ],
)
def test_the_spread_of_another_kind_is_not_known(part, changes):
    first = next(row for row in known.known_rows() if row.spread is not None).records[0]
    was = getattr(first, part)
    new = was | changes if isinstance(was, dict) else dataclasses.replace(was, **changes)
    assert known_spread(first) is not None
    assert known_spread(dataclasses.replace(first, **{part: new})) is None


def test_a_table_of_runs_worked_by_hand():
    def runs(model, evaluation, scale):
        curve = (0.1,) * (evaluation - 1) + (0.6, 0.9)
        return {
            f"{model}-s{seed}": example.run(model, curve, seed=seed, scale=scale, level=0.8)
            for seed in range(3)
        }

    made = runs("alexnet", 8, 4) | runs("shufflenet_v2", 4, 1)
    levels = {"d": {"metric": "top1", "level": 0.5, "reference": "alexnet"}}
    alexnet, other = known.rows_of(made, levels)
    assert (alexnet.level, alexnet.reference) == (0.5, "alexnet")
    # To 0.5, not to the runs' own 0.8: seven to eight evaluations of 4 x 60 000, three to four.
    assert other.factor.value == pytest.approx(4 * 7.5 / 3.5)
    text = known.as_markdown([alexnet, other]).splitlines()
    assert text[0] == "d at 8 px, to top1:0.5:"
    assert "| alexnet | 3 |" in text[4]
    assert "the reference" in text[4]
    assert "| 8.57 (" in text[5]
    assert "shortest" not in text[2], "no budget is known"
    missed = {name: dataclasses.replace(run, status="completed") for name, run in made.items()}
    (never, *_) = known.rows_of(missed, {"d": levels["d"] | {"level": 0.95}})
    assert math.isinf(never.train_flops.value)
    assert "3, 3 missed | never" in known.as_markdown([never])


def test_runs_by_another_recipe_than_the_reference_have_rows_of_their_own():
    def runs(model, recipe, evaluation):
        made = (
            example.run(model, (0.1,) * (evaluation - 1) + (0.6,), seed=s, level=0.5)
            for s in range(3)
        )
        return {
            f"{model}-{recipe}-s{run.seed}": dataclasses.replace(
                run, recipe={**run.recipe, "name": recipe}
            )
            for run in made
        }

    levels = {"d": {"metric": "top1", "level": 0.5, "reference": "alexnet"}}
    made = runs("alexnet", "small", 9) | runs("vgg11", "small", 7) | runs("vgg11", "paper", 4)
    rows = {row.name: row for row in known.rows_of(made, levels)}
    assert set(rows) == {"alexnet", "vgg11", "vgg11, paper"}
    assert rows["vgg11, paper"].factor.value == pytest.approx(8.5 / 3.5)
    assert rows["vgg11"].factor.value == pytest.approx(8.5 / 6.5)
    assert "| vgg11, paper | 3 |" in known.as_markdown(list(rows.values()))


def test_the_same_runs_are_read_at_another_level():
    own, harder = known.known_rows(), known.rows_to("top1", 0.95)
    assert {row.level for row in harder} == {0.95}
    digits = {row.name: row for row in own if row.records[0].dataset.name == "digits"}
    assert {row.name for row in harder} == set(digits), "those on CIFAR-10 stopped before"
    for row in harder:
        assert row.train_flops.value >= digits[row.name].train_flops.value
        assert row.budget is None
    with pytest.raises(UsageError, match=r"top1:0\.99.*digits to top1:0\.95"):
        known.rows_to("top1", 0.99)


def test_a_search_for_another_level_says_nothing_of_this_one():
    def searched(level):
        run = example.run("alexnet", (0.9,), level=level)
        recipe = {**run.recipe, "epochs": 2.0, "eval_every": 4.0}
        command = f"{run.command} --nostop_at_target"
        return dataclasses.replace(run, recipe=recipe, status="completed", command=command)

    crossed = example.run("alexnet", (0.4, 0.9), level=0.5)
    levels = {"d": {"metric": "top1", "level": 0.5, "reference": "alexnet"}}
    (found,) = known.rows_of({"a": crossed, "b": searched(0.5)}, levels)
    assert found.budget.lengths == [(2.0, 1, 1)]
    (other,) = known.rows_of({"a": crossed, "b": searched(0.8)}, levels)
    assert other.budget is None
