"""Budgets of runs whose shortest sufficient schedule is known."""

import dataclasses
import math

import pytest

from jaxeff.measure import budget, factor, first_length, is_of_search, next_length
from tests.records import example

FLOPS = 6000  # of a step; a run of one evaluation has ten steps
NEEDS = {0: 6.0, 1: 5.0, 2: 9.0}  # epochs that each seed needs


def _run(seed, epochs, needs=NEEDS):
    """A run through a schedule of so many epochs, of ten steps each, that ends where it should."""
    steps = int(epochs * 10)
    run = example.run(top1=(0.9 if epochs >= needs[seed] else 0.4,), level=0.5, seed=seed)
    last = dataclasses.replace(run.curve[0], step=steps, train_flops=steps * FLOPS, epoch=epochs)
    recipe = {**run.recipe, "epochs": epochs}
    return dataclasses.replace(run, curve=(last,), recipe=recipe)


def _search(own, precision=0.1, needs=NEEDS):
    runs, lengths = [], []
    while (length := next_length(runs, own, precision)) is not None:
        lengths.append(length)
        runs += [_run(seed, length, needs) for seed in needs]
    return runs, lengths


@pytest.mark.parametrize("own", [2, 7, 20, 100])
def test_bisection_finds_the_median_seeds_need(own):
    runs, lengths = _search(own)
    found = budget(runs)
    # At least half of three seeds end at the level from 6 epochs on.
    longest_below = max(length for length, met, _ in found.lengths if met < 2)
    shortest = min(length for length, met, _ in found.lengths if met >= 2)
    assert longest_below < 6.0 <= shortest <= 1.1 * longest_below
    assert longest_below <= found.epochs.value <= shortest
    assert found.epochs.low < 6 < found.epochs.high
    assert found.spent_flops == pytest.approx(3 * sum(lengths) * 10 * FLOPS, rel=0.01)
    assert len(lengths) < 12


def test_a_search_starts_where_half_of_the_runs_have_crossed():
    crossed = [example.run(top1=(0.4,) * n + (0.9,), level=0.5, seed=n) for n in (4, 5, 6)]
    each = crossed[0].curve[0].epoch
    # The median crosses between its fifth evaluation and its sixth.
    assert first_length(crossed) == pytest.approx(5.5 * each)
    missed = [example.run(top1=(0.4,), level=0.5, seed=n) for n in range(3)]
    assert first_length(missed) == missed[0].recipe["epochs"]


def test_the_search_ends_where_there_is_nothing_to_find():
    _, never = _search(10, needs={0: math.inf, 1: math.inf})
    assert max(never) == 40
    runs, always = _search(10, needs={0: 0.0, 1: 0.0})
    assert min(always) == pytest.approx(10 / 32, rel=0.01)
    assert budget(runs).epochs.value <= 10 / 32


def test_seeds_that_never_end_at_the_level_count_as_infinite():
    runs, _ = _search(10, needs={0: 5.0, 1: 5.0, 2: math.inf})
    found = budget(runs)
    assert found.epochs.missed == 1
    assert found.epochs.value == pytest.approx(5, rel=0.1)
    assert found.epochs.high == math.inf


def test_factors_of_budgets_are_ratios_of_their_compute():
    twice, _ = _search(20, needs={seed: 2 * epochs for seed, epochs in NEEDS.items()})
    once, _ = _search(20)
    found = factor(budget(twice).crossings, budget(once).crossings)
    assert found.value == pytest.approx(2, rel=0.15)
    assert found.low < 2 < found.high


def test_a_run_that_crossed_and_fell_again_or_diverged_is_no_success():
    fell = example.run(top1=(0.9, 0.4), level=0.5)
    assert budget([fell]).lengths[0][1:] == (0, 1)
    assert budget([dataclasses.replace(_run(0, 10.0), status="diverged")]).epochs.missed == 1


def test_a_length_at_which_all_diverge_costs_what_it_would_have_cost():
    def diverged(seed, curve=()):
        run = _run(seed, 8.0)
        assert run.compute.segments[0].batch_size * 10 == run.dataset.train_examples
        compute = dataclasses.replace(run.compute, train_flops=30 * FLOPS)
        return dataclasses.replace(run, curve=curve, compute=compute, status="diverged")

    needs = dict.fromkeys(range(3), 10.0)
    failed, done = [_run(seed, 8.0, needs) for seed in needs], [_run(s, 10.0, needs) for s in needs]
    ended, lost = budget([*failed, *done]), budget([*map(diverged, needs), *done])
    assert lost.train_flops == ended.train_flops
    assert lost.train_flops.value == pytest.approx(9 * 10 * FLOPS)
    assert lost.spent_flops == 3 * (100 + 30) * FLOPS


def test_a_short_run_that_was_to_stop_at_its_target_is_no_search():
    run = _run(0, 1.0)
    run = dataclasses.replace(run, recipe={**run.recipe, "eval_every": 2.0}, status="completed")
    assert not is_of_search(run)
    searched = dataclasses.replace(run, command=f"{run.command} --nostop_at_target --seed=0")
    assert is_of_search(searched)
