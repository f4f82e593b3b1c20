"""Folders of runs, on a disk and in a bucket."""

import sys

import pytest

from jaxeff import records
from jaxeff.atomic import write_atomically
from jaxeff.errors import UsageError
from jaxeff.train import workdir
from tests.launch.bucket import served_bucket


@pytest.fixture(scope="module")
def bucket():
    with served_bucket() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield workdir.folder("gs://bucket/run")


def test_what_grows_on_a_disk_is_copied_to_a_bucket_when_it_is_published(bucket):
    log = workdir.MetricLog(bucket, step=0)
    log.write(1, "train", {"loss": 2.0})
    log.write(2, "train", {"loss": 1.0})
    log.publish()
    assert (bucket / "metrics.jsonl").read_text().count("\n") == 2
    (log.folder / "events.out").write_bytes(b"written beside it")
    (log.folder / "wandb").mkdir()
    log.close()
    assert (bucket / "events.out").read_bytes() == b"written beside it"
    again = workdir.MetricLog(
        bucket, step=1
    )  # Goes on from the first step: the second comes again.
    again.write(2, "train", {"loss": 0.5})
    again.close()
    text = (bucket / "metrics.jsonl").read_text()
    assert text.count("\n") == 2
    assert '"loss": 0.5' in text


def test_files_and_sources_are_whole_in_a_bucket(bucket):
    write_atomically(bucket / "curve.png", b"png")
    assert (bucket / "curve.png").read_bytes() == b"png"
    workdir.write_sources(bucket, {"net.py": "a\nb\n"})
    (bucket / "record.json").write_text("{}")
    workdir.check_same_sources(bucket, {"net.py": "a\nb\n"})
    with pytest.raises(UsageError, match=r"net\.py changed since this run began: 1 line added"):
        workdir.check_same_sources(bucket, {"net.py": "a\nc\nb\n"})
    with pytest.raises(UsageError, match=r"gs://bucket/run/record\.json"):
        records.read(bucket / "record.json")


def test_a_bucket_that_cannot_be_written_is_refused(bucket):
    with workdir.hold(bucket, is_writer=True):
        pass
    with (
        pytest.raises(UsageError, match="--workdir=gs://none/run: cannot be written"),
        workdir.hold(workdir.folder("gs://none/run"), is_writer=True),
    ):
        pass


def test_what_cannot_hold_a_run_is_refused(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="on a disk and in gs://"):
        workdir.folder("s3://bucket/run")
    with pytest.raises(UsageError, match="--workdir=~nobody-of-this-name/x"):
        workdir.folder("~nobody-of-this-name/x")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UsageError, match=r"needs gcsfs, .*: pip install .*\[gcs\]'"):
        workdir.folder("gs://bucket/run")
    assert workdir.folder(tmp_path) == tmp_path


def test_a_folder_that_this_host_does_not_see_is_refused(tmp_path):
    workdir.check_shared(tmp_path)
    with pytest.raises(UsageError, match="storage that all hosts share"):
        workdir.check_shared(tmp_path / "elsewhere", seconds=0.1)
