import sys

import pytest

from tests.launch.commands import ROOT

sys.path.append(str(ROOT / "launch"))

import tables

ROWS = [["a_network_of_ones_own_with_a_name_of_forty", "1,234,567.8"], ["alexnet", "0.5"]]


@pytest.mark.parametrize("columns", ["20", "80"])
def test_nothing_is_cut_on_a_narrow_terminal(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    tables.show({"model": "all", "training\nFLOPs": "7"}, ROWS, "What it costs")
    printed = capsys.readouterr().out
    assert "…" not in printed
    title, _, header, rule, *lines = printed.splitlines()
    assert title.strip() == "What it costs"
    assert header.split() == ["model", "FLOPs"]
    assert set(rule) == {"─"}
    assert [line.split() for line in lines[:2]] == ROWS
    assert ["all", "7"] in [line.split() for line in lines]
    assert (f"has {len(rule)} columns: widen the terminal" in printed) == (columns == "20")


def test_hours_below_a_tenth_are_minutes():
    values = (None, 1 / 3600, 0.0251, 0.1, 1.234, 56.78, 1234.5)
    shown = ["-", "0.017 min", "1.5 min", "0.1", "1.23", "56.8", "1,234"]
    assert [tables.hours(value) for value in values] == shown
