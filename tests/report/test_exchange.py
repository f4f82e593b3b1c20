import csv
import dataclasses
import io
import re

import pytest

from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.errors import UsageError
from jaxeff.report import exchange, files, published
from jaxeff.report.analysis import analyse
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
    assert metric == "d at 8 px, 50 % top-1 (data f)"
    # It crossed somewhere within its 100 images, and AlexNet in the second 100.
    assert point.compute == pytest.approx(3 * 1e12 * 50, rel=1e-3)
    assert point.published.isoformat() == "2018-07-30"
    last = list(csv.DictReader(io.StringIO(text)))[-1]
    assert float(last["Reduction Factor"]) == pytest.approx(5 * 150 / 50)
    assert "one run: no interval below three seeds" in last["Analysis"]
    for words in ("shufflenet_v2-0", "100 images", "3 x those", "lr 0.1"):
        assert words in analysis


def test_imported_rows_are_a_table_in_operations(tmp_path):
    text, _ = exchange.export([])
    rows = exchange.read(_write(tmp_path, text))
    table = next(t for t in analyse([], imported=rows).tables if t.name == "imported")
    assert len(table.rows) == len(published.sota())
    first = dict(zip(table.columns, table.rows[0], strict=True))
    assert (first["metric"], first["publication"]) == (rows[0][0], rows[0][1].model)
    days = published.sota()[0].teraflop_s_days.value
    assert first["compute, operations"] == pytest.approx(days * 8.64e16)
    assert "imported" not in {table.name for table in analyse([]).tables}


def _of_imagenet(name="imagenet2012", classes=1000, train=1_281_167, validation=50_000):
    """A record at 79.1 % top-5, of a set of that name and size."""
    record = run("shufflenet_v2", (0.6,), macs=10**12)
    return dataclasses.replace(
        record,
        task={**record.task, "num_classes": classes},
        dataset=dataclasses.replace(
            record.dataset, name=name, train_examples=train, validation_examples=validation
        ),
        target=dataclasses.replace(record.target, metric="top5", value=0.791),
    )


@pytest.mark.parametrize("name", ["imagenet2012", "ILSVRC"])
def test_an_imagenet_record_at_alexnets_level_joins_the_published_rows(name):
    text, analysis = exchange.export([_of_imagenet(name)])
    row = list(csv.DictReader(io.StringIO(text)))[-1]
    assert row["Metric"] == "AlexNet"
    days = 1.5e14 / TERAFLOP_S_DAY
    assert float(row["Reduction Factor"]) == pytest.approx(3.1 / days, rel=0.01)
    assert "Taken for ImageNet (ILSVRC 2012) by its numbers of classes and images" in analysis


@pytest.mark.parametrize(
    "differing",
    [{"classes": 2, "train": 12, "validation": 12}, {"classes": 100}, {"validation": 10_000}],
)
def test_a_name_makes_no_imagenet(differing):
    record = _of_imagenet(**differing)
    text, analysis = exchange.export([record])
    assert exchange.metric_name(record).startswith("imagenet2012 at 8 px, 79.1 % top-5")
    assert "Taken for ImageNet" not in analysis
    assert len(text.splitlines()) == 1 + len(published.sota())


def test_a_top5_of_few_classes_is_said_to_say_little():
    trivial, weak = _of_imagenet(classes=2), _of_imagenet("d", classes=10)
    assert exchange.metric_name(trivial).endswith("79.1 % top-5 of 2 classes (data f)")
    _, analysis = exchange.export([trivial, weak])
    assert "top-5 of 2 classes is trivial: every network is right" in analysis
    assert "chance alone gives a top-5 of 50 % among 10 classes" in analysis


def test_runs_of_two_sets_of_one_name_are_not_averaged():
    other = run("alexnet", (0.6,), macs=950)
    other = dataclasses.replace(
        other, dataset=dataclasses.replace(other.dataset, fingerprint="another")
    )
    text, _ = exchange.export([run("alexnet", (0.6,)), other])
    rows = list(csv.DictReader(io.StringIO(text)))[len(published.sota()) :]
    assert {row["Metric"] for row in rows} == {
        "d at 8 px, 50 % top-1 (data another)",
        "d at 8 px, 50 % top-1 (data f)",
    }
    assert [float(row["Reduction Factor"]) for row in rows] == [1, 1]


OTHERS = [
    # As its authors left it: no line break at the end.
    "\n".join([",".join(exchange.COLUMNS), *(row.line for row in published.sota())]),
    ",".join(exchange.COLUMNS) + "\r\nAlexNet,6/1/2012,AlexNet,,3.1,1,AI and Efficiency,\r\n",
    "\ufeff"
    + ",".join(exchange.COLUMNS)
    + '\nAlexNet,6/1/2012,"A ""Net""",,4.0,1,-x,\nX,1/1/2020,Y,,not yet,,,\n',
    "Note," + ",".join(exchange.COLUMNS) + "\n=1+1,AlexNet,6/1/2012,AlexNet,,3.1,1,,\n",
]


@pytest.mark.parametrize("existing", OTHERS)
def test_rows_of_others_stay_byte_for_byte_as_they_were(tmp_path, existing):
    path = tmp_path / "sota.csv"
    path.write_bytes(existing.encode())
    files.write_exchange([_of_imagenet()], path)
    content = path.read_bytes()
    assert content.startswith(existing.encode())
    (row,) = list(csv.reader(io.StringIO(content[len(existing.encode()) :].decode().strip())))
    assert "shufflenet_v2" in row
    assert content.endswith(b"\r\n" if "\r\n" in existing else b"\n")
    base = 4.0 if ",4.0," in existing else 3.1
    added = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))[-1]
    assert float(added["Reduction Factor"]) == pytest.approx(
        base * TERAFLOP_S_DAY / 1.5e14, rel=0.01
    )
    # Once more adds nothing.
    files.write_exchange([_of_imagenet()], path)
    assert path.read_bytes() == content


def test_a_new_file_begins_with_the_rows_as_their_authors_published_them():
    text, _ = exchange.export([])
    assert text == OTHERS[0] + "\n"
    row = next(csv.DictReader(io.StringIO(text)))
    assert row["Publication link"].startswith("https://papers.nips.cc/paper/4824-imagenet")


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"", b"\xff\xfe", b'"' + b"x" * 200_000])
def test_a_file_that_is_no_such_table_is_not_written_over(tmp_path, content):
    path = tmp_path / "sota.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="--export_sota"):
        files.write_exchange([run()], path)
    assert path.read_bytes() == content


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
    assert "no run of alexnet among the records got to this level" in analysis
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
    assert (
        list(csv.DictReader(io.StringIO(text)))[-1]["Metric"]
        == "sine, loss at most 0.2 (data sine)"
    )
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


def test_no_escape_sequence_reaches_a_terminal_by_way_of_a_csv_file():
    record = run("\x1b]0;owned\x07a\u202eb", (0.6,))
    record = dataclasses.replace(
        record, model=dataclasses.replace(record.model, published="2026-05-01")
    )
    for text in exchange.export([record, run()]):
        assert r"\x1b]0;owned\x07a\u202eb" in text
        assert all(line.isprintable() for line in text.splitlines())


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
        (HEAD + "\nm,6/1/2012,A,,1e308,1,,\n", "line 2.*not a number above 0"),
        (HEAD + "\nm,6/1/2012,A,,1e-308,1,,\n", "line 2.*not a number above 0"),
        (HEAD + "\nm,6/1/9999,A,,3.1,1,,\n", "not month/day/year, of 1940 to 2100"),
        (HEAD + f"\nm,6/1/2012,{'A' * 200_000},,3.1,1,,\n", "field larger than field limit"),
        (HEAD + f"\nm,6/1/2012,{'A' * 2001},,3.1,1,,\n", "line 2: a cell has more than 2,000"),
        (HEAD + "\nm,6/1/2012\n", "line 2.*None, not a number above 0"),
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


def _named(model, top1, **changes):
    """Three seeds of a model, whose files have no date of publication unless it is known."""
    return [run(model, top1, seed=seed, **changes) for seed in range(3)]


def test_no_row_is_against_a_baseline_that_has_none(tmp_path):
    records = _named("mine", (0.4, 0.4, 0.6), macs=10**12) + _named("resnet18", (0.6,), macs=10**12)
    text, analysis = exchange.export(records, baseline="mine")
    assert text == exchange.export([])[0]
    assert "mine, which its factor is from, has no date of publication" in analysis


def test_what_was_exported_is_not_added_again_and_can_be_imported(tmp_path):
    records = _named("alexnet", (0.4, 0.6), macs=5 * 10**12) + _named(
        "resnet18", (0.6,), macs=10**12
    )
    first, _ = exchange.export(records)
    second, _ = exchange.export(records, existing=first)
    assert second == first
    assert len(exchange.read(_write(tmp_path, second))) == len(published.sota()) + 2


def test_what_is_evaluated_in_another_way_has_a_metric_of_its_own(tmp_path):
    def cropped(records, fraction):
        settings = {"evaluation_crop_fraction": fraction}
        return [dataclasses.replace(r, task={**r.task, **settings}) for r in records]

    records = [
        *cropped(_named("alexnet", (0.4, 0.6), macs=5 * 10**12), 1.0),
        *cropped(_named("resnet18", (0.6,), macs=10**12), 0.875),
    ]
    text, analysis = exchange.export(records)
    assert "no run of alexnet among the records got to this level" in analysis
    metrics = {metric for metric, _ in exchange.read(_write(tmp_path, text))}
    assert "d at 8 px, 50 % top-1 (data f), evaluation_crop_fraction 1.0" in metrics
