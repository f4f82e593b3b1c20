"""The picture of factors says what the table says."""

import dataclasses
import math

import pytest

from jaxeff import measure
from jaxeff.report.factor_figure import draw_factors
from tests.records import example


def _rows(curves, level=0.5):
    made = {
        model: [example.run(model, curve, seed=seed, scale=scale) for seed in range(3)]
        for model, (curve, scale) in curves.items()
    }
    return measure.table(made, "alexnet", level, "top1")


def _bars(figure):
    (axes,) = figure.axes
    return [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]


def test_a_factor_is_drawn_with_its_interval_at_its_row():
    rows = _rows({"alexnet": ((0.2, 0.4, 0.6), 4), "other": ((0.2, 0.6), 1)})
    figure = draw_factors(rows)
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"{row.name} (3 seeds)" for row in rows]
    place = [row.name for row in rows].index("other")
    factor = rows[place].factor
    drawn = [line for line in axes.lines if list(line.get_ydata()) == [place, place]]
    assert list(drawn[0].get_xdata()) == pytest.approx([factor.low, factor.high])
    marks = [line for line in axes.lines if list(line.get_ydata()) == [place]]
    assert [list(line.get_xdata()) for line in marks] == [[factor.value]]
    assert "than alexnet" in axes.get_xlabel()


def test_a_configuration_that_never_got_there_has_an_arrow_and_no_mark():
    rows = _rows({"alexnet": ((0.2, 0.6), 1), "never": ((0.2, 0.3), 1)})
    (never,) = [row for row in rows if row.name == "never"]
    assert never.factor.value == 0
    (axes,) = draw_factors(rows).axes
    place = rows.index(never)
    marks = [line for line in axes.lines if list(line.get_ydata()) == [place]]
    assert [line.get_marker() for line in marks] == ["<"]
    assert "never (3 of 3 missed)" in [label.get_text() for label in axes.get_yticklabels()]


def test_each_level_has_a_panel_and_rows_without_factors_none():
    curves = {"alexnet": ((0.2, 0.4, 0.6), 4), "other": ((0.2, 0.6), 1)}
    both = [*_rows(curves, 0.4), *_rows(curves, 0.5)]
    assert [axes.get_title(loc="left") for axes in draw_factors(both).axes] == [
        "d, to top1 0.4",
        "d, to top1 0.5",
    ]
    with pytest.raises(ValueError, match="no configuration has a factor"):
        draw_factors([dataclasses.replace(row, factor=None) for row in both])


def test_bars_and_marks_lie_within_the_axis():
    curves = {"alexnet": ((0.2, 0.4, 0.6), 40), "other": ((0.2, 0.6), 1), "n": ((0.2, 0.3), 1)}
    figure = draw_factors(_rows(curves))
    left, right = figure.axes[0].get_xlim()
    for ends in _bars(figure):
        assert all(math.isnan(end) or left <= end <= right for end in ends)
