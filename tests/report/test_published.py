import pytest

import models
from jaxeff.compute import IMAGENET_EPOCH_IMAGES, paper_flops
from jaxeff.report.published import alexnet_level

# MobileNet v1's 0.57 GMACs and 11 epochs give 24.1; the paper prints 24.0.
ROUNDING = 0.005


def test_the_printed_compute_recomputes_from_epochs_and_macs():
    rows = alexnet_level()
    assert len(rows) == 16
    for row in rows:
        compute = paper_flops(row.macs_forward, row.epochs * IMAGENET_EPOCH_IMAGES)
        assert compute == pytest.approx(row.printed_compute, rel=ROUNDING), row.model


def test_the_headline_is_a_factor_of_44():
    printed = {row.our_name: row.printed_compute for row in alexnet_level()}
    assert printed["alexnet"] / printed["efficientnet_b0"] == pytest.approx(44, abs=0.5)


def test_rows_are_named_as_our_models_are():
    assert tuple(row.our_name for row in alexnet_level()) == models.select("paper")
