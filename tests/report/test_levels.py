"""The factor at every level, and which configuration dominates which, worked out by hand."""

import dataclasses
import math

import pytest

from jaxeff import measure
from jaxeff.report import levels, measured
from tests.records.example import run

GAP = 60_000  # FLOPs between two evaluations


def _completed(model, *curves, level=0.5, status="completed", **changes):
    """Runs that trained to the end of these curves, one a seed."""
    runs = [run(model, top1, seed=i, level=level, **changes) for i, top1 in enumerate(curves)]
    return [
        dataclasses.replace(record, status=status, recipe={**record.recipe, "epochs": 9})
        for record in runs
    ]


def _compare(records, baseline="alexnet"):
    ((group, within),) = measured.results(records).items()
    return levels.compare(group, within, measured.baseline_of(within, baseline))


def _rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


SLOW = [(0.2, 0.2, 0.5, 0.5, 0.7), (0.2, 0.2, 0.5, 0.5, 0.7), (0.2, 0.2, 0.2, 0.5, 0.7)]
FAST = [(0.5, 0.7, 0.8), (0.5, 0.7, 0.7), (0.2, 0.5, 0.7)]


def test_factors_by_level_are_ratios_of_medians():
    compared = _compare(_completed("alexnet", *SLOW) + _completed("resnet18", *FAST))
    (other,) = compared.others
    factors = compared.factors(other)
    # 50 %: in gaps 3, 3, 4, of which two are spread over one gap: 2.25, 2.75, 3.5; beside 1, 1, 2:
    # 0.25, 0.75, 1.5. 70 %: all in gap 5, at 1/6, 1/2 and 5/6 of it; beside 2, 2, 3.
    assert factors[0.5].value == pytest.approx(2.75 / 0.75)
    assert factors[0.7].value == pytest.approx(4.5 / 1.75)
    assert factors[0.5].low < 2.75 / 0.75 < factors[0.5].high
    # Of three runs, one reached 80 %; of the baseline's none.
    assert max(factors) == 0.7
    rows = {row["level, %"]: row for row in _rows(levels.levels_table([compared], "alexnet"))}
    row = rows[70]
    assert (row["data"], row["accuracy"], row["from"], row["to"]) == (
        "d at 8 px",
        "top-1",
        "alexnet",
        "resnet18",
    )
    assert row["factor"] == factors[0.7].value
    assert (row["factor, 95 % from"], row["factor, to"]) == (factors[0.7].low, factors[0.7].high)
    assert (row["runs from"], row["runs to"], row["missed to"]) == (3, 3, 0)


def test_the_factor_at_the_target_is_that_of_the_table_of_factors():
    records = _completed("alexnet", *SLOW, level=0.61) + _completed("vgg11", *FAST, level=0.61)
    compared = _compare(records)
    (row,) = (
        row for row in _rows(measured.table(measured.results(records))) if row["model"] == "vgg11"
    )
    factor = compared.factors(compared.others[0])[0.61]
    assert (factor.value, factor.low, factor.high) == tuple(
        row[column] for column in measured.interval_columns("times less")
    )


def test_misses_count_as_infinite_below_the_best_of_a_configuration():
    compared = _compare(
        _completed("alexnet", *SLOW) + _completed("resnet18", *FAST[:2], (0.2,) * 3)
    )
    factor = compared.factors(compared.others[0])[0.5]
    # 0.25 and 0.75 of the first gap, and never.
    assert factor.value == pytest.approx(2.75 / 0.75)
    assert (factor.missed, factor.low) == (1, 0)
    rows = {row["level, %"]: row for row in _rows(levels.levels_table([compared], "alexnet"))}
    assert rows[50]["missed to"] == 1


@pytest.mark.parametrize("unit", ["xla", "paper", "epoch"])
def test_a_profile_reads_the_same_crossings_off_a_noisy_curve_as_its_runs(unit):
    noisy = (0.3, 0.1, 0.3, 0.5, 0.2, 0.5, 0.7, 0.6, 0.7)
    records = _completed("alexnet", noisy, noisy[::-1], noisy[3:])
    records += [dataclasses.replace(records[0], seed=3, curve=(), status="diverged")]
    ((result,),) = measured.results(records).values()
    marks = [0.05, 0.3, 0.31, 0.5, 0.7, 0.71]
    found = levels.profile(result, "top1", marks, unit).crossings
    assert list(found) == marks
    for level in marks:
        expected = [measure.crossing(record, level, "top1", unit) for record in records]
        assert [(c.after, c.by, c.seed) for c in found[level]] == [
            (c.after, c.by, c.seed) for c in expected
        ]


def test_a_run_that_was_stopped_says_nothing_of_higher_levels():
    records = _completed("alexnet", *SLOW) + _completed("resnet18", *FAST, status="reached")
    compared = _compare(records)
    (other,) = compared.others
    # One of the stopped runs ended above 70 %: only to 70 % do all three say something.
    assert max(other.crossings) == 0.7
    base = compared.base
    assert max(base.crossings) == max(compared.marks) == 0.8
    assert base.medians[0.8].value == math.inf


def test_dominance_is_of_medians_and_needs_every_level():
    profiles = _compare(
        _completed("alexnet", *SLOW)
        + _completed("resnet18", *FAST)
        # The same medians, from other seeds; and one that starts later and ends sooner.
        + _completed("vgg11", *FAST[::-1])
        + _completed("googlenet", (0.2, 0.2, 0.8), (0.2, 0.2, 0.8), (0.2, 0.2, 0.8))
    ).profiles
    found = {
        (pair.first.result.name, pair.second.result.name): pair
        for pair in levels.dominance(profiles)
    }
    assert set(found) == {("resnet18", "alexnet"), ("vgg11", "alexnet"), ("googlenet", "alexnet")}
    pair = found["resnet18", "alexnet"]
    # Which level is closest the medians say; the factor there is measured anew, with its interval.
    ratios = {
        level: pair.second.medians[level].value / pair.first.medians[level].value
        for level in pair.second.medians
        if level <= 0.7
    }
    assert pair.levels == len(ratios)
    assert pair.least.value == pytest.approx(min(ratios.values())) == ratios[pair.level]
    assert pair.least.low <= pair.least.value <= pair.least.high


def test_without_the_baseline_there_are_no_factors_and_the_table_says_so():
    compared = _compare(_completed("resnet18", *FAST) + _completed("vgg11", *SLOW))
    assert compared.others == []
    table = levels.levels_table([compared], "alexnet")
    assert table.rows == ()
    assert "no run is over for d at 8 px, 50 % top-1" in table.how
    (row,) = _rows(levels.dominance_table([compared]))
    assert (row["configuration"], row["dominates"]) == ("resnet18", "vgg11")
    assert (row["its runs"], row["runs of the other"]) == (3, 3)


def test_the_grid_is_round_finer_near_the_best_above_chance_and_has_the_target():
    coarse = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    fine = [0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77, 0.78, 0.79, 0.81, 0.82]
    assert levels.grid(0.821, 0.815) == pytest.approx(sorted([*coarse, *fine, 0.815]))
    assert levels.grid(0.821, 0.815, above=0.2)[0] == pytest.approx(0.3)
    # Where no run gets to the target it stands there all the same.
    assert levels.grid(0.02, 0.5) == pytest.approx([i / 1000 for i in range(10, 21)] + [0.5])
    assert levels.grid(0.0, 0.5) == [0.5]
