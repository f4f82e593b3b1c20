"""The picture of a run: accuracy against training compute."""

import io

from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.train.target import Target

# Okabe & Ito's colours, which people who do not see red and green tell apart.
COLOURS = {"top1": "#0072B2", "top5": "#E69F00", "target": "#555555"}


def draw_curve(record: dict) -> bytes:
    """Draws top-1 and top-5 validation accuracy against training compute.

    Args:
      record: a valid run record with at least one evaluation in its curve.

    Returns:
      A PNG file. The x axis is logarithmic, in teraflop/s-days by XLA's count.
    """
    # Half a second that --help and a wrong flag need not wait for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points, target = record["curve"], record["target"]
    level = Target(target["metric"], target["value"])
    days = [point["train_flops"] / TERAFLOP_S_DAY for point in points]
    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for metric, label in (("top5", "top-5"), ("top1", "top-1")):
        axes.plot(
            days,
            [100 * point[metric] for point in points],
            marker="o",
            markersize=3,
            linewidth=1.5,
            color=COLOURS[metric],
            label=label,
        )
    name = {"top1": "top-1", "top5": "top-5"}[level.metric]
    axes.axhline(
        100 * level.value,
        color=COLOURS["target"],
        linestyle="--",
        linewidth=1,
        label=f"target: {100 * level.value:g} % {name}",
    )
    if target["reached"]:
        crossing = next(point for point in points if point["step"] == target["step"])
        x, y = crossing["train_flops"] / TERAFLOP_S_DAY, 100 * crossing[level.metric]
        axes.axvline(x, color=COLOURS["target"], linestyle=":", linewidth=1)
        axes.plot([x], [y], marker="*", markersize=14, color="black", linestyle="none", zorder=5)
        finding = f"reached after {x:.3g} teraflop/s-days (epoch {target['epoch']:g})"
    else:
        best = max(100 * point[level.metric] for point in points)
        finding = f"not reached, best {best:.2f} % {name}"
    axes.set_xscale("log")
    axes.set_xlabel("training compute in teraflop/s-days (XLA count)")
    axes.set_ylabel("validation accuracy in %")
    axes.set_title(
        f"{record['model']['name']} on {record['dataset']['name']}: {finding}", fontsize=11
    )
    axes.grid(True, which="both", alpha=0.25, linewidth=0.5)
    axes.legend(loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
