"""What comes with the package, and what README says of it."""

import pathlib

import pytest

from jaxeff.measure import known, known_spread
from jaxeff.measure.table import COLUMNS

README = pathlib.Path(__file__).parents[2] / "README.md"


def test_the_rows_have_the_columns_of_a_sweep_and_every_number_its_seeds_and_level():
    rows = known.known_rows()
    assert rows
    for row in rows:
        assert tuple(row) == COLUMNS
        assert row["seeds"]
        assert row["level"]
        assert row["reference"]
        assert row["git_commit"] not in ("", "None")
        low, value, high = (float(row[f"train_flops{end}"]) for end in ("_low", "", "_high"))
        assert low <= value <= high


def test_the_table_in_the_readme_is_made_of_them():
    assert known.as_markdown() in README.read_text(encoding="utf-8")


def test_the_spread_of_one_run_is_the_deviation_of_its_kind():
    row = known.known_rows()[0]
    found = known_spread(row["model"], row["dataset"])
    assert found.relative == pytest.approx(float(row["spread_of_one_run"]))
    assert found.seeds == len(row["seeds"].split()) - int(row["missed"])
    assert f"{found.relative:.0%}" in found.text()
    assert known_spread("no_such_model", row["dataset"]) is None
    assert known_spread(row["model"], "no_such_data") is None
