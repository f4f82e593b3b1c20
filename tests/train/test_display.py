"""What a person sees of a run, on a terminal of eighty columns and in a file."""

import re

import pytest

from jaxeff.train.display import Display, _as_call, _duration
from jaxeff.train.loop import Session
from tests.train.tiny_run import tiny_run

CROP = {"crop": {"RandomResizedCrop": {"area": [0.5, 1.0], "aspect": [0.75, 4 / 3]}}}


@pytest.fixture(params=["terminal", "file"])
def display(request, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    if request.param == "terminal":
        monkeypatch.setenv("FORCE_COLOR", "1")
    shown = Display(total_steps=40, log_every=20, noun="images")
    assert shown._live == (request.param == "terminal")
    return shown


def test_the_configuration_is_a_table_of_two_columns_without_long_numbers(
    display, tmp_path, capsys
):
    session = Session(tiny_run(tmp_path / "run", writers=()), display)
    session.close()
    _, *lines = capsys.readouterr().out.splitlines()
    (starts,) = {len(re.match(r"  \w+ +", line)[0]) for line in lines if line[2] != " "}
    for line in lines:
        if "/" not in line:  # A path is not cut.
            assert len(line) <= (80 if display._live else 100)
        assert line[starts - 2 : starts] == "  "
    names = {line[:starts].strip() for line in lines} - {""}
    assert {"model", "data", "target", "recipe", "schedule", "kernels", "workdir"} <= names
    text = " ".join(line[starts:] for line in lines)
    assert not re.findall(r"\d\.\d{7,}", text)
    assert "evaluated every epoch, stopping there" in text


def test_what_is_compiled_is_said_before_there_is_a_rate(display, capsys):
    display.compiling()
    (bar,) = display._progress.tasks
    assert bar.fields["doing"] == "compiling…"
    with display:
        display.step(20, 1.5, 100.0, 60.0)
    printed = capsys.readouterr().out
    assert "100 images/s  loss 1.5000" in printed or "loss 1.5000  100 images/s" in printed
    assert display._live or printed.startswith("compiling…\nstep 20/40")


def test_a_description_reads_as_the_call_that_makes_it():
    assert _as_call(CROP) == "crop(RandomResizedCrop(area=[0.5, 1], aspect=[0.75, 1.33333]))"
    assert _as_call({"chain": [{"trace": {"decay": 0.9}}, {"scale": {}}]}) == (
        "trace(decay=0.9), scale()"
    )


def test_a_duration_has_the_units_that_people_read():
    assert [_duration(s) for s in (0.25, 59.4, 75.2, 3600, 5025)] == [
        "0.2s",
        "59.4s",
        "1m15s",
        "1h00m",
        "1h23m",
    ]
