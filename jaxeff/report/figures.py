"""The paper's Figures 2 to 5, Figure 3 of measured runs, and the factor by level, for print.

They are as wide as one column of a two-column article, with letters of 6 points and more at that
width, and for colour-blind readers too: colours are Okabe and Ito's, and markers or line styles
repeat whatever a colour says.
"""

import dataclasses
import io
import math
import textwrap

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import YearLocator
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jaxeff import measure
from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.report import publications, published, schedules, trends
from jaxeff.report.analysis import Analysis
from jaxeff.report.measured import one_a_network
from jaxeff.report.names import readable
from jaxeff.report.tables import metric_text

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#8a8a8a"
_CYCLE = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
_MARKS = "osD^vP*X"
MOST_CONFIGURATIONS = 6
"""Of a figure; more would hide one another."""

COLUMN_INCHES = 3.3
DOTS_PER_INCH = 300
_STYLE = {
    "font.size": 7, "axes.titlesize": 8, "axes.labelsize": 7, "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5, "legend.fontsize": 6.5, "axes.linewidth": 0.6, "lines.linewidth": 1.2,
    "lines.markersize": 3.5, "grid.linewidth": 0.4, "xtick.major.width": 0.6,
    "ytick.major.width": 0.6, "ytick.minor.width": 0.4, "hatch.linewidth": 0.6,
    "legend.frameon": False,
}  # fmt: skip
_styled = matplotlib.rc_context(_STYLE)

KINDS = ("png", "svg", "pdf")
"""Endings of the files of a figure."""


def render(figure: Figure) -> tuple[bytes, ...]:
    """The files of a figure, in the order of `KINDS`. The same figure gives the same bytes."""
    figure.draw_without_rendering()
    # Laid out once for all.
    figure.set_layout_engine("none")
    files = []
    fonts = {"svg.hashsalt": "jaxeff", "svg.fonttype": "none", "pdf.fonttype": 42}
    dateless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context(fonts):
        for kind in KINDS:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=dateless.get(kind))
            files.append(buffer.getvalue())
    return tuple(files)


def draw(analysis: Analysis) -> dict[str, Figure]:
    """All figures, by file name; those of measured runs alone where there are any."""
    figures = {
        "figure2": schedule(analysis),
        "figure3": frontier(analysis),
        "figure3_measured": measured_frontier(analysis),
        "figure4": learning_curves(analysis),
        "figure5": effective_compute(analysis.effective),
        "factor_by_level": factor_by_level(analysis),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _figure(height):
    size = COLUMN_INCHES, height
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(text):
    """Escapes dollar signs, which would start a formula."""
    return text.replace("$", r"\$")


def _title(axes, text):
    axes.set_title(textwrap.fill(_plain(text), 46), loc="left")


def _legend(figure, columns=2):
    """Below the axes, where it takes no room from the curves: the figure grows with long names."""
    labels = [text for axes in figure.axes for text in axes.get_legend_handles_labels()[1]]
    rows = [labels[i : i + columns] for i in range(0, len(labels), columns)]
    further = sum(max(label.count("\n") for label in row) for row in rows)
    further += sum(max(0, axes.get_title(loc="left").count("\n") - 2) for axes in figure.axes)
    figure.set_figheight(figure.get_figheight() + 0.16 * further)
    figure.legend(loc="outside lower left", ncols=columns, handlelength=2.2, columnspacing=1)


@_styled
def schedule(analysis: Analysis) -> Figure:
    """Figure 2: a rate that falls smoothly beside one that falls in steps.

    The rates are formulas. Learning curves, medians over runs between the least and the greatest,
    are drawn where one model has records of both recipes.
    """
    pair = next(iter(schedules.pairs(analysis.results)), None)
    figure = _figure(3.6 if pair else 2.5)
    axes = figure.subplots(2 if pair else 1, 1, squeeze=False)[:, 0]
    epochs = [e / 10 for e in range(901)]
    kinds = (
        ("smooth: 0.1 x 1000^(-epoch / 90)", [0.1 * 1000 ** (-e / 90) for e in epochs], BLUE, "-"),
        ("a tenth every 30 epochs", [0.1 * 0.1 ** (e // 30) for e in epochs], ORANGE, "--"),
    )
    for label, values, colour, dash in kinds:
        axes[-1].plot(epochs, values, dash, color=colour, label=label, linewidth=1.5)
    axes[-1].set(yscale="log", xlabel="epoch", ylabel="learning rate (formula)")
    if pair is None:
        _title(axes[0], "The paper's schedule, and the usual one (formulas, not measured)")
    else:
        for result, (_, _, colour, dash) in zip((pair.smooth, pair.steps), kinds, strict=True):
            points = schedules.accuracy_by_epoch(result, pair.group.metric)
            at, *values = zip(*points, strict=True)
            median, least, greatest = ([100 * value for value in column] for column in values)
            axes[0].plot(at, median, dash, color=colour)
            axes[0].fill_between(at, least, greatest, color=colour, alpha=0.2, linewidth=0)
        axes[0].axhline(100 * pair.group.level, color=GREY, linestyle=":")
        axes[0].set(ylabel=f"accuracy, % {metric_text(pair.group.metric)}", xlabel="epoch")
        _title(axes[0], pair.finding)
    _legend(figure, columns=1)
    return figure


@_styled
def frontier(analysis: Analysis) -> Figure:
    """Figure 3: compute to AlexNet level by date of publication, the frontier in colour."""
    points = analysis.conventions["printed"]
    best = trends.frontier(points)
    factor = best[0].compute / best[-1].compute
    fit, line = trends.doublings(points)[0], trends.fitted_line(best)
    figure = _figure(3.2)
    axes = figure.subplots()
    days = [[value / TERAFLOP_S_DAY for value in ends] for ends in (line.low, line.high)]
    axes.fill_between(line.dates, *days, color=BLUE, alpha=0.12, linewidth=0)
    axes.plot(
        line.dates, [value / TERAFLOP_S_DAY for value in line.compute], ":", color=BLUE,
        linewidth=0.9, label="fitted line, 95 % band",
    )  # fmt: skip
    rest = [point for point in points if point not in best]
    axes.plot(
        [p.published for p in rest], [p.compute / TERAFLOP_S_DAY for p in rest],
        linestyle="none", marker="o", color=GREY, label="other models",
    )  # fmt: skip
    axes.plot(
        [p.published for p in best], [p.compute / TERAFLOP_S_DAY for p in best],
        marker="D", color=BLUE, label="best of their time",
    )  # fmt: skip
    _name_points(axes, rest, "#555555")
    _name_points(axes, best, BLUE)
    measured = [
        point
        for group, within in analysis.results.items()
        if (group.dataset, group.metric, group.level) == ("imagenet2012", "top5", 0.791)
        for point in _measured_points(within)
    ]
    if measured:
        points, below, above = zip(*measured, strict=True)
        axes.errorbar(
            [p.published for p in points], [p.compute / TERAFLOP_S_DAY for p in points],
            yerr=(below, above), capsize=2, ecolor="black", elinewidth=0.8,
            linestyle="none", marker="*", color=ORANGE, markeredgecolor="black", markersize=7,
            markeredgewidth=0.5, label="measured with jaxeff, median",
        )  # fmt: skip
    others = [point for metric, point in analysis.imported if metric == "AlexNet"]
    if others:
        axes.plot(
            [p.published for p in others], [p.compute / TERAFLOP_S_DAY for p in others],
            linestyle="none", marker="s", markerfacecolor="none", color=GREEN, markersize=5,
            label="imported",
        )  # fmt: skip
        _name_points(axes, others, GREEN)
    axes.set(yscale="log", ylabel="training compute, teraflop/s-days (3 x MACs)")
    axes.set_xlabel("publication of the architecture")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: _one_two_five(value)))
    axes.xaxis.set_major_locator(YearLocator(2 if others or measured else 1))
    axes.margins(x=0.2, y=0.1)
    axes.grid(True, which="major", alpha=0.25)
    _legend(figure)
    years = trends.months_between(best[0].published, best[-1].published) / 12
    _title(
        axes,
        f"{factor:.0f} times less compute to AlexNet's accuracy in {years:.0f} years: it halves "
        f"every {fit.months:.0f} months (95 %: {fit.low:.0f} to {fit.high:.0f})",
    )
    return figure


# The offset of each name from its marker, in points, and its alignment: above it where none is
# given here.
_OFFSETS = {
    "AlexNet": (3, 4, "left"),
    "VGG-11": (5, -2, "left"),
    "Wide ResNet-50": (5, -2, "left"),
    "ResNet-34": (-2, 5, "left"),
    "ResNet-50": (-5, 0, "right"),
    "ResNet-18": (-5, -5, "right"),
    "ResNeXt-50": (5, -1, "left"),
    "DenseNet-121": (5, -3, "left"),
    "SqueezeNet 1.1": (2, -9, "left"),
    "GoogLeNet": (-4, -8, "right"),
    "MobileNet v1": (3, 3.5, "left"),
    "MobileNet v2": (5, -2, "left"),
    "ShuffleNet v2 1.5x": (5, -2, "left"),
    "ShuffleNet v1": (-5, -7, "right"),
    "ShuffleNet v2": (5, -2, "left"),
    "EfficientNet-b0": (-5, -5, "right"),
}


# Where measured runs put them elsewhere.
_MEASURED_OFFSETS = _OFFSETS | {
    "GoogLeNet": (5, -2, "left"),
    "MobileNet v2": (4, 5, "left"),
    "ResNet-34": (5, -2, "left"),
    "SqueezeNet 1.1": (-4, -9, "right"),
}


def _name_points(axes, points, colour, offsets=_OFFSETS):
    for point in points:
        name = readable(point.model)
        across, up, alignment = offsets.get(name, (0, 5, "center"))
        axes.annotate(
            _plain(name),
            (point.published, point.compute / TERAFLOP_S_DAY),
            xytext=(across, up),
            textcoords="offset points",
            ha=alignment,
            fontsize=6,
            color=colour,
        )


def _measured_points(within):
    """Of results that got there: the median, and its error bar's lengths in teraflop/s-days."""
    found = []
    for result in within:
        date, estimate = publications.date_of(result.first), result.estimate("paper")
        if date is None or estimate is None or not math.isfinite(estimate.value):
            continue
        low, high = result.bar(estimate) or (estimate.value, estimate.value)
        # An end that nothing bounds is not drawn.
        high = estimate.value if math.isinf(high) else high
        point = trends.Point(result.name, date, estimate.value)
        below, above = estimate.value - low, high - estimate.value
        found.append((point, below / TERAFLOP_S_DAY, above / TERAFLOP_S_DAY))
    return found


def _networks(compared):
    """One result of each network, called by it alone where no other is of the same."""
    base = compared.base or compared.shipped_base
    every = [profile.result for profile in compared.profiles]
    results = one_a_network(every, None if base is None else base.result)
    models = [result.key.model for result in results]
    return [
        dataclasses.replace(result, name=result.key.model)
        if models.count(result.key.model) == 1
        else result
        for result in results
    ]


@_styled
def measured_frontier(analysis: Analysis) -> Figure | None:
    """Figure 3 of measured runs: medians with 95 % intervals, by date of publication.

    Of the group that Figure 4 shows too, each network by one recipe; None where fewer than two
    networks with a date got there.
    """
    compared = _shown(analysis)
    results = [] if compared is None else _networks(compared)
    measured = _measured_points(results)
    if len(measured) < 2:
        return None
    best = trends.frontier([point for point, _, _ in measured])
    others = [each for each in measured if each[0] not in best]
    ahead = sorted((e for e in measured if e[0] in best), key=lambda each: each[0].published)
    figure = _figure(3.2)
    axes = figure.subplots()
    for drawn, colour, of_text, marker, line, label in (
        (others, GREY, "#555555", "o", "", "other models"),
        (ahead, BLUE, BLUE, "D", "-", "best of their time"),
    ):
        axes.errorbar(
            [p.published for p, _, _ in drawn], [p.compute / TERAFLOP_S_DAY for p, _, _ in drawn],
            yerr=[[below for _, below, _ in drawn], [above for _, _, above in drawn]],
            color=colour, marker=marker, linestyle=line, elinewidth=0.8, capsize=1.5,
            label=f"{label}, median",
        )  # fmt: skip
        _name_points(axes, [point for point, _, _ in drawn], of_text, _MEASURED_OFFSETS)
    axes.set(yscale="log", ylabel="training compute, teraflop/s-days (3 x MACs)")
    axes.set_xlabel("publication of the architecture")
    axes.xaxis.set_major_locator(YearLocator(2))
    axes.margins(x=0.28, y=0.1)
    axes.grid(True, which="major", alpha=0.25)
    _legend(figure)
    first, last = (
        next(result for result in results if result.name == point.model)
        for point in (best[0], best[-1])
    )
    factor = measure.factor(first.crossings("paper"), last.crossings("paper"))
    missed = [readable(r.name) for r in results if not math.isfinite(r.estimate().value)]
    _title(
        axes,
        f"{compared.group.label}: {readable(last.name)} takes {measure.factor_text(factor)} times "
        f"less than {readable(first.name)} by the paper's count"
        + (f"; never there: {', '.join(missed)}" if missed else ""),
    )
    return figure


@_styled
def learning_curves(analysis: Analysis) -> Figure:
    """Figure 4: what each accuracy takes; without records, where the paper's networks cross.

    Lines join the medians over the runs of a configuration, bands are their 95 % intervals. It
    shows ImageNet, else a group of the reader's, else that of the largest data set, and of its
    configurations the baseline and those that take least.
    """
    figure = _figure(3.0)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.grid(True, alpha=0.25)
    compared = _shown(analysis)
    if compared is None:
        _crossings(axes)
        return figure
    group = compared.group
    bases = [each for each in (compared.base, compared.shipped_base) if each is not None]
    cheapest_first = compared.profiles[::-1]
    ranked = sorted(
        cheapest_first,
        key=lambda p: (p.result.shipped, all(p is not base for base in bases)),
    )
    shown = ranked[:MOST_CONFIGURATIONS]
    for i, profile in enumerate(shown):
        medians = {
            level: median
            for level, median in sorted(profile.medians.items())
            if math.isfinite(median.value)
        }
        axes.plot(
            [median.value for median in medians.values()], [100 * level for level in medians],
            color=_CYCLE[i], marker=_MARKS[i], markersize=2,
            label=_plain(textwrap.fill(readable(profile.result.name), 30)),
        )  # fmt: skip
        known = {level: m for level, m in medians.items() if m.low is not None}
        most = max((m.value for m in medians.values()), default=1) * 3
        axes.fill_betweenx(
            [100 * level for level in known],
            [median.low for median in known.values()],
            [min(median.high, most) for median in known.values()],
            color=_CYCLE[i], alpha=0.15, linewidth=0,
        )  # fmt: skip
    axes.axhline(100 * group.level, color=GREY, linestyle=":", linewidth=0.8)
    axes.set_ylabel(f"level, % {metric_text(group.metric)}")
    axes.set_xlabel("training compute to the level, FLOPs by XLA's count")
    least = compared.profiles[-1].result if compared.profiles else None
    estimate = least and least.estimate()
    finding = (
        f"{readable(least.name)} gets there with the least compute "
        f"({'one run' if estimate.seeds == 1 else f'median of {estimate.seeds} runs'})"
        if estimate is not None and math.isfinite(estimate.value)
        else "no model gets there in most of its runs"
    )
    _title(axes, f"{group.label}: {finding}")
    _legend(figure)
    return figure


def _shown(analysis):
    """The comparison that a figure has room for; None where there is none."""
    found = [compared for compared in analysis.comparisons if compared.profiles]

    def order(compared):
        results = [profile.result for profile in compared.profiles]
        return (
            compared.group.dataset == "imagenet2012",
            any(not result.shipped for result in results),
            results[0].first.dataset.train_examples,
            sum(len(result.runs) for result in results),
        )

    return max(found, key=order, default=None)


def _crossings(axes):
    """Where the paper's networks reach the level, with their names upright beside it."""
    rows = sorted(published.alexnet_level(), key=lambda row: row.printed_compute)
    computes = [row.printed_compute / TERAFLOP_S_DAY for row in rows]
    axes.axhline(79.1, color=GREY, linestyle=":", linewidth=0.8)
    axes.plot(computes, [79.1] * len(rows), linestyle="none", marker="o", color=BLUE)
    axes.margins(x=0.08)
    # Where markers are close, a name moves along and a line leads to it.
    free = {True: -math.inf, False: -math.inf}
    for i, (row, x) in enumerate(zip(rows, computes, strict=True)):
        up = bool(i % 2)
        free[up] = place = max(math.log10(x), free[up] + 0.09)
        axes.annotate(
            readable(row.model), (x, 79.1), xytext=(10**place, 79.8 if up else 78.4),
            rotation=90, fontsize=6, ha="center", va="bottom" if up else "top",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.4},
        )  # fmt: skip
    axes.set(ylim=(74, 84), ylabel="top-5 accuracy, %")
    axes.set_xlabel("training compute, teraflop/s-days (3 x MACs)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _title(axes, "Where the sixteen cross 79.1 %: the paper prints crossings, and no curves")


@_styled
def factor_by_level(analysis: Analysis) -> Figure | None:
    """How many times less than the baseline, by level, with 95 % intervals as bands.

    It shows the group of the largest data set, ImageNet's and the reader's first, and of its
    configurations those that take the least compute to the target. None where nothing is compared
    with a baseline.
    """
    shown = _shown(analysis)
    if shown is None or not any(map(shown.factors, shown.others)):
        return None
    # The profiles come in the order of their medians, the least last; the reader's go first.
    cheapest_first = shown.others[::-1]
    others = sorted(cheapest_first, key=lambda other: other.result.shipped)
    others = [other for other in others if shown.factors(other)][:MOST_CONFIGURATIONS]
    figure = _figure(3.0)
    axes = figure.subplots()
    for i, other in enumerate(others):
        factors, colour = shown.factors(other), _CYCLE[i]
        percents = [100 * level for level in factors]
        axes.plot(
            percents, [factor.value for factor in factors.values()], color=colour,
            marker=_MARKS[i], markersize=2,
            label=_plain(textwrap.fill(readable(other.result.name), 30)),
        )  # fmt: skip
        known = {level: f for level, f in factors.items() if f.low is not None}
        axes.fill_between(
            [100 * level for level in known],
            [factor.low for factor in known.values()],
            [min(factor.high, 1e9) for factor in known.values()],
            color=colour, alpha=0.15, linewidth=0,
        )  # fmt: skip
    ends = [
        end
        for other in others
        for factor in shown.factors(other).values()
        for end in (factor.value, factor.low, factor.high)
        if end and math.isfinite(end)
    ]
    axes.set(yscale="log", ylim=(min(1, *ends) / 1.2, max(1, *ends) * 1.2))
    axes.axhline(1, color=GREY, linestyle=":", linewidth=0.8)
    axes.axvline(100 * shown.group.level, color=GREY, linestyle=":", linewidth=0.8)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: _one_two_five(value)))
    axes.set_xlabel(f"level, % {metric_text(shown.group.metric)} (dotted: the target)")
    bases = dict.fromkeys(readable(shown.base_of(other).result.name) for other in others)
    axes.set_ylabel(_plain(f"times less compute than {' or '.join(bases)}"))
    axes.grid(True, alpha=0.25)
    _title(axes, f"{shown.group.data}: the factor at every level, medians with 95 % intervals")
    _legend(figure)
    return figure


def _one_two_five(value):
    """`2` and `5` times a power of ten, and no other number: all nine would overlap."""
    text = f"{value:g}"
    return text if text.strip("0.") in ("2", "5") else ""


def _times(factor):
    """`8 times`, `37,500 times`, `7.5 million times`."""
    if factor >= 1e6:
        return f"{factor / 1e6:,.3g} million times"
    return f"{factor:,.3g} times" if factor < 1000 else f"{factor:,.0f} times"


@_styled
def effective_compute(effective) -> Figure:
    """Figure 5: what effective compute is made of."""
    figure = _figure(2.7)
    axes = figure.subplots()
    parts = (
        ("hardware\n(prices)", effective.hardware, GREY, ""),
        ("spending\n(money, time)", effective.spending, ORANGE, "//"),
        ("algorithms", effective.algorithms, BLUE, ".."),
        ("effective compute\n(the product)", effective.total, GREEN, "xx"),
    )
    start = 1.0
    for i, (_, factor, colour, hatch) in enumerate(parts):
        bottom = 1.0 if i == 3 else start
        axes.bar(i, bottom * factor - bottom, bottom=bottom, color=colour, hatch=hatch,
                 edgecolor="white", width=0.6)  # fmt: skip
        axes.annotate(
            _times(factor),
            (i, bottom * factor), xytext=(0, 2), textcoords="offset points", ha="center",
        )  # fmt: skip
        start *= factor
    axes.set_xticks(range(4), [part[0] for part in parts], fontsize=6.5)
    axes.set(yscale="log", ylim=(0.8, effective.total * 8), ylabel="growth, times")
    _title(
        axes,
        f"The largest trainings of {effective.years:g} years grew {effective.total / 1e6:.3g} "
        f"million times in effect: {effective.compute_growth:,.0f} times the operations, each "
        f"worth {effective.algorithms:g} times as much",
    )
    return figure
