import csv
import dataclasses
import subprocess
import sys

import pytest

from jaxeff.compute import IMAGENET_EPOCH_IMAGES
from jaxeff.report import measured, published, tables
from jaxeff.report import model_costs as costs_module
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
def test_accuracies_stay_empty_without_imagenet_records_and_are_medians_with_them(metric, model):
    empty = _rows(tables.accuracy_table(metric, []))
    assert all(row["best, ours, %"] is None and row["difference"] is None for row in empty)
    own = [run(model, (0.4, 0.55), seed=seed, level=0.9) for seed in (0, 1, 2)]
    own[2] = run(model, (0.4, 0.9), seed=2, level=0.9)
    best = dataclasses.replace(own[1].curve[0], metrics={"loss": 1.6, "top1": 0.57, "top5": 1.0})
    own[1] = dataclasses.replace(own[1], curve=(best, own[1].curve[1]))
    imagenet = dataclasses.replace(
        own[0].dataset, name="mine", train_examples=1_281_167, validation_examples=50_000
    )
    task = {**own[0].task, "num_classes": 1000}
    own = [dataclasses.replace(record, dataset=imagenet, task=task) for record in own]
    filled = [
        r for r in _rows(tables.accuracy_table(metric, own)) if r["best, ours, %"] is not None
    ]
    assert [row["best, ours, %"] for row in filled] == pytest.approx(
        [57.0 if metric == "top1" else 100.0]
    )
    assert filled[0]["runs"] == 3


def test_the_optimizer_is_named_with_its_numbers():
    record = run()
    schedule = {"cosine": {"init_value": 0.1}}
    optimizer = {
        "chain": [
            {"add_decayed_weights": {"weight_decay": 5e-4, "mask": "a function"}},
            {"chain": [{"trace": {"decay": 0.9, "nesterov": True}}]},
            {"scale_by_schedule": {"step_size_fn": schedule}},
        ]
    }
    record = dataclasses.replace(record, recipe={**record.recipe, "optimizer": optimizer})
    text = "add_decayed_weights(weight_decay=0.0005), trace(decay=0.9), scale_by_schedule"
    for table in (measured.table(measured.results([record])), tables.runs([record])):
        assert _rows(table)[0]["optimizer"] == text


def test_a_change_of_batch_or_image_size_is_charged_by_its_segments():
    growing = run("resnet18", (0.4, 0.6), segments=GROWING)
    at_once = run("resnet18", (0.6, 0.6), segments=GROWING)
    # 10 steps of 6000 FLOPs and 10 of 18 000 for 300 images; or the first ten alone.
    assert tables.flops_per_example(growing) == 240_000 / 300
    assert tables.macs_per_example(growing) == (100 * 95 + 200 * 150) / 300
    assert tables.flops_per_example(at_once) == 600
    assert tables.macs_per_example(at_once) == 95


def test_a_run_that_has_not_begun_is_shown_with_its_first_cost():
    begun = run("resnet18", segments=GROWING)
    cost = dataclasses.replace(
        begun.compute, train_flops=0, teraflop_s_days=0, paper_flops=0, paper_teraflop_s_days=0
    )
    target = dataclasses.replace(begun.target, reached=False, step=None, epoch=None)
    record = dataclasses.replace(begun, compute=cost, curve=(), target=target, status="running")
    assert (tables.macs_per_example(record), tables.flops_per_example(record)) == (95, 600)
    assert _rows(tables.runs([record]))[0]["XLA FLOPs"] == 0


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
