import csv
import dataclasses
import math
import subprocess
import sys

import pytest

from jaxeff.compute import IMAGENET_EPOCH_IMAGES
from jaxeff.report import model_costs as costs_module
from jaxeff.report import published, tables
from jaxeff.report.audit import DISAGREES, audit
from jaxeff.report.model_costs import model_costs
from tests.launch.commands import ROOT
from tests.records.example import GROWING, run


def _rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.fixture(scope="module")
def entries():
    return audit(model_costs())


def test_table_3_recomputes_to_the_printed_digits(entries):
    printed = {row.model: row for row in published.alexnet_level()}
    in_audit = {e.quantity for e in entries if e.where == "Table 3" and e.verdict == DISAGREES}
    for row in _rows(tables.table3(model_costs())):
        model = printed[row["model"]]
        ours = 3 * model.gmacs.value * 1e9 * row["epochs, printed"] * IMAGENET_EPOCH_IMAGES / 1e15
        assert row["compute, 1e15 operations, ours"] == pytest.approx(ours)
        half = model.petaflops.half_unit
        difference = abs(row["compute, 1e15 operations, difference"])
        # The rounding of the result or of the MACs allows a difference; any other is in the audit.
        fraction = model.gmacs.half_unit / model.gmacs.value
        if difference > half + fraction * ours:
            assert f"{row['model']}: compute, 1e15 operations" in in_audit


def test_table_1_is_the_product_of_its_factors(entries):
    rows = _rows(tables.table1())
    assert [row["model"] for row in rows] == [row.model for row in published.breakdown()]
    for row in rows:
        product = row["epochs factor, ours"] * row["FLOPs an epoch factor, ours"]
        assert row["training factor, ours"] == pytest.approx(product)
    last = rows[-1]
    assert last["epochs factor, ours"] == 22.5
    assert last["FLOPs an epoch factor, ours"] == pytest.approx(0.77 / 0.39)


def test_every_number_off_its_printed_digits_stands_in_the_audit(entries):
    disagreeing = [e for e in entries if e.verdict == DISAGREES]
    in_audit = {(e.where, e.quantity.partition(":")[0]) for e in disagreeing}
    for number, table in ((1, tables.table1()), (2, tables.table2())):
        for row in _rows(table):
            name = row["model"] if number == 1 else f"{row['original']} to {row['improved']}"
            for column, difference in row.items():
                if not column.endswith("difference") or difference is None:
                    continue
                printed = row[column.replace("difference", "printed")]
                if abs(difference) > 0.05 * printed:
                    assert (f"Table {number}", name) in in_audit, (name, column, difference)


def test_every_disagreement_has_a_reason(entries):
    for entry in entries:
        if entry.verdict == DISAGREES:
            assert len(entry.reason) > 10, entry
            assert "no reason is known" not in entry.reason, entry


def test_known_contradictions_of_the_paper_are_found(entries):
    text = " ".join(f"{e.where} {e.quantity} {e.reason}" for e in entries if e.verdict == DISAGREES)
    for words in ("1e15 operations", "lacks the factor 3", "has batch norm"):
        assert words in text


@pytest.mark.parametrize(("metric", "model"), [("top1", "mobilenet_v1"), ("top5", "alexnet")])
def test_accuracies_stay_empty_without_imagenet_records_and_are_means_with_them(metric, model):
    empty = _rows(tables.accuracy_table(metric, []))
    assert all(row["best, ours, %"] is None and row["difference"] is None for row in empty)
    own = [run(model, (0.4, 0.55), seed=seed, level=0.9) for seed in (0, 1)]
    best = dataclasses.replace(own[1].curve[0], metrics={"loss": 1.6, "top1": 0.57, "top5": 1.0})
    own[1] = dataclasses.replace(own[1], curve=(best, own[1].curve[1]))
    imagenet = dataclasses.replace(own[0].dataset, name="imagenet2012")
    own = [dataclasses.replace(record, dataset=imagenet) for record in own]
    filled = [
        r for r in _rows(tables.accuracy_table(metric, own)) if r["best, ours, %"] is not None
    ]
    assert [row["best, ours, %"] for row in filled] == pytest.approx(
        [56.0 if metric == "top1" else 100.0]
    )


def test_seeds_are_averaged_with_students_interval_and_settings_kept_apart():
    records = [
        run("alexnet", (0.4, 0.6), seed=0),
        run("alexnet", (0.6, 0.6), seed=1),
        run("resnet18", (0.7, 0.7), scale=2, seed=0),
        run("resnet18", (0.1, 0.2), scale=2, seed=1),
        run("resnet18", (0.7, 0.7), scale=2, lr=0.5),
    ]
    rows = _rows(tables.measured(records))
    assert len(rows) == 3
    alexnet = next(row for row in rows if row["model"] == "alexnet")
    # Charged 20 and 10 steps of 6000: mean 90 000, deviation 60 000 / sqrt 2, t(1) = 12.706.
    assert alexnet["XLA FLOPs, mean"] == pytest.approx(90_000)
    assert alexnet["to"] == pytest.approx(90_000 + 12.7062 * 60_000 / math.sqrt(2) / math.sqrt(2))
    resnets = [row for row in rows if row["model"] == "resnet18"]
    assert sorted((row["runs"], row["reached"]) for row in resnets) == [(1, 1), (2, 1)]
    for row in resnets:
        assert row["times less"] == pytest.approx(90_000 / 120_000)
        assert row["than"] == "alexnet"
        assert row["95 % from"] is None
    breakdown = _rows(tables.breakdown_measured(records))
    for row in breakdown:
        assert row["product"] == pytest.approx(row["epochs factor"] * row["FLOPs an epoch factor"])


def test_records_of_other_data_or_targets_are_never_compared():
    other = run("resnet18", (0.7,))
    other = dataclasses.replace(
        other, dataset=dataclasses.replace(other.dataset, fingerprint="other")
    )
    rows = _rows(tables.measured([run("alexnet"), other, run("resnet18", level=0.3)]))
    assert [(row["model"], row["times less"], row["than"]) for row in rows] == [
        ("alexnet", 1, "alexnet"),
        ("resnet18", None, "alexnet did not get there"),
        ("resnet18", None, "alexnet did not get there"),
    ]
    assert tables.findings([run("alexnet"), other]) == []


def test_a_finding_is_the_least_compute_beside_alexnets():
    found = tables.findings([run("alexnet"), run("resnet18", (0.6, 0.6)), run("vgg11", scale=9)])
    # ResNet-18 gets there in 10 steps, AlexNet in 20 of the same cost.
    assert found == [("d at 8 px, 50 % top-1", "resnet18", 2, "alexnet", 3)]


def test_factors_are_against_the_model_that_is_asked_for_and_against_no_other():
    records = [run("resnet18", (0.6, 0.6)), run("vgg11", scale=9)]
    # 10 steps beside 20 of nine times their cost.
    for baseline, factors in (
        ("vgg11", [18, 1]),
        ("resnet18", [1, 1 / 18]),
        ("alexnet", [None] * 2),
    ):
        rows = {row["model"]: row for row in _rows(tables.measured(records, baseline))}
        assert [rows[name]["times less"] for name in ("resnet18", "vgg11")] == factors
        (finding,) = tables.findings(records, baseline)
        assert finding[1:] == ("resnet18", factors[0], baseline, 2)
        assert len(tables.breakdown_measured(records, baseline).rows) == 2 * (
            factors[0] is not None
        )
    own = dataclasses.replace(run("alexnet").model, source="0" * 64)
    own = dataclasses.replace(run("alexnet", scale=5), model=own)
    (finding,) = tables.findings([own, records[0]])
    assert finding.factor is None, "a user's alexnet is not AlexNet"


def test_every_row_has_a_date_and_a_link_or_is_undated():
    own = dataclasses.replace(
        run().model, name="MyNet", source="0" * 64, published="2026-05-01", url="https://x.org/a"
    )
    undated = dataclasses.replace(own, name="alexnet", published=None, url="javascript:alert(1)")
    records = [run(), *(dataclasses.replace(run(), run_id=m.name, model=m) for m in (own, undated))]
    for table in (tables.measured(records), tables.runs(records)):
        found = sorted((row["published"], row["publication"]) for row in _rows(table)[1:])
        assert found == [("2026-05-01", "https://x.org/a"), ("undated", None)]
        assert _rows(table)[0]["published"] == "2012-06-01"


def test_a_change_of_batch_or_image_size_is_charged_by_its_segments():
    growing = run("resnet18", (0.4, 0.6), segments=GROWING)
    at_once = run("resnet18", (0.6, 0.6), segments=GROWING)
    # 10 steps of 6000 FLOPs and 10 of 18 000 for 300 images; or the first ten alone.
    assert tables.flops_per_example(growing) == 240_000 / 300
    assert tables.macs_per_example(growing) == (100 * 95 + 200 * 150) / 300
    assert tables.flops_per_example(at_once) == 600
    assert tables.macs_per_example(at_once) == 95
    alexnet = run("alexnet", (0.4, 0.6), scale=3)
    rows = {row["model"]: row for row in _rows(tables.measured([alexnet, growing]))}
    assert rows["resnet18"]["XLA FLOPs, mean"] == 240_000
    assert rows["resnet18"]["3 x MACs x images, mean"] == 3 * (100 * 95 + 200 * 150)
    assert rows["resnet18"]["times less"] == 20 * 18_000 / 240_000
    row = _rows(tables.breakdown_measured([alexnet, growing]))[1]
    # AlexNet takes 2 epochs of 1800 FLOPs an image, the other 3 of 800.
    assert row["FLOPs an epoch factor"] == pytest.approx(1800 / 800)
    assert row["product"] == pytest.approx(20 * 18_000 / 240_000)


def test_a_run_that_has_not_begun_is_shown_with_its_first_cost():
    begun = run("resnet18", segments=GROWING)
    cost = dataclasses.replace(
        begun.compute, train_flops=0, teraflop_s_days=0, paper_flops=0, paper_teraflop_s_days=0
    )
    target = dataclasses.replace(begun.target, reached=False, step=None, epoch=None)
    record = dataclasses.replace(begun, compute=cost, curve=(), target=target, status="running")
    assert (tables.macs_per_example(record), tables.flops_per_example(record)) == (95, 600)
    assert _rows(tables.runs([record]))[0]["XLA FLOPs"] == 0


def test_models_made_with_other_arguments_or_files_are_no_seeds_of_one_another():
    model = run().model
    others = [
        dataclasses.replace(model, args={"width": 2}),
        dataclasses.replace(model, args={"width": 3}),
        dataclasses.replace(model, source="0" * 64),
    ]
    assert [row["runs"] for row in _rows(tables.measured([run(), run(seed=1)]))] == [2]
    changed = [dataclasses.replace(run(seed=1), model=other) for other in others]
    rows = _rows(tables.measured([run(), *changed]))
    assert [row["runs"] for row in rows] == [1, 1, 1, 1]
    assert any('model {"width": 2}' in row["recipe"] for row in rows)


def test_the_table_of_runs_ends_with_what_decides_the_rounding():
    table = tables.runs([run()])
    assert table.columns[-2:] == ("kernels", "cpu_model")
    assert table.rows[0][-2:] == ("xla", "a processor")


def test_every_model_of_table_3_was_counted():
    assert set(model_costs()) >= {row.our_name for row in published.alexnet_level()}


@pytest.mark.slow
def test_the_shipped_counts_are_what_the_command_prints_today():
    arguments = costs_module.COMMAND.split()[1:]
    printed = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    fresh = {row["model"]: row for row in csv.DictReader(printed.splitlines())}
    for name, cost in model_costs().items():
        assert int(fresh[name]["macs_forward_per_image"]) == cost.macs_forward_per_image
        assert float(fresh[name]["xla_train_flops_per_image"]) == cost.xla_train_flops_per_image
