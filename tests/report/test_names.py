import pytest

from jaxeff.report import published
from jaxeff.report.names import readable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ShuffleNet_v2_1_5x", "ShuffleNet v2 1.5x"),
        ("shufflenet_v2_x1_5, small, lr 0.1", "ShuffleNet v2 1.5x, small, lr 0.1"),
        ("shufflenet_v2 to resnet18: 2 times", "ShuffleNet v2 to ResNet-18: 2 times"),
        ("MobileNet", "MobileNet v1"),
        ("MobileNet v2", "MobileNet v2"),
        ("my_resnet18, resnet18_wide, x.alexnet", "my_resnet18, resnet18_wide, x.alexnet"),
        ("shufflenet_v2 (yours)", "ShuffleNet v2 (yours)"),
    ],
)
def test_known_names_have_one_spelling_and_others_stay(text, shown):
    assert readable(text) == shown
    assert readable(shown) == shown


def test_a_model_of_the_paper_is_spelt_alike_in_every_table():
    for row in published.alexnet_level():
        assert readable(row.model) == readable(row.our_name), row
    spelt = {readable(row.model) for row in published.alexnet_level()}
    assert len(spelt) == 16
    of_table = {readable(row.publication) for row in published.sota() if row.metric == "AlexNet"}
    of_table |= {
        readable(row.model) for metric in ("top1", "top5") for row in published.accuracies(metric)
    }
    assert of_table <= spelt
