import dataclasses

import pytest

from jaxeff import measure, records
from jaxeff.report import exchange, files
from jaxeff.report.names import readable
from tests.launch.commands import assert_one_line_and_exit_2, run_command, run_quickly
from tests.records.example import run


def _save(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write(path, record)


def test_works_before_anything_was_trained(tmp_path):
    finished = run_quickly("report", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "44.4 times less, halving every 15.8 months" in finished.stdout
    assert "none yet" in finished.stdout
    # As README says it of the records that come with the package.
    text = "shufflenet_v1 took the least compute of 16 models that got there, 9.57 times less than"
    assert f"(records of jaxeff): {text} alexnet" in finished.stdout
    page = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert readable(text) in page
    assert len(page) < 6_000_000
    assert (tmp_path / "report" / "figures" / "figure3.pdf").is_file()


def test_uses_records_names_bad_ones_imports_and_exports(tmp_path):
    runs = {
        "alexnet": [run("alexnet", (0.4,) * n + (0.6,), seed=n) for n in (4, 5, 8)],
        "shufflenet_v2": [run("shufflenet_v2", (0.4,) * n + (0.6,), seed=n) for n in (1, 2, 3)],
    }
    for found in runs.values():
        for i, record in enumerate(found):
            found[i] = dataclasses.replace(record, recipe={**record.recipe, "epochs": 9})
            _save(tmp_path / "runs" / record.run_id / str(i) / "record.json", found[i])
    (tmp_path / "runs" / "c").mkdir()
    (tmp_path / "runs" / "c" / "record.json").write_text('{"schema_version": 1}')
    others = run("a_model_of_others", (0.6,))
    others = dataclasses.replace(
        others, model=dataclasses.replace(others.model, published="2026-05-01")
    )
    files.write_exchange([others], tmp_path / "others.csv", "a_model_of_others")
    finished = run_quickly(
        "report",
        "--import=others.csv",
        "--export_sota=ours.csv",
        "--out=out",
        "--noshipped",
        cwd=tmp_path,
    )
    assert finished.returncode == 0, finished.stderr
    assert "records 6, and 1 left out" in finished.stdout
    # As a sweep prints it.
    factor = measure.table(runs, "alexnet")[-1].factor
    ends = f"95 %: {factor.low:.3g} to {factor.high:.3g}; 3 runs each"
    text = f"{factor.value:.3g} times less than alexnet ({ends})"
    assert text in finished.stdout
    assert readable(text) in (tmp_path / "out" / "index.html").read_text("utf-8")
    assert (tmp_path / "out" / "figures" / "factor_by_level.svg").is_file()
    assert finished.stderr.startswith("left out: runs/c/record.json: not a valid record")
    assert "shufflenet_v2" in (tmp_path / "out" / "tables" / "measured.csv").read_text()
    assert "a_model_of_others" in (tmp_path / "out" / "index.html").read_text("utf-8")
    assert "shufflenet_v2" in {point.model for _, point in exchange.read(tmp_path / "ours.csv")}


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--records=nothing/*.json", ("--records", "nothing/*.json")),
        ("--import=none.csv", ("--import=none.csv", "cannot be read")),
        ("--baseline=mynet", ("--baseline=mynet", "there are alexnet")),
        ("--baseline=vgg11 --noshipped", ("--baseline=vgg11", "there are no records")),
        ("--years=0", ("--years=0", "above 0")),
        ("--years=soon", ("years", "soon")),
    ],
)
def test_mistakes_are_one_line(tmp_path, flag, words):
    assert_one_line_and_exit_2(run_quickly("report", *flag.split(), cwd=tmp_path), *words)


@pytest.mark.slow
def test_a_thousand_records_of_500_points(tmp_path):
    import time

    top1 = [0.001 * i for i in range(500)]
    for i in range(1000):
        model = ("alexnet", "resnet18", "vgg11", "shufflenet_v2")[i % 4]
        record = run(model, top1, macs=100 + i % 7, scale=1 + i % 5, seed=i, level=0.4)
        _save(tmp_path / "runs" / str(i) / "record.json", record)
    started = time.monotonic()
    finished = run_command("report", cwd=tmp_path)
    print(f"{time.monotonic() - started:.1f} s")
    assert finished.returncode == 0, finished.stderr
    assert "records 1000" in finished.stdout
    assert (tmp_path / "report" / "index.html").stat().st_size < 6_000_000
