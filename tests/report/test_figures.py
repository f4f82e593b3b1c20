import dataclasses
import io
import xml.etree.ElementTree

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from jaxeff.report import figures, schedules
from jaxeff.report.analysis import analyse
from tests.records.example import run

RECORDS = [
    run("alexnet", (0.2, 0.4, 0.6)),
    run("shufflenet_v2", (0.3, 0.7)),
    run("<script>$x_1$</script>", (0.1, 0.2)),
]


def _assert_readable(rendered):
    files = dict(zip(figures.KINDS, rendered, strict=True))
    image = Image.open(io.BytesIO(files["png"]))
    # A column of an article, at 300 dots an inch.
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert image.width == 990
    pixels = np.asarray(image.convert("L"))
    assert pixels.std() > 5
    assert (pixels < 100).any()
    root = xml.etree.ElementTree.fromstring(files["svg"])
    assert root.get("width") == "237.6pt"
    assert b"<script" not in files["svg"]
    assert files["pdf"].startswith(b"%PDF")
    # Type 3 fonts, which publishers refuse, are none.
    assert b"/Type3" not in files["pdf"]


def test_all_are_drawn_as_png_and_svg():
    drawn = figures.draw(analyse(RECORDS))
    names = ["figure2", "figure3", "figure3_measured", "figure4", "figure5", "factor_by_level"]
    assert list(drawn) == names
    for figure in drawn.values():
        sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
        assert min(sizes) >= 6
        _assert_readable(figures.render(figure))


def test_measured_networks_stand_at_their_dates_with_intervals_and_misses_are_named():
    def seeds(model, *top1):
        return [run(model, top1, seed=seed) for seed in range(3)]

    records = [
        *seeds("alexnet", 0.1, 0.2, 0.4, 0.6),
        *seeds("vgg11", 0.1, 0.1, 0.2, 0.3, 0.6),
        *seeds("shufflenet_v2", 0.1, 0.6),
        *seeds("resnet18", 0.1, 0.2),
        *seeds("no_date_of_mine", 0.6),
    ]
    figure = figures.measured_frontier(analyse(records))
    (axes,) = figure.axes
    assert {text.get_text() for text in axes.texts} == {"AlexNet", "VGG-11", "ShuffleNet v2"}
    title = " ".join(axes.get_title(loc="left").split())
    # Crossings lie in the middle of the evaluations' gaps, of one cost.
    assert f"ShuffleNet v2 takes {3.5 / 1.5:.3g} (" in title
    assert ") times less than AlexNet by the paper's count" in title
    assert title.endswith("never there: ResNet-18")
    others, best = axes.containers
    assert [len(drawn[0].get_xdata()) for drawn in (others, best)] == [1, 2]
    days = best[0].get_ydata()
    assert days[0] / days[1] == pytest.approx(3.5 / 1.5)
    figures.render(figures.measured_frontier(analyse([*records[:3], *records[6:9]])))  # No others.
    # What another recipe saves is not the network's: its point stays where it was.
    quick = [
        dataclasses.replace(record, recipe={**record.recipe, "name": "quick"})
        for record in seeds("shufflenet_v2", 0.6)
    ]
    (axes,) = figures.measured_frontier(analyse([*records, *quick])).axes
    assert f"ShuffleNet v2 takes {3.5 / 1.5:.3g} (" in " ".join(axes.get_title(loc="left").split())
    assert figures.measured_frontier(analyse(seeds("alexnet", 0.6))) is None


def test_long_names_leave_room_for_the_curves():
    records = [run(f"a model {i} " + "with a long name " * 8, seed=i) for i in range(16)]
    figure = figures.learning_curves(analyse(records))
    figure.draw_without_rendering()
    width, height = figure.canvas.get_width_height()
    (axes,), (legend,) = figure.axes, figure.legends
    assert len(legend.get_texts()) == figures.MOST_CONFIGURATIONS
    assert axes.get_window_extent().width > 0.7 * width
    assert axes.get_window_extent().height > 0.25 * height


def test_without_records_the_figures_of_records_show_what_is_published():
    analysis = analyse([])
    title = figures.schedule(analysis).axes[0].get_title(loc="left")
    assert "not measured" in title
    axes = figures.learning_curves(analysis).axes[0]
    names = {text.get_text() for text in axes.texts}
    assert len(names) == 16
    assert {"ShuffleNet v2 1.5x", "Wide ResNet-50"} <= names
    assert figures.factor_by_level(analysis) is None
    assert figures.measured_frontier(analysis) is None


def test_figure_2_is_drawn_from_a_measured_pair():
    pair = []
    for seed in range(3):
        for name, top1 in (("paper", (0.2, 0.6, 0.7)), ("paper_step", (0.1, 0.2, 0.6))):
            record = run("resnet18", top1, seed=seed, status="completed")
            pair.append(dataclasses.replace(record, recipe={**record.recipe, "name": name}))
    found = analyse(pair)
    (measured,) = schedules.pairs(found.results)
    # Both cross half way between two evaluations: after 1.5 and 2.5 epochs of the same cost.
    assert "1.67 times less than the one in steps (95 %: " in measured.finding
    points = schedules.accuracy_by_epoch(measured.steps, "top1")
    assert points == [(1, 0.1, 0.1, 0.1), (2, 0.2, 0.2, 0.2), (3, 0.6, 0.6, 0.6)]
    curves, rates = figures.schedule(found).axes
    assert "the smooth schedule takes" in curves.get_title(loc="left").replace("\n", " ")
    assert [list(line.get_ydata())[:3] for line in curves.lines[:2]] == [[20, 60, 70], [10, 20, 60]]
    assert rates.get_ylabel() == "learning rate (formula)"


def test_the_factor_by_level_has_a_line_and_a_band_for_each_configuration():
    top1 = [0.05 * i for i in range(1, 20)]
    records = [
        run(model, top1[seed:], scale=scale, seed=seed, level=0.9, status="completed")
        for model, scale, seeds in (("alexnet", 4, 4), ("resnet18", 1, 4), ("vgg11", 2, 1))
        for seed in range(seeds)
    ]
    records = [
        dataclasses.replace(record, recipe={**record.recipe, "epochs": 19}) for record in records
    ]
    figure = figures.factor_by_level(analyse(records))
    axes = figure.axes[0]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["ResNet-18", "VGG-11"]
    first, second = axes.lines[:2]
    assert set(first.get_ydata()) == {4}
    band, none = axes.collections
    ends = band.get_paths()[0].vertices[:, 1]
    assert ends.min() < 4 < ends.max()
    assert none.get_paths() == [], "a single run has no band"
    assert len(second.get_ydata()) > 10


def test_measured_points_have_their_error_bar():
    def on_imagenet(record):
        return dataclasses.replace(
            record,
            dataset=dataclasses.replace(record.dataset, name="imagenet2012"),
            target=dataclasses.replace(record.target, metric="top5", value=0.791),
        )

    runs = [on_imagenet(run("resnet18", (0.1,) * 9 + (0.6,), macs=10**9, seed=i)) for i in range(3)]
    (within,) = analyse(runs).results.values()
    ((point, below, above),) = figures._measured_points(within)
    # All cross in the first gap, where top-5 is 1: a median of half an epoch of 100 images.
    assert point.published.isoformat() == "2015-12-10"
    assert point.compute == pytest.approx(3e9 * 50)
    assert below > 0
    assert above > 0
    assert figures.frontier(analyse(runs)).axes[0].containers


def test_the_title_of_figure_3_says_the_finding():
    axes = figures.frontier(analyse([])).axes[0]
    title = axes.get_title(loc="left").replace("\n", " ")
    assert "44 times less compute" in title
    assert "16 months" in title


def test_colours_differ_for_eyes_that_confuse_red_and_green():
    def to_rgb(colour):
        return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255

    # Red and green of a deuteranope fall together (Viénot et al. 1999).
    deuteranope = np.array([[0.33, 0.67, 0.0], [0.33, 0.67, 0.0], [-0.03, 0.03, 1.0]])
    used = [figures.BLUE, figures.ORANGE, figures.GREY]
    seen = [deuteranope @ to_rgb(colour) for colour in used]
    for i in range(len(seen)):
        for j in range(i):
            assert np.linalg.norm(seen[i] - seen[j]) > 0.25, (used[i], used[j])


def test_the_same_figure_is_the_same_file():
    analysis = analyse([])
    first, second = (figures.render(figures.frontier(analysis)) for _ in range(2))
    assert first == second
