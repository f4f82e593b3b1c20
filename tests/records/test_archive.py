import io
import tarfile

import pytest

from jaxeff import records
from jaxeff.errors import UsageError
from tests.records import example


def test_what_is_packed_is_read_again_and_the_same_records_give_the_same_bytes(tmp_path):
    runs = {f"sweep/net-s{seed}": example.run(seed=seed) for seed in range(3)}
    for name in ("one", "two"):
        records.write_archive(tmp_path / name, dict(reversed(runs.items())))
    assert records.read_archive(tmp_path / "one") == runs
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def _archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_a_bad_archive_is_one_clear_line(tmp_path):
    path = tmp_path / "runs.tar.xz"
    records.write_archive(path, {"a": example.run()})
    whole = path.read_bytes()
    bad = {"short": whole[: len(whole) // 2], "empty": b"", "text": b"no archive" * 100}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match="not a readable archive"):
            records.read_archive(tmp_path / name)
    _archive(tmp_path / "wrong", {"b/record.json": b'{"schema_version": 2}', "c.txt": b"no"})
    with pytest.raises(UsageError, match="wrong: b: not a valid record"):
        records.read_archive(tmp_path / "wrong")
    _archive(tmp_path / "none", {"../../x/other.json": b"{}"})
    assert records.read_archive(tmp_path / "none") == {}


def test_the_records_that_come_with_the_package_are_valid_and_traceable():
    shipped = records.shipped()
    assert shipped
    for name, record in shipped.items():
        assert record.status in ("reached", "completed", "diverged"), name
        assert record.software.git_commit, name
        assert record.software.git_dirty is False, name
        assert record.environment.cpu_model, name
