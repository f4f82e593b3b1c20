"""The paper's Figures 2 to 5, and the factor by level, for print and for colour-blind readers.

Colours are Okabe and Ito's; markers or line styles repeat whatever a colour says.
"""

import io
import math
import re
import textwrap
from collections.abc import Sequence

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import YearLocator
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.records import Record
from jaxeff.report import publications, published, trends
from jaxeff.report.analysis import Analysis, curves_by_group
from jaxeff.report.tables import metric_text, runs_text

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#8a8a8a"
_CYCLE = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
_MARKS = "osD^vP*X"
# More curves would hide one another.
MOST_CURVES = 16
MOST_BANDS = 5


def render(figure: Figure) -> dict[str, bytes]:
    """PNG, SVG and PDF of a figure, by their endings. The same figure gives the same bytes."""
    figure.draw_without_rendering()
    # Laid out once for the three.
    figure.set_layout_engine("none")
    files = {}
    fonts = {"svg.hashsalt": "jaxeff", "svg.fonttype": "none", "pdf.fonttype": 42}
    dateless = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context(fonts):
        for kind, metadata in dateless.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            files[kind] = buffer.getvalue()
    return files


def draw(analysis: Analysis) -> dict[str, Figure]:
    """All figures, by file name; the factor by level where there is one."""
    figures = {
        "figure2": schedules(analysis.every_record),
        "figure3": frontier(analysis),
        "figure4": learning_curves(analysis),
        "figure5": effective_compute(analysis.effective),
    }
    by_level = factor_by_level(analysis)
    return figures if by_level is None else figures | {"factor_by_level": by_level}


def _figure(width=8.0, height=5.0):
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(text):
    """Escapes dollar signs, which would start a formula."""
    return text.replace("$", r"\$")


def schedules(records: Sequence[Record]) -> Figure:
    """Figure 2: a rate that falls smoothly reaches the level earlier than one that falls in steps.

    The rates are formulas. Learning curves are drawn where ResNet-50 has records of both recipes.
    """
    pair = {}
    for within in curves_by_group(records).values():
        found = {
            record.recipe["name"]: record
            for record in within.values()
            if record.model.name == "resnet50"
        }
        if {"paper", "paper_step"} <= set(found):
            pair = found
    figure = _figure(8, 5.5 if pair else 4)
    axes = figure.subplots(2 if pair else 1, 1, sharex=True, squeeze=False)[:, 0]
    epochs = [e / 10 for e in range(901)]
    rates = {
        "paper": ("smooth: 0.1 x 1000^(-epoch / 90)", [0.1 * 1000 ** (-e / 90) for e in epochs]),
        "paper_step": ("steps: a tenth every 30 epochs", [0.1 * 0.1 ** (e // 30) for e in epochs]),
    }
    for (name, (label, values)), colour, dash in zip(
        rates.items(), (BLUE, ORANGE), ("-", "--"), strict=True
    ):
        axes[-1].plot(epochs, values, dash, color=colour, label=label, linewidth=2)
        if name in pair:
            points = pair[name].curve
            axes[0].plot(
                [point.epoch for point in points],
                [100 * point.metrics["top5"] for point in points],
                dash,
                color=colour,
                label=label.partition(":")[0],
            )
    axes[-1].set(yscale="log", xlabel="epoch", ylabel="learning rate")
    axes[-1].legend(frameon=False)
    if pair:
        axes[0].axhline(79.1, color=GREY, linestyle=":")
        axes[0].set(ylabel="top-5 accuracy, %")
        axes[0].legend(frameon=False, loc="lower right")
    else:
        axes[-1].text(
            0.02, 0.05,
            "Learning curves appear with records of ResNet-50 under both recipes:\n"
            "launch/train.py --model=resnet50 --dataset=imagenet2012 --recipe=paper (paper_step)",
            transform=axes[-1].transAxes, fontsize=8, color="#555555",
        )  # fmt: skip
    figure.suptitle(
        "The paper's schedule falls smoothly; in steps, most networks cross the level at epoch 31"
    )
    return figure


def frontier(analysis: Analysis) -> Figure:
    """Figure 3: compute to AlexNet level by date of publication, the frontier in colour."""
    points = analysis.conventions["printed"]
    best = trends.frontier(points)
    factor = best[0].compute / best[-1].compute
    fit = trends.doublings(points)[0]
    figure = _figure()
    axes = figure.subplots()
    rest = [point for point in points if point not in best]
    axes.plot(
        [p.published for p in rest], [p.compute / TERAFLOP_S_DAY for p in rest],
        linestyle="none", marker="o", color=GREY, markersize=6, label="other models",
    )  # fmt: skip
    axes.plot(
        [p.published for p in best], [p.compute / TERAFLOP_S_DAY for p in best],
        marker="D", color=BLUE, markersize=7, linewidth=1.5, label="best of their time",
    )  # fmt: skip
    _name_points(axes, rest, "#555555")
    _name_points(axes, best, BLUE, below=True)
    measured = _measured_points(analysis)
    if measured:
        dates, values, below, above = zip(*measured, strict=True)
        axes.errorbar(
            dates, values, yerr=(below, above), capsize=3, ecolor="black", elinewidth=1,
            linestyle="none", marker="*", color=ORANGE, markeredgecolor="black", markersize=13,
            label="measured with jaxeff (ImageNet), median",
        )  # fmt: skip
    others = [point for metric, point in analysis.imported if metric == "AlexNet"]
    if others:
        axes.plot(
            [p.published for p in others], [p.compute / TERAFLOP_S_DAY for p in others],
            linestyle="none", marker="s", markerfacecolor="none", color=GREEN, markersize=9,
            label="imported",
        )  # fmt: skip
    axes.set(yscale="log", ylabel="training compute, teraflop/s-days (3 x MACs)")
    axes.set_xlabel("publication of the architecture")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(YearLocator())
    axes.margins(x=0.09, y=0.12)
    axes.grid(True, which="major", alpha=0.25)
    axes.legend(frameon=False, loc="lower left")
    years = trends.months_between(best[0].published, best[-1].published) / 12
    axes.set_title(
        f"{factor:.0f} times less compute to AlexNet's accuracy in {years:.0f} years:\n"
        f"it halves every {fit.months:.0f} months (95 %: {fit.low:.0f} to {fit.high:.0f})"
    )
    return figure


# Names that would overlap: the offset of each from its marker, in points, and its alignment.
_OFFSETS = {
    "Resnet-34": (8, -3, "left"),
    "Resnet-50": (0, 7, "center"),
    "ResNext_50": (8, 4, "left"),
    "Resnet-18": (-8, -3, "right"),
    "DenseNet121": (8, 2, "left"),
    "Squeezenet_v1_1": (-8, -8, "right"),
    "ShuffleNet_v2_1_5x": (8, -2, "left"),
    "MobileNet_v1": (0, 8, "center"),
    "MobileNet_v2": (8, 3, "left"),
    "ShuffleNet_v1_1x": (-8, -10, "right"),
    "ShuffleNet_v2_1x": (-4, -15, "center"),
}


def _name_points(axes, points, colour, below=False):
    for point in points:
        across, up, alignment = _OFFSETS.get(point.model, (0, -15 if below else 8, "center"))
        axes.annotate(
            readable(point.model),
            (point.published, point.compute / TERAFLOP_S_DAY),
            xytext=(across, up),
            textcoords="offset points",
            ha=alignment,
            fontsize=8,
            color=colour,
        )


def readable(model: str) -> str:
    """`ShuffleNet_v2_1_5x` as `ShuffleNet v2 1.5x`."""
    return re.sub(r"(?<=v\d)_(?=\d+$)|(?<=_\d)_(?=\d+x)", ".", model).replace("_", " ")


def _measured_points(analysis):
    """Date, median and the lengths of its error bar, in teraflop/s-days, of what got there."""
    points = []
    for group, within in analysis.results.items():
        if (group.dataset, group.metric, group.level) != ("imagenet2012", "top5", 0.791):
            continue
        for result in within:
            date, estimate = publications.date_of(result.first), result.estimate("paper")
            if date is None or estimate is None or not math.isfinite(estimate.value):
                continue
            low, high = result.bar(estimate) or (estimate.value, estimate.value)
            # An end that nothing bounds is not drawn.
            ends = low, estimate.value if math.isinf(high) else high
            days = [number / TERAFLOP_S_DAY for number in (estimate.value, *ends)]
            points.append((date, days[0], days[0] - days[1], days[2] - days[0]))
    return points


def learning_curves(analysis: Analysis) -> Figure:
    """Figure 4: accuracy against training compute, one curve a run; without records, crossings.

    It shows the best `MOST_CURVES` runs of the group with the most runs; ImageNet's comes first.
    """
    figure = _figure(8.5, 5)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_xlabel("training compute, teraflop/s-days")
    axes.grid(True, alpha=0.25)
    groups = curves_by_group(analysis.records, analysis.shipped)
    if not groups:
        rows = published.alexnet_level()
        computes = [row.printed_compute / TERAFLOP_S_DAY for row in rows]
        axes.axhline(79.1, color=GREY, linestyle=":")
        axes.plot(computes, [79.1] * len(rows), linestyle="none", marker="o", color=BLUE)
        axes.margins(x=0.08)
        # Names are vertical. Where markers are close, a name moves along and a line leads to it.
        free = {True: -math.inf, False: -math.inf}
        for i, (row, x) in enumerate(sorted(zip(rows, computes, strict=True), key=lambda r: r[1])):
            up = bool(i % 2)
            free[up] = place = max(math.log10(x), free[up] + 0.066)
            axes.annotate(
                readable(row.model), (x, 79.1), xytext=(10**place, 79.75 if up else 78.45),
                rotation=90, fontsize=8, ha="center", va="bottom" if up else "top",
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6},
            )  # fmt: skip
        axes.set(ylim=(74, 84), ylabel="top-5 accuracy, %")
        axes.set_title(
            "Where the sixteen cross 79.1 %: the paper prints crossings, no curves;\n"
            "curves appear with records (--records)"
        )
        return figure
    group = max(groups, key=lambda group: (group.dataset == "imagenet2012", len(groups[group])))
    within = groups[group]
    curves = {
        name: [(point.train_flops, point.value(group.metric)) for point in record.curve]
        for name, record in within.items()
    }

    def order(name):
        if within[name].target.reached:
            return False, within[name].compute.train_flops
        return True, -max(y for _, y in curves[name])

    shown = sorted(curves, key=order)[:MOST_CURVES]
    labels = {name: _plain(textwrap.fill(name, 45)) for name in shown}
    # The legend takes a seventh of an inch a line.
    lines = sum(label.count("\n") + 1 for label in labels.values())
    figure.set_figheight(max(figure.get_figheight(), lines / 7))
    for i, name in enumerate(shown):
        axes.plot(
            [x / TERAFLOP_S_DAY for x, _ in curves[name]],
            [100 * y for _, y in curves[name]],
            color=_CYCLE[i % len(_CYCLE)],
            linestyle=("-", "--")[i // len(_CYCLE) % 2],
            marker=_MARKS[i % len(_MARKS)],
            markersize=3.5,
            linewidth=1.2,
            label=labels[name],
        )
    axes.axhline(100 * group.level, color=GREY, linestyle=":")
    axes.set_ylabel(f"accuracy, % {metric_text(group.metric)}")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_xlabel("training compute, teraflop/s-days (XLA count)")
    least = analysis.results[group][-1]
    estimate = least.estimate()
    finding = (
        f"{least.name} gets there with the least compute\n"
        f"({'one run' if estimate.seeds == 1 else f'median of {estimate.seeds} runs'})"
        if estimate is not None and math.isfinite(estimate.value)
        else "no model gets there in most of its runs"
    )
    axes.set_title(f"{_plain(group.label)}: {_plain(finding)}", fontsize=11)
    return figure


def factor_by_level(analysis: Analysis) -> Figure | None:
    """How many times less than the baseline, by level, with 95 % intervals as bands.

    It shows the group with the most runs, and of its configurations those `MOST_BANDS` that take
    the least compute to the target. None where nothing is compared with a baseline.
    """
    compared = [c for c in analysis.comparisons if any(map(c.factors, c.others))]
    if not compared:
        return None
    shown = max(
        compared,
        key=lambda c: (
            c.group.dataset == "imagenet2012",
            sum(len(profile.result.runs) for profile in c.profiles),
        ),
    )
    # The profiles come in the order of their medians, the least last.
    others = [other for other in reversed(shown.others) if shown.factors(other)][:MOST_BANDS]
    figure = _figure(8.5, 5)
    axes = figure.subplots()
    for i, other in enumerate(others):
        factors, colour = shown.factors(other), _CYCLE[i]
        percents = [100 * level for level in factors]
        runs = f"{len(shown.base.result.runs)} and {runs_text(len(other.result.runs))}"
        axes.plot(
            percents, [factor.value for factor in factors.values()], color=colour,
            marker=_MARKS[i], markersize=4, linewidth=1.5,
            label=_plain(textwrap.fill(f"{other.result.name} ({runs})", 45)),
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
    axes.axhline(1, color=GREY, linestyle=":")
    axes.axvline(100 * shown.group.level, color=GREY, linestyle=":")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: _one_two_five(value)))
    axes.set_xlabel(f"level, % {metric_text(shown.group.metric)}")
    axes.set_ylabel(_plain(f"times less compute than {shown.base.result.name} (XLA count)"))
    axes.grid(True, alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title(
        f"{_plain(shown.group.data)}: the factor at every level\n"
        f"(medians with 95 % intervals; dotted: the target, {_plain(shown.group.level_text)})",
        fontsize=11,
    )
    return figure


def _one_two_five(value):
    """`2` and `5` times a power of ten, and no other number: all nine would overlap."""
    text = f"{value:g}"
    return text if text.strip("0.") in ("2", "5") else ""


def effective_compute(effective) -> Figure:
    """Figure 5: what effective compute is made of."""
    figure = _figure(8, 4)
    axes = figure.subplots()
    parts = (
        ("hardware\n(more operations for the money)", effective.hardware, GREY, ""),
        ("spending\n(more money, longer training)", effective.spending, ORANGE, "//"),
        ("algorithms\n(less compute for the result)", effective.algorithms, BLUE, ".."),
        ("effective compute\n(the product)", effective.total, GREEN, "xx"),
    )
    start = 1.0
    for i, (_, factor, colour, hatch) in enumerate(parts):
        bottom = 1.0 if i == 3 else start
        axes.bar(i, bottom * factor - bottom, bottom=bottom, color=colour, hatch=hatch,
                 edgecolor="white", width=0.6)  # fmt: skip
        axes.annotate(
            f"{factor:,.3g} times" if factor < 1000 else f"{factor:,.0f} times",
            (i, bottom * factor), xytext=(0, 4), textcoords="offset points", ha="center",
        )  # fmt: skip
        start *= factor
    axes.set_xticks(range(4), [part[0] for part in parts], fontsize=8)
    axes.set(yscale="log", ylim=(0.8, effective.total * 8), ylabel="growth, times")
    axes.set_title(
        f"The largest trainings of {effective.years:g} years grew {effective.total / 1e6:.3g} "
        "million times in effect:\n"
        f"{effective.compute_growth:,.0f} times the operations, each worth "
        f"{effective.algorithms:g} times as much"
    )
    return figure
