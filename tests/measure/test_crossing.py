import dataclasses
import math

import pytest

from jaxeff import records
from jaxeff.measure import common_stop, crossing
from tests.records import example

FLOPS = 6000  # of a step, and an evaluation each ten steps


def test_a_crossing_lies_between_two_evaluations():
    run = example.run(top1=(0.2, 0.4, 0.6, 0.4, 0.7), level=0.5, seed=3)
    found = crossing(run)
    assert (found.after, found.by) == (20 * FLOPS, 30 * FLOPS)
    assert found.stays_by == 50 * FLOPS
    assert (found.reached, found.seed) == (True, 3)


def test_the_first_evaluation_may_be_above_and_the_last_below():
    first = crossing(example.run(top1=(0.6, 0.7), level=0.5))
    assert (first.after, first.by, first.stays_by) == (0.0, 10 * FLOPS, 10 * FLOPS)
    last = crossing(example.run(top1=(0.6, 0.4), level=0.5))
    assert (last.by, last.stays_by) == (10 * FLOPS, math.inf)


def test_what_never_gets_there_is_known_up_to_its_end():
    found = crossing(example.run(top1=(0.2, 0.4), level=0.5))
    assert (found.after, found.by, found.stays_by) == (20 * FLOPS, math.inf, math.inf)
    assert not found.reached


def test_units_and_other_levels():
    run = example.run(top1=(0.2, 0.4, 0.6), level=0.5, segments=example.GROWING)
    schedule = run.compute.schedule
    assert crossing(run, 0.3, unit="paper").by == schedule.paper_flops(20)
    assert crossing(run, 0.3, unit="epoch").by == run.curve[1].epoch
    assert crossing(run, 1.7, metric="loss").by == 10 * FLOPS  # Less is better.
    with pytest.raises(ValueError, match="give one of xla, paper, epoch"):
        crossing(run, unit="hours")


def test_a_run_without_an_evaluation_never_got_there():
    run = dataclasses.replace(example.run(), curve=())
    assert crossing(run).by == math.inf
    assert crossing(run).after == run.compute.train_flops


def test_a_level_of_an_average_is_read_off_its_curve():
    run = example.averaged(top1=(0.1, 0.2, 0.3), average=(0.1, 0.6, 0.7), level=0.5)
    assert run.target.metric == "ema_top1"
    assert records.from_json(run.to_json(), source="here") == run
    assert crossing(run).by == 20 * FLOPS
    assert not crossing(run, metric="top1").reached


def test_one_stop_for_all_seeds_is_where_their_mean_meets_the_level():
    lucky, unlucky = example.run(top1=(0.6, 0.55, 0.9)), example.run(top1=(0.2, 0.4, 0.7), seed=1)
    assert common_stop([lucky, unlucky], 0.5, "top1") == 30 * FLOPS
    assert common_stop([lucky], 0.5, "top1") == 10 * FLOPS
    missed = dataclasses.replace(unlucky, status="completed")
    assert common_stop([missed], 0.8, "top1") == math.inf
    with pytest.raises(ValueError, match="stopped at its target"):
        common_stop([unlucky], 0.8, "top1")
    with pytest.raises(ValueError, match="there is no run"):
        common_stop([], 0.5, "top1")
    with pytest.raises(ValueError, match="different steps"):
        common_stop([lucky, _delayed(unlucky)], 1.0, "top1")


def _delayed(run):
    curve = tuple(dataclasses.replace(point, step=point.step + 1) for point in run.curve)
    return dataclasses.replace(run, curve=curve)
