import gc

from jaxeff import tasks
from jaxeff.train.curve import draw_curve
from tests.records.example import run


def test_drawings_leave_no_figures_behind():
    """They would gather: each is some thousand objects that refer to each other, and megabytes."""
    record = run(top1=(0.1, 0.2, 0.6, 0.4))
    metrics = (tasks.Metric("top1", "top-1"),)
    assert draw_curve(record, metrics).startswith(b"\x89PNG")
    before = len(gc.get_objects())
    draw_curve(record, metrics)
    assert len(gc.get_objects()) - before < 100
