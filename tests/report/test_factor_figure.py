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
    assert names == [f"{name} (3 seeds)" for name in ("AlexNet", "other")]
    place = [row.name for row in rows].index("other")
    factor = rows[place].factor
    drawn = [line for line in axes.lines if list(line.get_ydata()) == [place, place]]
    assert list(drawn[0].get_xdata()) == pytest.approx([factor.low, factor.high])
    marks = [line for line in axes.lines if list(line.get_ydata()) == [place]]
    assert [list(line.get_xdata()) for line in marks] == [[factor.value]]
    assert "than\nAlexNet" in axes.get_xlabel()


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
        "d, to 40 % top-1",
        "d, to 50 % top-1",
    ]
    with pytest.raises(ValueError, match="no configuration has a factor"):
        draw_factors([dataclasses.replace(row, factor=None) for row in both])


def test_configurations_are_called_by_what_tells_them_apart(recwarn):
    shared = "d-targettop1_0.58-eval_every0.25-image_size64-cachememory"
    names = (f"resnet18-{shared}-slow", f"resnet18-{shared}-fast", f"vgg11-{shared}-fast")
    made = {
        name: [example.run("alexnet", (0.2,) * i + (0.6,), seed=seed) for seed in range(3)]
        for i, name in enumerate(names, 1)
    }
    figure = draw_factors(measure.table(made, names[0], 0.5, "top1"))
    (axes,) = figure.axes
    shown = {label.get_text().removesuffix(" (3 seeds)") for label in axes.get_yticklabels()}
    assert shown == {"ResNet-18-slow", "ResNet-18-fast", "VGG-11-fast"}
    assert axes.get_xlabel().endswith("than\nResNet-18-slow")
    long = {f"{'n' * 90}{i}": made[name] for i, name in enumerate(names)}
    figure = draw_factors(measure.table(long, f"{'n' * 90}0", 0.5, "top1"))
    figure.draw_without_rendering()
    assert len({label.get_text() for label in figure.axes[0].get_yticklabels()}) == 3
    assert figure.axes[0].get_window_extent().width > 0.3 * figure.canvas.get_width_height()[0]
    assert not recwarn.list


def test_bars_and_marks_lie_within_the_axis():
    curves = {"alexnet": ((0.2, 0.4, 0.6), 40), "other": ((0.2, 0.6), 1), "n": ((0.2, 0.3), 1)}
    figure = draw_factors(_rows(curves))
    left, right = figure.axes[0].get_xlim()
    for ends in _bars(figure):
        assert all(math.isnan(end) or left <= end <= right for end in ends)
