"""The evidence for a level, to look at."""

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxeff.measure import Proposal
from jaxeff.records import Record
from jaxeff.report import figures


def draw_level(runs: Sequence[Record], proposal: Proposal) -> Figure:
    """The reference's curves, their median, its knee and the level that follows.

    Args:
      runs: as `measure.propose_level` took them.
      proposal: what it returned.
    """
    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    epochs = np.array([point.epoch for point in runs[0].curve])
    values = np.array([[point.value(proposal.metric) for point in run.curve] for run in runs])
    axes.plot(epochs, values.T, color="0.75", linewidth=0.8)
    axes.plot([], [], color="0.75", linewidth=0.8, label=f"{proposal.seeds} seeds")
    axes.plot(epochs, np.median(values, axis=0), color=figures.BLUE, label="median")
    axes.plot(proposal.knee_epoch, proposal.knee, "o", color=figures.BLUE, label="its knee")
    axes.axvline(proposal.knee_epoch, color="0.75", linestyle=":")
    if proposal.level is not None:
        label = f"level {proposal.metric}:{proposal.level:g}"
        axes.axhline(proposal.level, color=figures.ORANGE, label=label)
    axes.set(xlabel="epoch", ylabel=proposal.metric, title=f"The level of {runs[0].dataset.name}")
    axes.legend(loc="best")
    return figure
