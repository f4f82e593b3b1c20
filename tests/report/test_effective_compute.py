import pytest

from jaxeff.errors import UsageError
from jaxeff.report.effective_compute import EffectiveCompute, domain_gains, inference_gains
from jaxeff.report.model_costs import model_costs


def test_the_papers_seven_and_a_half_million():
    effective = EffectiveCompute()
    assert effective.total == 7_500_000
    assert effective.hardware == 8
    assert effective.hardware * effective.spending * effective.algorithms == pytest.approx(7.5e6)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_inputs_must_be_positive(value):
    with pytest.raises(UsageError, match="--years"):
        EffectiveCompute(years=value)


def test_appendix_a_by_hand():
    factors = {gain.original: gain.factor[0] for gain in domain_gains()}
    assert factors["Seq2Seq"] == pytest.approx(4.0e19 / (0.2 * 3.3e18))
    assert factors["GNMT"] == pytest.approx(1.4e20 / (0.68 * 2.3e19))
    assert factors["AlphaGo Zero"] == pytest.approx(4.4 * 700 / 390)


def test_inference_gains_are_ratios_of_exact_counts():
    alexnet, resnet = inference_gains(model_costs())
    # torchvision's own counts: 714.2 M over ShuffleNet's, 4089 M over 385.8 M.
    assert resnet.factor == pytest.approx(4089.2 / 385.8, rel=1e-3)
    assert alexnet.factor == pytest.approx(19.0, abs=0.05)
