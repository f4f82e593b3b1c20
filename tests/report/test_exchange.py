import csv
import dataclasses
import io
import re

import pytest

from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.errors import UsageError
from jaxeff.report import exchange, published
from tests.records.example import GROWING, regression, run


def _write(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_exported_is_imported_with_the_same_numbers(tmp_path):
    records = [
        run("alexnet", (0.4, 0.6), macs=5 * 10**12),
        run("shufflenet_v2", (0.6,), macs=10**12),
    ]
    text, analysis = exchange.export(records)
    rows = exchange.read(_write(tmp_path, text))
    assert len(rows) == len(published.sota()) + 2
    metric, point = rows[-1]
    assert metric == "d at 8 px, 50 % top-1"
    # It crossed somewhere within its 100 images, and AlexNet in the second 100.
    assert point.compute == pytest.approx(3 * 1e12 * 50, rel=1e-3)
    assert point.published.isoformat() == "2018-07-30"
    last = list(csv.DictReader(io.StringIO(text)))[-1]
    assert float(last["Reduction Factor"]) == pytest.approx(5 * 150 / 50)
    assert "one run: no interval below three seeds" in last["Analysis"]
    for words in ("shufflenet_v2-0", "100 images", "3 x those", "lr 0.1"):
        assert words in analysis


def test_an_imagenet_record_at_alexnets_level_joins_the_published_rows():
    record = run("shufflenet_v2", (0.6,), macs=10**12)
    record = dataclasses.replace(
        record,
        dataset=dataclasses.replace(record.dataset, name="imagenet2012"),
        target=dataclasses.replace(record.target, metric="top5", value=0.791),
    )
    text, _ = exchange.export([record])
    row = list(csv.DictReader(io.StringIO(text)))[-1]
    assert row["Metric"] == "AlexNet"
    days = 1.5e14 / TERAFLOP_S_DAY
    assert float(row["Reduction Factor"]) == pytest.approx(3.1 / days, rel=0.01)


def test_a_row_is_the_median_of_its_runs_with_its_interval_and_misses_make_it_none():
    def imagenet(record):
        return dataclasses.replace(
            record,
            dataset=dataclasses.replace(record.dataset, name="imagenet2012"),
            recipe={**record.recipe, "epochs": 9},
        )

    crossing = [(0.1,) * n + (0.6,) for n in (3, 4, 6)]
    runs = [imagenet(run("resnet18", top1, seed=i, level=0.5)) for i, top1 in enumerate(crossing)]
    base = [imagenet(run("alexnet", (0.1,) * 8 + (0.6,), seed=i)) for i in range(3)]
    misses = [imagenet(run("vgg11", (0.1,) * 9, seed=i)) for i in range(2)]
    running = dataclasses.replace(imagenet(run("vgg11", (0.6,), seed=2)), status="running")
    text, analysis = exchange.export([*runs, *base, *misses, running])
    rows = list(csv.DictReader(io.StringIO(text)))[len(published.sota()) :]
    assert [row["Publication"] for row in rows] == ["alexnet", "resnet18"]
    assert "3 runs, the baseline" in rows[0]["Analysis"]
    days = 4.5 * 100 * 3 * 95 / TERAFLOP_S_DAY
    assert float(rows[1]["Compute (teraflops-s/days)"]) == pytest.approx(days, rel=1e-3)
    assert float(rows[1]["Reduction Factor"]) == pytest.approx(8.5 / 4.5, rel=1e-2)
    assert re.search(r"median \(factor: 95 %: \d\.\d+ to \d\.\d+; 3 runs\)", rows[1]["Analysis"])
    _, _, reason = analysis.partition("Not among the rows: ")
    assert "2 of 2 never got there (seed 0, seed 1), so the median is infinite" in reason
    assert "seed 2 running" in reason


def test_a_row_has_the_date_and_link_of_its_file_and_what_lacks_a_date_or_a_baseline_has_no_row():
    def own(name, **facts):
        record = run(name, (0.6,))
        return dataclasses.replace(
            record, model=dataclasses.replace(record.model, source="0" * 64, **facts)
        )

    dated = own("MyNet", published="2026-05-01", url="https://x.org/a")
    undated = own("Another")
    elsewhere = dataclasses.replace(run("resnet18", level=0.3), seed=4)
    costly = run("vgg11", (0.4, 0.6), macs=9500)
    text, analysis = exchange.export([dated, undated, elsewhere, costly, run()])
    rows = list(csv.DictReader(io.StringIO(text)))[len(published.sota()) :]
    assert [row["Publication"] for row in rows] == ["alexnet", "vgg11", "MyNet"]
    assert rows[2]["Publication Date"] == "5/1/2026"
    assert rows[2]["Publication link"] == "https://x.org/a"
    # They cross in the second, the second and the first hundred images.
    assert [float(row["Reduction Factor"]) for row in rows] == [1, 0.01, 3]
    assert analysis.count("Not among the rows") == 2
    assert "alexnet did not get to this level" in analysis
    assert "no date of publication is known" in analysis


def test_images_of_a_run_that_grows_them_are_counted_at_what_each_cost():
    text, analysis = exchange.export([run(top1=(0.4, 0.6), segments=GROWING)])
    assert "95 at 8 px in batches of 10 from step 0 on; 150 at 10 px in batches of 20" in analysis
    assert "epoch 3, 300 images, 1.185e+05 operations" in analysis
    last = list(csv.DictReader(io.StringIO(text)))[-1]
    days = float(last["Compute (teraflops-s/days)"])
    assert days == pytest.approx(3 * (95 * 100 + 150 * 100) / 8.64e16, rel=1e-3)


def test_another_task_is_exported_in_its_own_words():
    record = regression()
    model = dataclasses.replace(record.model, published="2026-05-01")
    record = dataclasses.replace(record, model=model)
    text, analysis = exchange.export([record], "mlp")
    assert list(csv.DictReader(io.StringIO(text)))[-1]["Metric"] == "sine, loss at most 0.2"
    assert "Level: loss at most 0.2 on sine (50 validation examples" in analysis
    assert "example, counted from the program: 95." in analysis
    assert "image" not in analysis


def test_cells_that_a_spreadsheet_would_run_are_quoted():
    record = run("=HYPERLINK(1)", (0.6,))
    record = dataclasses.replace(
        record, model=dataclasses.replace(record.model, published="2026-05-01")
    )
    text, _ = exchange.export([record, run()])
    assert "'=HYPERLINK" in text
    assert ",=HYPERLINK" not in text


HEAD = ",".join(exchange.COLUMNS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "column 'Metric' is missing"),
        ("Metric,Publication\na,b\n", "column 'Publication Date' is missing"),
        (HEAD + "\n", "no rows"),
        (HEAD + "\nm,2012-06-01,A,,3.1,1,,\n", "line 2.*not month/day/year"),
        (HEAD + "\nm,6/1/2012,A,,-3.1,1,,\n", "line 2.*not a number above 0"),
        (HEAD + "\nm,6/1/2012,A,,nan,1,,\n", "line 2.*not a number above 0"),
        (HEAD + "\nm,6/1/2012,,,3.1,1,,\n", "must not be empty"),
        (HEAD + "\nm,6/1/2012,A,,4,1,,\nm,6/1/2013,B,,2,3,,\n", "line 3.*4 / 2 is 2"),
    ],
)
def test_wrong_rows_are_named(tmp_path, text, words):
    with pytest.raises(UsageError, match=words):
        exchange.read(_write(tmp_path, text))


def test_a_file_that_is_not_there_or_no_text_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        exchange.read(tmp_path / "none.csv")
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        exchange.read(tmp_path / "x.csv")
