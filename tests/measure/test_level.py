"""The level that a reference's curves speak for, on curves whose knee is known."""

import dataclasses

import pytest

from jaxeff.errors import UsageError
from jaxeff.measure import propose_level
from tests.records import example

# Steep to the fourth evaluation, then flat: the knee is there.
STEEP_THEN_FLAT = (0.2, 0.45, 0.7, 0.902, 0.91, 0.92, 0.925, 0.93)


def _seeds(*curves):
    return [example.run(top1=curve, level=1.0, seed=seed) for seed, curve in enumerate(curves)]


def _shifted(by):
    return tuple(value + by for value in STEEP_THEN_FLAT)


def test_the_level_is_just_after_the_knee_of_the_median():
    runs = _seeds(STEEP_THEN_FLAT, _shifted(0.004), _shifted(-0.004))
    found = propose_level(runs, "top1")
    assert found.knee == pytest.approx(0.902)
    assert found.knee_epoch == runs[0].curve[3].epoch
    assert found.level == pytest.approx(0.91)
    by_level = {round(one.level, 6): one for one in found.candidates}
    assert by_level[0.91].reached == 3
    # 0.926, 0.934 and 0.93 are the best of the seeds.
    assert (by_level[0.93].reached, by_level[0.93].ended) == (2, 2)
    assert by_level[0.88].epochs.value < by_level[0.92].epochs.value


def test_a_finer_grid_lies_nearer_to_the_knee():
    found = propose_level(_seeds(*[STEEP_THEN_FLAT] * 3), "top1", step=0.001)
    assert found.level == pytest.approx(0.902)


def test_nineteen_of_twenty_seeds_are_enough_and_eighteen_are_not():
    bad = tuple(min(value, 0.5) for value in STEEP_THEN_FLAT)
    enough = propose_level(_seeds(*[STEEP_THEN_FLAT] * 19, bad), "top1")
    assert enough.level == pytest.approx(0.91)
    assert [one.reached for one in enough.candidates] == [19] * 6
    assert propose_level(_seeds(*[STEEP_THEN_FLAT] * 18, bad, bad), "top1").level is None


def test_less_is_better_for_a_loss():
    runs = [
        dataclasses.replace(
            run,
            curve=tuple(
                dataclasses.replace(point, metrics={**point.metrics, "loss": 2 - 2 * value})
                for point, value in zip(run.curve, STEEP_THEN_FLAT, strict=True)
            ),
        )
        for run in _seeds(*[STEEP_THEN_FLAT] * 3)
    ]
    # The knee's loss is 0.196; the next multiple of 0.05 that is no easier is 0.15.
    found = propose_level(runs, "loss", 0.05)
    assert found.level == pytest.approx(0.15)
    assert [one.level for one in found.candidates[:4]] == pytest.approx([0.3, 0.25, 0.2, 0.15])


def test_a_reference_that_does_not_go_through_its_schedule_is_refused():
    runs = _seeds(STEEP_THEN_FLAT, STEEP_THEN_FLAT, STEEP_THEN_FLAT[:5])
    with pytest.raises(UsageError, match="without diverging"):
        propose_level(runs, "top1")
    with pytest.raises(UsageError, match="three seeds"):
        propose_level(runs[:2], "top1")
