import datetime
import math
import re

import pytest

from jaxeff.report import trends
from jaxeff.report.analysis import analyse
from jaxeff.report.charts import page_data
from jaxeff.report.page import shown
from jaxeff.report.tables import Table
from jaxeff.report.trends import Point

BETTER = Point("BetterNet", datetime.date(2021, 5, 1), 0.03 * 8.64e16, source="https://example.org")


def _count(data, label, level, key):
    (found,) = (each for each in data["published"] if each["label"] == label)
    (level,) = (each for each in found["levels"] if each["key"] == level)
    return next(each for each in level["counts"] if each["key"] == key)


def test_translation_is_no_level_of_imagenet():
    data = page_data(analyse([]))
    levels = {
        each["label"]: [level["key"] for level in each["levels"]] for each in data["published"]
    }
    assert levels == {
        "ImageNet, published": ["AlexNet", "ResNet-50"],
        "WMT-14 English to French, published": ["Seq2Seq", "GNMT"],
    }


def test_what_two_sources_say_differently_is_said():
    data = page_data(analyse([]))
    text = _count(data, "ImageNet, published", "AlexNet", "printed")["finding"]
    assert "halves every 15.8 months by the line" in text
    assert "end to end, every 15.3" in text
    wmt = "WMT-14 English to French, published"
    text = _count(data, wmt, "Seq2Seq", "table")["finding"]
    assert "58.1 times less" in text
    assert "Appendix A give 60.6 (Table 2)" in text
    text = _count(data, "ImageNet, published", "AlexNet", "table")["finding"]
    assert "it prints 44 times itself" in text
    assert "give 44.4 (Table 3)" in text
    text = _count(data, "ImageNet, published", "ResNet-50", "table")["finding"]
    assert "22.7 times less" in text
    assert "it prints 10 times itself, which its own compute contradicts" in text


def test_imported_rows_are_points_of_their_own_and_leave_the_line():
    without, imported = (
        page_data(analyse([], imported=rows)) for rows in ([], [("AlexNet", BETTER)])
    )
    before, after = (
        _count(data, "ImageNet, published", "AlexNet", "printed") for data in (without, imported)
    )
    assert after["line"] == before["line"]
    (point,) = (point for point in after["points"] if point["kind"] == "imported")
    assert (point["model"], point["best"], point["url"]) == ("BetterNet", False, BETTER.source)
    assert after["finding"].startswith(before["finding"])
    assert "AlexNet to BetterNet, 102.7 times less in 8.9 years" in after["finding"]
    # Other counts than the paper's have no place for them.
    assert (
        _count(imported, "ImageNet, published", "AlexNet", "xla")["points"]
        == (_count(without, "ImageNet, published", "AlexNet", "xla")["points"])
    )


def test_every_published_point_leads_to_its_publication():
    points = _count(page_data(analyse([])), "ImageNet, published", "AlexNet", "printed")["points"]
    assert len(points) == 16
    assert all(re.match(r"https://(arxiv\.org/abs/|papers\.nips\.cc/)", p["url"]) for p in points)


def test_the_fitted_line_is_the_doubling_time_within_its_band():
    best = trends.frontier(analyse([]).conventions["printed"])
    line = trends.fitted_line(best)
    months = trends.months_between(line.dates[0], line.dates[-1])
    halvings = math.log2(line.compute[0] / line.compute[-1])
    assert months / halvings == pytest.approx(trends.doubling_months(best), rel=1e-3)
    assert all(a < b < c for a, b, c in zip(line.low, line.compute, line.high, strict=True))
    assert trends.fitted_line(best[:3]) is None


def test_numbers_are_as_people_read_them():
    values = (None, -0.0182, 1.23456e13, 0.0, 12345, float("inf"), 6_512.4, 3e-7)
    assert [shown.number(value) for value in values] == [
        "",
        "−0.0182",
        "1.235 × 10¹³",
        "0",
        "12,345",
        "∞",
        "6,512",
        "3 × 10⁻⁷",
    ]
    assert shown.interval(2.63e13, 2.02e13, 3.06e13) == "2.63 (2.02 to 3.06) × 10¹³"
    assert shown.interval(9.568, 7.225, float("inf")) == "9.57 (7.22 to ∞)"
    assert shown.interval(9.568, None, None) == "9.57"


def test_intervals_share_a_cell_and_constants_stand_above():
    columns = ("data", "model", "x", "x, 95 % from", "x, to", "command")
    rows = tuple(("d", f"resnet{n}", 1.5, 1.0, 2.0, f"resnet18 {n}") for n in (18, 34, 50))
    (block,) = shown.shown(Table("t", "T", columns, rows, "how"), 200).blocks
    assert block.label == "In every row: data: d."
    assert block.columns == ["model", "x (95 %)", "command"]
    assert [cell.text for cell in block.rows[0]] == ["ResNet-18", "1.5 (1 to 2)", "resnet18 18"]


def test_a_cross_product_is_a_matrix():
    columns = ("from", "to", "level", "x", "x, 95 % from", "x, to")
    rows = (
        ("alexnet", "a", 50.0, 2.0, 1.5, 3.0),
        ("alexnet", "a", 40.0, 1.0, None, None),
        ("alexnet", "b", 50.0, 4.0, 3.0, 5.0),
    )
    table = Table("t", "T", columns, rows, "how", ("to", "level", "x"))
    (block,) = shown.shown(table, 200).blocks
    assert block.is_matrix
    assert list(block.columns) == ["to ↓ level →", "40", "50"]
    assert [[(cell.text, cell.note) for cell in row] for row in block.rows] == [
        [("a", ""), ("1", ""), ("2", "1.5 to 3")],
        [("b", ""), ("", ""), ("4", "3 to 5")],
    ]
    assert block.label == "from: AlexNet; cells: x (95 %)"
