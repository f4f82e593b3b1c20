"""The figure of a run: its metrics against training compute."""

import gc
import io
import itertools
from collections.abc import Sequence

from jaxeff import records
from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.tasks import Metric

# Okabe & Ito's colours, which people who do not see red and green tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00")
TARGET_COLOUR = "#555555"


def draw_curve(record: records.Record, metrics: Sequence[Metric]) -> bytes:
    """Draws the target's metric, and those of its kind, against training compute.

    Args:
      record: with at least one evaluation in its curve.
      metrics: of its run; those of an average of the parameters are
        dashed, in the colour of the parameters' own.

    Returns:
      A PNG file. The x axis is logarithmic, in teraflop/s-days by XLA's count.
    """
    try:
        return _drawing(record, metrics)
    finally:
        # A figure refers to itself, and Python seldom looks for such among the objects of a run.
        gc.collect()


def _drawing(record, metrics):
    # Half a second that --help and a wrong flag need not wait for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points, target = record.curve, record.target
    metric = next(metric for metric in metrics if metric.name == target.metric)
    scale, unit = (100, " in %") if metric.is_fraction else (1, "")
    days = [point.train_flops / TERAFLOP_S_DAY for point in points]
    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    alike = [other for other in metrics if other.is_fraction == metric.is_fraction]
    bases = dict.fromkeys(other.name.removeprefix(records.EMA) for other in alike)
    colours = dict(zip(bases, itertools.cycle(COLOURS), strict=False))
    for other in alike:
        axes.plot(
            days,
            [scale * point.value(other.name) for point in points],
            marker="o",
            markersize=3,
            linewidth=1.5,
            linestyle="--" if other.name.startswith(records.EMA) else "-",
            color=colours[other.name.removeprefix(records.EMA)],
            label=other.label,
        )
    axes.axhline(
        scale * target.value,
        color=TARGET_COLOUR,
        linestyle="--",
        linewidth=1,
        label=f"target: {metric.text(target.value)} {metric.label}",
    )
    if target.reached:
        crossing = next(point for point in points if point.step == target.step)
        x, y = crossing.train_flops / TERAFLOP_S_DAY, scale * crossing.value(metric.name)
        axes.axvline(x, color=TARGET_COLOUR, linestyle=":", linewidth=1)
        axes.plot([x], [y], marker="*", markersize=14, color="black", linestyle="none", zorder=5)
        finding = f"reached after {x:.3g} teraflop/s-days (epoch {target.epoch:g})"
    else:
        values = [point.value(metric.name) for point in points]
        best = max(values) if metric.higher_is_better else min(values)
        finding = f"not reached, best {metric.text(best, digits=2)} {metric.label}"
    axes.set_xscale("log")
    axes.set_xlabel("training compute in teraflop/s-days (XLA count)")
    plain = ", ".join(other.label for other in alike if not other.name.startswith(records.EMA))
    axes.set_ylabel(f"validation: {plain}{unit}")
    axes.set_title(f"{record.model.name} on {record.dataset.name}: {finding}", fontsize=11)
    axes.grid(True, which="both", alpha=0.25, linewidth=0.5)
    axes.legend(loc="lower right" if metric.higher_is_better else "upper right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
