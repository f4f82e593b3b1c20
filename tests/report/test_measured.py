"""What the report says of several runs, worked out by hand and held against what a sweep prints."""

import csv
import dataclasses
import datetime
import io
import math
import statistics

import pytest
from scipy import stats

from jaxeff import measure
from jaxeff.report import measured, page, tables
from jaxeff.report.analysis import analyse
from jaxeff.report.charts import page_data
from jaxeff.report.csv_file import csv_text
from jaxeff.report.names import readable
from tests.records.example import GROWING, regression, run

GAP = 60_000  # FLOPs between two evaluations, of a model with scale 1


def at(model, *evaluations, **changes):
    """A run for each seed, which first meets the level at this evaluation of 20; None never does.

    Those that meet it are stopped there.
    """
    runs = []
    for seed, n in enumerate(evaluations):
        top1 = [0.1] * 20 if n is None else [0.1] * (n - 1) + [0.6]
        record = run(model, top1, seed=seed, **changes)
        runs.append(dataclasses.replace(record, recipe={**record.recipe, "epochs": 20}))
    return runs


def rows_of(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def uncommented(table):
    """Lines of a table's CSV without its header."""
    lines = csv_text(table, datetime.date(2026, 5, 1)).splitlines()
    return [line for line in lines if not line.startswith("#")]


def measured_rows(records, baseline="alexnet", **further):
    table = measured.table(measured.results(records, **further), baseline)
    return {row["model"]: row for row in rows_of(table)}


def test_medians_and_factors_of_three_seeds_by_hand():
    records = at("alexnet", 8, 10, 13) + at("resnet18", 4, 5, 7, scale=0.5, macs=19)
    rows = measured_rows(records)
    # A run that meets the level at evaluation n has crossed between n - 1 and n.
    ours, theirs = [3.5, 4.5, 6.5], [7.5, 9.5, 12.5]
    row = rows["resnet18"]
    assert row["XLA FLOPs, median"] == 4.5 * GAP / 2
    assert row["epochs, median"] == 4.5
    assert row["3 x MACs x images, median"] == 4.5 * 3 * 19 * 100
    # Student's interval on logarithms; t(2) = 4.302653.
    logs = [math.log(n * GAP / 2) for n in ours]
    half = 4.302653 * statistics.stdev(logs) / math.sqrt(3)
    mean = statistics.fmean(logs)
    assert row["XLA FLOPs, median, 95 % from"] == pytest.approx(math.exp(mean - half), rel=1e-5)
    assert row["XLA FLOPs, median, to"] == pytest.approx(math.exp(mean + half), rel=1e-5)
    assert row["spread of one run"] == pytest.approx(statistics.stdev(logs))
    # Welch's interval of the difference of two means of logarithms.
    assert row["times less"] == pytest.approx(9.5 / (4.5 / 2))
    a, b = ([math.log(n) for n in side] for side in (theirs, [n / 2 for n in ours]))
    va, vb = statistics.variance(a) / 3, statistics.variance(b) / 3
    freedom = (va + vb) ** 2 / (va**2 / 2 + vb**2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(va + vb)
    difference = statistics.fmean(a) - statistics.fmean(b)
    assert row["times less, 95 % from"] == pytest.approx(math.exp(difference - half))
    assert row["times less, to"] == pytest.approx(math.exp(difference + half))
    assert (row["than"], row["seeds"], row["never got there"]) == ("alexnet", "0 1 2", 0)
    assert row["what to know"] == ""
    assert (rows["alexnet"]["times less"], rows["alexnet"]["than"]) == (None, "the baseline")


def test_the_page_and_the_tables_say_what_a_sweep_prints(tmp_path):
    runs = {
        "alexnet": at("alexnet", 8, 10, 13),
        "resnet18": at("resnet18", 4, 5, 7, scale=0.7),
        "vgg11": at("vgg11", 4, None, 7, scale=2),
        "googlenet": at("googlenet", 4, None, None),
    }
    text = measure.as_csv(measure.table(runs, "alexnet"))
    swept = {row["model"]: row for row in csv.DictReader(io.StringIO(text))}
    analysis = analyse([record for found in runs.values() for record in found])
    (table,) = (table for table in analysis.tables if table.name == "measured")
    reported = {row["model"]: row for row in csv.DictReader(uncommented(table))}
    for model in ("resnet18", "vgg11", "googlenet"):
        for theirs, ours in (
            ("factor", "times less"),
            ("train_flops", "XLA FLOPs, median"),
            ("paper_flops", "3 x MACs x images, median"),
            ("epochs", "epochs, median"),
        ):
            columns = zip(("", "_low", "_high"), measured.interval_columns(ours), strict=True)
            for end, column in columns:
                assert float(swept[model][theirs + end]) == float(reported[model][column])
        assert swept[model]["seeds"] == reported[model]["seeds"]
        assert swept[model]["missed"] == reported[model]["never got there"]
    factor = measure.text(measure.table(runs, "alexnet")[-1].factor)
    value, _, ends = factor.removesuffix(")").partition(" (")
    (finding,) = analysis.findings
    assert f"{value} times less than alexnet (95 %: {ends}; 3 runs each)" in finding.text
    assert readable(finding.text) in page.render(analysis)


def test_one_run_and_two_have_no_interval_and_say_so():
    rows = measured_rows(
        at("alexnet", 8) + at("resnet18", 4, 6) + at("vgg11", 5, 6, 7) + at("googlenet", 3)
    )
    for model, words in (("alexnet", "one run"), ("resnet18", "two runs")):
        row = rows[model]
        assert f"{words}: no interval below three seeds" in row["what to know"]
        assert row["XLA FLOPs, median, 95 % from"] is None is row["XLA FLOPs, median, to"]
    assert rows["resnet18"]["XLA FLOPs, median"] == 4.5 * GAP
    assert rows["vgg11"]["times less"] == pytest.approx(7.5 / 5.5)
    assert rows["vgg11"]["times less, to"] is None
    (finding,) = analyse(at("alexnet", 8) + at("resnet18", 4, 6)).findings
    assert (
        "1.67 times less than alexnet (one run and two runs: no interval below three seeds)"
        in finding.text
    )
    (finding,) = analyse(at("alexnet", 8) + at("resnet18", 4)).findings
    assert "(one run each: no interval below three seeds)" in finding.text


def test_runs_that_miss_are_infinite_counted_and_named():
    some = at("alexnet", 8, None, 10)
    most = at("resnet18", None, 5, None)
    most[2] = dataclasses.replace(most[2], status="diverged")
    rows = measured_rows(some + most)
    row = rows["alexnet"]
    # Crossed within 7 to 8 and 9 to 10, and never: the middle one is the second of them.
    assert row["XLA FLOPs, median"] == 9.5 * GAP
    assert row["XLA FLOPs, median, to"] == math.inf
    assert row["never got there"] == 1
    assert row["what to know"] == "1 of 3 never got there (seed 1)"
    row = rows["resnet18"]
    assert row["XLA FLOPs, median"] == math.inf
    assert (row["times less"], row["times less, 95 % from"]) == (0, 0)
    assert row["times less, to"] > 0
    assert row["what to know"] == (
        "2 of 3 never got there (seed 0, seed 2 diverged), so the median is infinite"
    )
    (finding,) = analyse(some + most + at("vgg11", 3, 3, 3)).findings
    assert "of 2 models that got there" in finding.text
    assert "Runs that never got there: resnet18 2 of 3, alexnet 1 of 3." in finding.text
    assert measured_rows(most + at("alexnet", 8), "resnet18")["alexnet"]["times less"] == math.inf


def test_the_only_model_that_gets_there_is_a_finding_that_names_the_misses():
    records = at("resnet18", 3, 3, 3) + at("vgg11", None, None, None)
    for baseline in ("resnet18", "vgg11"):
        (finding,) = analyse(records, baseline=baseline).findings
        assert "the least compute, the only one of 2 models that got there" in finding.text
        assert "Runs that never got there: vgg11 3 of 3." in finding.text
    assert analyse(records[:3], baseline="resnet18").findings == []


def test_no_run_of_a_pair_gets_there():
    rows = measured_rows(at("alexnet", None, None, None) + at("resnet18", None, None, None))
    row = rows["resnet18"]
    assert row["XLA FLOPs, median"] == math.inf
    assert (row["times less"], row["times less, to"], row["never got there"]) == (None, None, 3)
    assert analyse(at("alexnet", None) + at("resnet18", None)).findings == []


def test_runs_that_are_not_over_are_no_results_and_missing_seeds_are_counted():
    alexnet, resnet = at("alexnet", 8, 10, 13, 9, 9), at("resnet18", 4, 5, 7, 3, 3)
    # They have met the level, but may go on; or were stopped, and may yet meet it.
    resnet[3] = dataclasses.replace(resnet[3], status="running")
    resnet[4] = dataclasses.replace(resnet[4], status="interrupted")
    rows = measured_rows(alexnet + resnet)
    assert rows["resnet18"]["XLA FLOPs, median"] == 4.5 * GAP
    assert rows["resnet18"]["seeds"] == "0 1 2"
    assert rows["resnet18"]["what to know"] == (
        "not counted, since not over: seed 3 running, seed 4 interrupted; 2 of 5 seeds missing"
    )
    assert rows["alexnet"]["what to know"] == ""
    analysis = analyse(alexnet + resnet)
    assert "Not counted, since not over: two runs." in analysis.findings[0].text
    names = [shown["name"] for shown in page_data(analysis)["groups"][0]["runs"]]
    assert "ResNet-18, small, seed 3, running" in names

    alone = [dataclasses.replace(run("vgg11"), status="running")]
    (row,) = rows_of(measured.table(measured.results(alone)))
    assert (row["seeds"], row["XLA FLOPs, median"], row["times less"]) == ("", None, None)
    assert "seed 0 running" in row["what to know"]
    page.render(analyse(alone))


def test_a_single_run_has_the_error_bar_of_its_kind():
    def known_spread(record):
        is_alexnet = (record.model.name, record.model.source) == ("alexnet", None)
        return measure.Spread(0.11, 5, "top1:0.98") if is_alexnet else None

    own = dataclasses.replace(run().model, name="alexnet", source="0" * 64)
    mine = [dataclasses.replace(record, model=own) for record in at("alexnet", 8)]
    found = measured.results(at("alexnet", 8) + at("resnet18", 4) + mine, known_spread)
    (within,) = found.values()
    alexnet, resnet, user = sorted(within, key=lambda r: (r.key.sources[0] or "", r.key.model))
    assert user.spread is None, "a user's alexnet is not AlexNet"
    # t(4) = 2.776445.
    low, high = alexnet.bar(alexnet.estimate())
    assert low == pytest.approx(7.5 * GAP / math.exp(2.776445 * 0.11), rel=1e-5)
    assert high == pytest.approx(7.5 * GAP * math.exp(2.776445 * 0.11), rel=1e-5)
    assert resnet.bar(resnet.estimate()) is None
    assert alexnet.remark == (
        "one run: no interval below three seeds; one run of its kind spreads by ± 11% "
        "(standard deviation of 5 seeds, to top1:0.98)"
    )
    (group,) = page_data(analyse(at("alexnet", 8), known_spread=known_spread))["groups"]
    shown = group["configurations"][0]["at"][0]["xla"]
    assert shown == pytest.approx([7.5 * GAP, low, high], rel=1e-8)
    (three,) = measured.results(at("alexnet", 8, 9, 10), known_spread)[next(iter(found))]
    estimate = three.estimate()
    assert three.bar(estimate) == (estimate.low, estimate.high), "their own interval"


def test_settings_are_kept_apart_and_named_by_what_differs():
    halved = [
        dataclasses.replace(record, recipe={**record.recipe, "dtype": "bfloat16"})
        for record in at("alexnet", 5, 6)
    ]
    records = at("alexnet", 8, 10) + at("alexnet", 3, lr=0.5) + halved + at("resnet18", 4)
    (within,) = measured.results(records).values()
    assert {result.name: len(result.runs) for result in within} == {
        "alexnet, small, lr 0.1, batch 10, 20 epochs": 2,
        "alexnet, small, lr 0.5, batch 10, 20 epochs": 1,
        "alexnet, small, lr 0.1, batch 10, 20 epochs, bfloat16": 2,
        "resnet18": 1,
    }


def test_models_made_with_other_arguments_or_files_are_no_seeds_of_one_another():
    model = run().model
    others = [
        dataclasses.replace(model, args={"width": 2}),
        dataclasses.replace(model, args={"width": 3}),
        dataclasses.replace(model, source="0" * 64),
    ]
    changed = [dataclasses.replace(run(seed=1), model=other) for other in others]
    (within,) = measured.results([run(), *changed]).values()
    assert sorted(result.name for result in within) == [
        "alexnet, small, lr 0.1, batch 10, 2 epochs",
        "alexnet, small, lr 0.1, batch 10, 2 epochs, file 00000000",
        'alexnet, small, lr 0.1, batch 10, 2 epochs, model {"width": 2}',
        'alexnet, small, lr 0.1, batch 10, 2 epochs, model {"width": 3}',
    ]
    (together,) = next(iter(measured.results([run(), run(seed=1)]).values()))
    assert len(together.runs) == 2


def test_records_of_other_data_or_targets_are_never_compared():
    other = run("resnet18", (0.7,))
    other = dataclasses.replace(
        other, dataset=dataclasses.replace(other.dataset, fingerprint="other")
    )
    records = [run("alexnet"), other, run("resnet18", level=0.3)]
    rows = rows_of(measured.table(measured.results(records)))
    assert [(row["model"], row["times less"], row["than"]) for row in rows] == [
        ("alexnet", None, "the baseline"),
        ("resnet18", None, "alexnet was not measured"),
        ("resnet18", None, "alexnet was not measured"),
    ]
    assert measured.findings(measured.results([run("alexnet"), other])) == []


def test_factors_are_against_the_model_that_is_asked_for_and_against_no_other():
    records = at("resnet18", 5) + at("vgg11", 10, scale=9)
    # 4.5 gaps beside 9.5 of nine times their cost.
    factor = 9.5 * 9 / 4.5
    for baseline, factors in (
        ("vgg11", [factor, None]),
        ("resnet18", [None, 1 / factor]),
        ("alexnet", [None] * 2),
    ):
        rows = measured_rows(records, baseline)
        assert [rows[name]["times less"] for name in ("resnet18", "vgg11")] == [
            number and pytest.approx(number) for number in factors
        ]
        results = measured.results(records)
        (finding,) = measured.findings(results, baseline)
        assert finding.model == "resnet18"
        assert (finding.factor is None) == (factors[0] is None)
        assert len(measured.breakdown(results, baseline).rows) == (baseline != "alexnet")
    (finding,) = measured.findings(measured.results(records))
    assert "alexnet, with which it would be compared, was not measured" in finding.text
    own = dataclasses.replace(run("alexnet").model, source="0" * 64)
    own = dataclasses.replace(run("alexnet", scale=5), model=own)
    (finding,) = measured.findings(measured.results([own, records[0]]))
    assert finding.factor is None, "a user's alexnet is not AlexNet"


def test_the_factor_is_epochs_times_operations_an_epoch():
    records = at("alexnet", 8, 10, 13, scale=3) + at("resnet18", 4, 5, 7)
    (row,) = rows_of(measured.breakdown(measured.results(records)))
    assert row["epochs factor"] == pytest.approx(9.5 / 4.5)
    assert row["FLOPs an epoch factor"] == pytest.approx(3)
    assert row["product"] == pytest.approx(3 * 9.5 / 4.5)
    assert row["product, 95 % from"] == pytest.approx(3 * row["epochs factor, 95 % from"])
    assert (row["than"], row["its runs"], row["runs"]) == ("alexnet", 3, 3)
    # What did not get there is no product of anything.
    assert measured.breakdown(measured.results(at("alexnet", 8) + at("vgg11", None))).rows == ()


def test_a_change_of_batch_or_image_size_is_charged_by_its_segments():
    growing = run("resnet18", (0.4, 0.6), segments=GROWING)
    alexnet = run("alexnet", (0.4, 0.6), scale=3)
    rows = measured_rows([alexnet, growing])
    # 10 steps of 6000 FLOPs; half of the next 10 of 18 000. 100 images of 95 MACs, 100 of 150.
    assert rows["resnet18"]["XLA FLOPs, median"] == 60_000 + 180_000 / 2
    assert rows["resnet18"]["3 x MACs x images, median"] == 3 * (100 * 95 + 100 * 150)
    # AlexNet: 18 000 FLOPs a step, 1.5 epochs; the other 1 epoch and half of two.
    assert rows["resnet18"]["times less"] == 15 * 18_000 / 150_000
    (row,) = rows_of(measured.breakdown(measured.results([alexnet, growing])))
    assert row["epochs factor"] == 1.5 / 2
    assert row["FLOPs an epoch factor"] == pytest.approx(1.8 / 0.75)
    assert row["product"] == 1.8


def test_a_metric_of_which_less_is_better_is_measured_alike():
    losses = [(0.5, 0.1), (0.5, 0.4, 0.3), (0.1,)]
    records = [regression(loss, seed=seed) for seed, loss in enumerate(losses)]
    records = [
        dataclasses.replace(record, recipe={**record.recipe, "epochs": 3}) for record in records
    ]
    ((row),) = rows_of(measured.table(measured.results(records)))
    assert row["data and level"] == "sine, loss at most 0.2"
    # Within the second gap, never, and within the first.
    assert (row["epochs, median"], row["never got there"]) == (1.5, 1)


def _estimates(table):
    """(row, estimate, low, high) of every interval of a table, by its headings."""
    for i, column in enumerate(table.columns):
        if column.endswith("95 % from"):
            assert table.columns[i + 1].endswith("to")
            for row in table.rows:
                yield row, *row[i - 1 : i + 2]


@pytest.mark.parametrize("with_records", [False, True])
def test_every_interval_contains_its_estimate(with_records):
    records = []
    if with_records:
        records = (
            at("alexnet", 8, 10, 13, 9, 11)
            + at("resnet18", 4, 4, 4, 4, 9, scale=0.7)
            + at("vgg11", 4, None, 7, 15, 16, scale=2)
            + at("googlenet", None, 5, None)
            + at("densenet121", *range(3, 12), None)
            + at("squeezenet1_1", 6)
        )
    checked = {}
    for table in analyse(records).tables:
        for row, estimate, low, high in _estimates(table):
            if low is None or estimate is None:
                continue
            assert low <= estimate <= high, (table.name, row)
            checked[table.name] = checked.get(table.name, 0) + 1
    names = {"trends"}
    if with_records:
        names |= {"measured", "table1_measured", "order", "levels", "dominance"}
    assert set(checked) == names
    assert checked["trends"] == 9


def test_no_factor_stands_without_seeds_interval_and_level():
    records = at("alexnet", 8, 10, 13) + at("resnet18", 4, 5, 7)
    analysis = {table.name: table for table in analyse(records).tables}
    for name, factor in (
        ("measured", "times less"),
        ("table1_measured", "product"),
        ("levels", "factor"),
        ("dominance", "least factor"),
    ):
        columns = analysis[name].columns
        assert set(measured.interval_columns(factor)) <= set(columns)
        assert any("level" in column for column in columns)
        assert any(word in column for word in ("seeds", "runs") for column in columns)


def test_every_row_has_a_date_and_a_link_or_is_undated():
    own = dataclasses.replace(
        run().model, name="MyNet", source="0" * 64, published="2026-05-01", url="https://x.org/a"
    )
    undated = dataclasses.replace(own, name="alexnet", published=None, url="javascript:alert(1)")
    records = [run(), *(dataclasses.replace(run(), run_id=m.name, model=m) for m in (own, undated))]
    for table in (measured.table(measured.results(records)), tables.runs(records)):
        found = sorted((row["published"], row["publication"] or "") for row in rows_of(table))
        assert found[0][0] == "2012-06-01"
        assert found[1:] == [("2026-05-01", "https://x.org/a"), ("undated", "")]


def test_runs_of_recipes_that_differ_in_anything_are_not_put_together():
    plain, alike = at("alexnet", 8, 10, 13), at("alexnet", 16, 17, 18)
    other = [dataclasses.replace(r, recipe={**r.recipe, "accumulate": 4}) for r in alike]
    (within,) = measured.results(plain + other).values()
    assert [len(result.runs) for result in within] == [3, 3]
    assert within[0].name == "alexnet, small, lr 0.1, batch 10, 20 epochs, accumulate 4"


def test_what_an_evaluation_costs_tells_no_groups_apart():
    def flipped(runs, macs):
        cost = {"evaluation_macs_per_example": {"": macs}}
        return [dataclasses.replace(run, task={**run.task, **cost}) for run in runs]

    records = flipped(at("alexnet", 8, 9, 10), 190) + flipped(at("resnet18", 4, 4, 5), 300)
    rows = measured_rows(records)
    assert rows["resnet18"]["than"] == "alexnet"
    assert rows["resnet18"]["times less"] == pytest.approx(8.5 / 3.75, rel=0.1)
