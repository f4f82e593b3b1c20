import csv
import dataclasses
import datetime
import errno
import glob
import json
import math
import os

import pytest

from jaxeff.atomic import write_atomically
from jaxeff.errors import UsageError
from jaxeff.records.files import LARGEST_BYTES
from jaxeff.report import exchange, files
from jaxeff.report.analysis import analyse
from jaxeff.report.charts import page_data
from jaxeff.report.csv_file import csv_text
from jaxeff.report.tables import Table
from tests.launch.bucket import served_bucket
from tests.records.example import run


def _save(folder, *records):
    paths = []
    for i, record in enumerate(records):
        path = folder / f"{i}" / "record.json"
        path.parent.mkdir(parents=True)
        path.write_text(record if isinstance(record, str) else json.dumps(record.to_json()))
        paths.append(path)
    return paths


def test_patterns_find_files_once_and_name_what_matches_none(tmp_path):
    paths = _save(tmp_path, run(), run("b"))
    found, found_none = files.find_records(
        [f"{tmp_path}/**/record.json", f"{tmp_path}/0/*.json", f"{tmp_path}/none/*"]
    )
    assert found == paths
    assert found_none == [f"{tmp_path}/none/*"]


def test_a_folder_stands_for_the_records_in_it(tmp_path):
    strange = tmp_path / "runs [1]"
    paths = _save(strange, run(), run("b"))
    (strange / "0" / "other.json").write_text("{}")
    assert files.find_records([str(strange)]) == (paths, [])
    assert files.find_records([str(strange / "0")]) == (paths[:1], [])
    (tmp_path / "empty").mkdir()
    assert files.find_records([f"{tmp_path}/empty"])[0] == []


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match=r"--records=.*: cannot be read \(Permission denied\)"):
        files.find_records([str(tmp_path)])


def test_records_are_found_and_read_in_a_bucket(monkeypatch):
    with served_bucket() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        for name in ("runs/a", "runs/b/c", "others"):
            text = json.dumps(run(name).to_json())
            write_atomically(f"gs://bucket/{name}/record.json", text.encode())
        write_atomically("gs://bucket/runs/a/other.json", b"{}")
        runs = ["gs://bucket/runs/a/record.json", "gs://bucket/runs/b/c/record.json"]
        for pattern in ("gs://bucket/runs", "gs://bucket/runs/", "gs://bucket/r*/**/record.json"):
            found, found_none = files.find_records([pattern])
            assert [os.fspath(path) for path in found] == runs
            assert found_none == []
        found, found_none = files.find_records(["gs://bucket/none", "gs://bucket/*/record.json"])
        assert [os.fspath(path) for path in found] == ["gs://bucket/others/record.json"]
        assert found_none == ["gs://bucket/none"]
        valid, refused = files.read_records(files.find_records(["gs://bucket"])[0])
        assert sorted(record.model.name for record in valid) == ["others", "runs/a", "runs/b/c"]
        assert refused == []
        with pytest.raises(UsageError, match=r"gs://none/runs/.*: there is no such bucket"):
            files.find_records(["gs://none/runs/*/record.json"])
    with pytest.raises(UsageError, match="from a disk and from gs://bucket/folder"):
        files.find_records(["s3://bucket/runs"])


def test_folders_that_lead_to_each_other_are_searched_once(tmp_path):
    paths = _save(tmp_path, run(), run("b"))
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(tmp_path)
        (tmp_path / "0" / name).symlink_to(tmp_path)
    found, _ = files.find_records([str(tmp_path)])
    assert sorted(path.resolve() for path in found) == paths
    found, _ = files.find_records([f"{tmp_path}/**/[r]ecord.js*", f"{tmp_path}/**/**/record.json"])
    assert sorted(path.resolve() for path in found) == paths


def test_records_behind_a_link_are_found(tmp_path):
    (path,) = _save(tmp_path / "elsewhere", run())
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "linked").symlink_to(tmp_path / "elsewhere")
    (found,), _ = files.find_records([str(tmp_path / "runs")])
    assert found.resolve() == path


@pytest.mark.parametrize(
    "pattern",
    ["**/record.json", "**", "a/**/*.json", "*/**/record.json", "**/b/**/*", "**/.h/*", ".h/**"],
)
def test_patterns_mean_what_they_mean_to_glob(tmp_path, monkeypatch, pattern):
    for name in ("record.json", "a/record.json", "a/b/record.json", "a/b/x.json", ".h/record.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    monkeypatch.chdir(tmp_path)
    for prefix in ("", f"{tmp_path}/"):
        expected = set(glob.glob(prefix + pattern, recursive=True))
        found, _ = files.find_records([prefix + pattern])
        assert {str(path) for path in found} == {p for p in expected if os.path.isfile(p)}


def test_a_record_that_breaks_its_reader_does_not_cost_the_others(tmp_path, monkeypatch):
    paths = _save(tmp_path, run(), run("b"))
    read = files.records.read

    def broken(path):
        if path == paths[0]:
            raise OverflowError("int too large\n\x1b[2J")
        return read(path)

    monkeypatch.setattr(files.records, "read", broken)
    valid, (line,) = files.read_records(paths)
    assert [record.model.name for record in valid] == ["b"]
    assert "OverflowError: int too large" in line
    assert line.isprintable()


def test_a_file_without_a_valid_record_is_named_and_the_others_count(tmp_path):
    negative, not_a_number = run("negative").to_json(), run("nan").to_json()
    negative["compute"]["train_flops"] = -1
    not_a_number["curve"][0]["train_loss"] = float("nan")
    wrong = json.dumps(negative), json.dumps(not_a_number)
    paths = _save(tmp_path, run(), *wrong, "{", run())
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    valid, refused = files.read_records([*paths, huge, tmp_path / "missing.json"])
    assert [record.model.name for record in valid] == ["alexnet"]
    assert len(refused) == 6
    for line, words in zip(
        refused,
        ("train_flops", "NaN", "not a readable", "20 MB", "missing.json", "the same run as"),
        strict=True,
    ):
        assert words in line
        assert "\n" not in line


KINDS = ("png", "svg", "pdf")


@pytest.fixture
def quickly_drawn(monkeypatch):
    """What figures look like is tested in `test_figures.py`; here they are short files."""
    monkeypatch.setattr(
        files.figures, "render", lambda figure: {kind: kind.encode() for kind in KINDS}
    )


@pytest.mark.usefixtures("quickly_drawn")
def test_everything_is_written_and_tables_hold_the_numbers_in_full(tmp_path):
    analysis = analyse([run("alexnet", (0.4, 0.6)), run("resnet18", (0.6,))])
    files.write(analysis, tmp_path / "a" / "report")
    out = tmp_path / "a" / "report"
    expected = {f"figures/figure{n}.{kind}" for n in range(2, 6) for kind in KINDS}
    expected |= {"index.html", "audit.md"} | {f"tables/table{n}.csv" for n in range(1, 6)}
    assert {name for name in expected if not (out / name).is_file()} == set()
    for table in analysis.tables:
        lines = (out / "tables" / f"{table.name}.csv").read_text().splitlines()
        header = [line for line in lines if line.startswith("#")]
        assert header == lines[: len(header)]
        words = ("made by jaxeff", "Units: ", "Source ", "Licence: ", table.how)
        assert all(any(word in line for line in header) for word in words)
        rows = list(csv.reader(lines[len(header) :]))
        assert rows[0] == list(table.columns)
        assert len(rows) == len(table.rows) + 1
        for row, written in zip(table.rows, rows[1:], strict=True):
            for value, text in zip(row, written, strict=True):
                if isinstance(value, float):
                    assert float(text) == value
    assert (out / "index.html").stat().st_size < 6_000_000
    assert (out / "figures" / "figure5.svg").read_bytes() == b"svg"


def test_pandas_reads_a_table_under_its_header(tmp_path):
    table = Table(
        "t", "A title, quoted", ("name #", "x"), (("a # b", 1.5), ("=1", None)), "How #1."
    )
    text = csv_text(table, datetime.date(2026, 5, 1))
    assert "made by jaxeff" in text.splitlines()[0]
    assert "2026-05-01" in text.splitlines()[0]
    (tmp_path / "t.csv").write_text(text)
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(tmp_path / "t.csv", comment="#")
    assert list(frame.columns) == ["name #", "x"]
    assert list(frame["name #"]) == ["a # b", "'=1"]
    assert frame["x"][0] == 1.5
    assert math.isnan(frame["x"][1])


@pytest.mark.usefixtures("quickly_drawn")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file/report/.*cannot be written"):
        files.write(analyse([]), tmp_path / "file" / "report")


def test_the_export_can_be_read_back(tmp_path):
    beside = files.write_exchange([run()], tmp_path / "new" / "sota.csv")
    assert exchange.read(tmp_path / "new" / "sota.csv")
    assert beside.read_text().startswith("# Analysis")


def test_the_page_keeps_the_crossing_when_a_long_curve_is_thinned():
    top1 = [0.1] * 30_000 + [0.6] + [0.4] * 30_000
    record = run(top1=top1)
    (group,) = page_data(analyse([record]))["groups"]
    (curve,) = (shown["curve"] for shown in group["runs"])
    assert len(curve) <= 8_002
    assert max(point[2] for point in curve) == 0.6


def test_a_run_counts_once_however_often_it_is_there(tmp_path):
    short, long = run(top1=(0.4, 0.6)), run(top1=(0.4, 0.6, 0.7, 0.8))
    paths = _save(tmp_path / "continued", short, long)
    valid, (line,) = files.read_records(paths)
    assert [len(record.curve) for record in valid] == [4]
    assert f"{paths[0]}: the same run as {paths[1]}" in line
    # The same seed again, with the same numbers, is no further evidence; another seed is.
    again = dataclasses.replace(short, run_id="another", created="2026-02-02T03:04:05+00:00")
    other = run(top1=(0.4, 0.6), seed=1)
    valid, refused = files.read_records(_save(tmp_path / "again", short, again, other))
    assert [record.seed for record in valid] == [0, 1]
    assert len(refused) == 1
