import dataclasses

import pytest

from jaxeff import data
from jaxeff.errors import UsageError
from jaxeff.tasks import LOSS, ImageClassification, Metric, Target, parse_target

METRICS = ImageClassification(data.load("synthetic"), image_size=8).metrics


def test_a_target_is_a_metric_and_a_level():
    target = parse_target("top5:0.55", METRICS)
    assert (target.metric.label, target.value) == ("top-5", 0.55)
    assert str(target) == "top5:0.55"
    assert parse_target("loss:1.5", METRICS) == Target(LOSS, 1.5)


@pytest.mark.parametrize("text", ["0.791", "top3:0.5", "top5:79.1", "top1:0", "top1:nan", "top1:"])
def test_a_wrong_target_shows_a_right_one(text):
    with pytest.raises(UsageError, match=r"give loss or top1 or top5.*such as top5:0\.791"):
        parse_target(text, METRICS)


@pytest.mark.parametrize("classes", [2, 5, 6])
def test_top5_is_no_target_where_every_network_meets_it(classes):
    dataset = dataclasses.replace(data.load("synthetic"), class_names=tuple("abcdef"[:classes]))
    metrics = ImageClassification(dataset, image_size=8).metrics
    assert parse_target("top1:0.9", metrics).value == 0.9
    if classes > 5:
        assert parse_target("top5:0.9", metrics).value == 0.9
    else:
        with pytest.raises(UsageError, match=rf"of {classes} classes .*such as top1:0\.9$"):
            parse_target("top5:0.9", metrics)


def test_values_are_shown_in_the_metrics_unit():
    assert METRICS[1].text(0.983098, digits=2) == "98.31 %"
    assert METRICS[1].text(0.791) == "79.1 %"
    assert LOSS.text(0.05943, digits=4) == "0.0594"
    assert Metric("error", "error", higher_is_better=False).text(0.5) == "50 %"
