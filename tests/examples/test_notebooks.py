"""The cells of each notebook run one after another, as a reader would run them."""

import contextlib
import io
import json

import matplotlib
import pytest

from jaxeff import records
from tests.launch.commands import ROOT
from tests.records import example


def _cells(name):
    notebook = json.loads((ROOT / "examples" / name).read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _run(name):
    names, printed = {"__name__": "__main__"}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for cell in _cells(name):
            exec(compile(cell, name, "exec"), names)
    return names, printed.getvalue()


def test_counting_any_step():
    names, printed = _run("count_any_step.ipynb")
    assert names["conv"] == 3_538_944  # 8 x 32 x 32 x 27 x 16; the notebook asserts the count.
    assert "unexplained" in printed


def test_from_records_to_a_figure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(matplotlib.rcParams, "backend", "agg")
    curve = (0.2, 0.4, 0.6, 0.7)
    for model, scale in (("alexnet", 4), ("shufflenet_v2", 1)):
        for seed in range(3):
            folder = tmp_path / "sweep" / f"{model}-s{seed}"
            folder.mkdir(parents=True)
            run = example.run(model=model, seed=seed, scale=scale, top1=curve, level=0.5)
            records.write(folder / "record.json", run)
    names, printed = _run("records_to_figure.ipynb")
    factors = {row.name: row.factor.value for row in names["rows"]}
    assert factors == pytest.approx({"alexnet": 1.0, "shufflenet_v2": 4.0})
    assert "4 (" in printed
    assert (tmp_path / "factor.png").read_bytes().startswith(b"\x89PNG")
