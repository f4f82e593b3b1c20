"""Factors of a sweep with their intervals, to look at."""

import itertools
import math
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, NullFormatter

from jaxeff.measure import Row
from jaxeff.report import figures
from jaxeff.report.names import readable
from jaxeff.report.tables import accuracy_of, metric_text

LONGEST_NAME = 40
"""Of a configuration in a figure, in characters: half of its width."""


def draw_factors(rows: Sequence[Row]) -> Figure:
    """How many times less compute than the reference each configuration takes.

    A panel for each data set and level. Bars are 95 % intervals, hollow marks the shortest annealed
    schedules, where they are known. Configurations without factors are left out.

    Args:
      rows: of `measure.table`.

    Raises:
      ValueError: no row has a factor.
    """
    panels = [
        list(panel)
        for _, panel in itertools.groupby(
            (row for row in rows if row.factor is not None), key=_of_panel
        )
    ]
    if not panels:
        raise ValueError("no configuration has a factor")
    sizes = [len(panel) for panel in panels]
    height = 0.24 * sum(sizes) + 0.9 * len(panels)
    figure = Figure(figsize=(6, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    subplots = figure.subplots(len(panels), squeeze=False, height_ratios=sizes)[:, 0]
    for axes, panel in zip(subplots, panels, strict=True):
        _draw(axes, panel)
    return figure


def _of_panel(row):
    return row.records[0].dataset.name, row.metric, row.level, row.reference


def _draw(axes, rows):
    dataset, metric, level, reference = _of_panel(rows[0])
    kinds = {
        "to the level": (figures.BLUE, "s", figures.BLUE, lambda row: row.factor),
        "shortest schedule": (figures.ORANGE, "o", "white", lambda row: row.budget_factor),
    }
    others = [(place, row) for place, row in enumerate(rows) if row.name != reference]
    bars = [
        (place + 0.25 * down, name, estimate)
        for down, (name, (*_, of)) in enumerate(kinds.items())
        for place, row in others
        if (estimate := of(row)) is not None
    ]
    known = [end for _, _, e in bars for end in (e.value, e.low, e.high) if _is_place(end)]
    left, right = min([1, *known]) / 1.4, max([1, *known]) * 1.4
    for place, name, estimate in bars:
        colour, marker, face, _ = kinds[name]
        if estimate.low is not None:
            low, high = max(estimate.low, left), min(estimate.high, right)
            axes.plot([low, high], [place, place], color=colour, linewidth=1.5)
            for end, at, arrow in ((estimate.low, left, "<"), (estimate.high, right, ">")):
                if not _is_place(end):  # The bar has no end.
                    axes.plot(at, place, arrow, color=colour, clip_on=False)
        if _is_place(estimate.value):
            axes.plot(estimate.value, place, marker, color=colour, markerfacecolor=face, ms=5)
    axes.axvline(1, color=figures.GREY, linewidth=0.8)
    short = _short_names([row.name for row in rows])
    names = [f"{readable(short[row.name])} ({_seeds(row)})" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    is_wide = right / left > 30  # Else a decade's name alone would say too little.
    minor = NullFormatter() if is_wide else LogFormatter(minor_thresholds=(2, 0.5))
    axes.xaxis.set_minor_formatter(minor)
    axes.tick_params(axis="x", which="both", labelsize=8)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    is_accuracy = accuracy_of(metric) is not None
    to = f"{100 * level:g} % {metric_text(metric)}" if is_accuracy else f"{metric} {level:g}"
    axes.set_title(f"{dataset}, to {to}", fontsize=9, loc="left")
    axes.set_xlabel(
        "times less training compute, XLA's count, than\n"
        + readable(short.get(reference, reference)),
        fontsize=8,
    )
    for name in dict.fromkeys(name for _, name, _ in bars):
        colour, marker, face, _ = kinds[name]
        axes.plot([], [], marker, color=colour, markerfacecolor=face, label=name)
    if bars:
        axes.legend(fontsize=7, loc="best")


def _short_names(names):
    """Of configurations, whose names are settings with hyphens between: what tells them apart.

    The model, which comes first, stays, and what not all share; of a long one both ends.
    """
    parts = [name.split("-") for name in names]
    shared = set.intersection(*map(set, parts))
    short = ["-".join([first, *(p for p in rest if p not in shared)]) for first, *rest in parts]
    if len(set(short)) < len(short):
        short = names
    half = LONGEST_NAME // 2
    return {
        name: text if len(text) <= LONGEST_NAME else f"{text[:half]}…{text[1 - half :]}"
        for name, text in zip(names, short, strict=True)
    }


def _is_place(end):
    return end is not None and 0 < end < math.inf


def _seeds(row):
    seeds, missed = row.train_flops.seeds, row.train_flops.missed
    return f"{missed} of {seeds} missed" if missed else f"{seeds} seeds"
