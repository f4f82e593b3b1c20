"""What writers write, read by the programs that they write for."""

import json
import math
import os
import subprocess
import sys
import time

import pytest

from jaxeff.train import writers
from tests.records import example


def _scalars(folder):
    """What TensorBoard shows, by tag: pairs of step and value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, round(event.value, 6)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_shows_every_step_once_after_a_run_has_gone_on(tmp_path, monkeypatch):
    first = writers.TensorBoard(tmp_path, example.run(), 0)
    for step in (1, 2, 3):
        first.write(step, "train", {"loss": 1 / step, "examples_per_second": 100.0 * step})
    first.write(3, "validation", {"loss": 0.5})
    first.close()
    later = time.time() + 1  # The file of another session has another name.
    monkeypatch.setattr(writers.time, "time", lambda: later)
    second = writers.TensorBoard(tmp_path, example.run(), 2)  # Step 3 was not saved.
    second.write(3, "train", {"loss": 0.25})
    second.write(4, "train", {"loss": math.inf})
    second.close()
    assert _scalars(tmp_path) == {
        "train/loss": [(1, 1.0), (2, 0.5), (3, 0.25), (4, math.inf)],
        "train/examples_per_second": [(1, 100.0), (2, 200.0)],
        "validation/loss": [],
    }


def test_a_step_is_in_the_file_when_it_is_written(tmp_path):
    writer = writers.TensorBoard(tmp_path, example.run(), 0)
    writer.write(1, "train", {"loss": 2.0})
    assert _scalars(tmp_path) == {"train/loss": [(1, 2.0)]}
    writer.close()


def test_tensorboard_is_written_without_the_libraries_that_take_seconds_to_import(tmp_path):
    """tensorboardX imports PyTorch where it is installed, and TensorBoard's own TensorFlow."""
    for name in ("torch", "tensorflow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise AssertionError('imported')\n")
    code = (
        "import pathlib; from jaxeff.train import writers;"
        "w = writers.TensorBoard(pathlib.Path('.'), None, 0); w.write(1, 'a', {'b': 1.}); w.close()"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert _scalars(tmp_path) == {"a/b": [(1, 1.0)]}


def test_weights_and_biases_have_the_run_as_it_goes_on(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="pip install -e '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    record = example.run()
    writer = writers.WeightsAndBiases(tmp_path, record, 0)
    assert wandb.run.id == record.run_id
    assert wandb.run.config["recipe"]["name"] == record.recipe["name"]
    writer.write(5, "train", {"loss": 1.5})
    writer.write(4, "validation", {"top1": 0.25})
    assert wandb.run.summary["train/loss"] == 1.5
    assert wandb.run.summary["validation/top1"] == 0.25
    writer.close()
    assert wandb.run is None
    assert list(tmp_path.glob("wandb/offline-run-*"))


def test_mlflow_has_the_run_as_it_goes_on(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="pip install -e '.[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "store"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # Without a database.
    record = example.run()
    for step in (0, 5):
        writer = writers.MLflow(tmp_path, record, step)
        writer.write(step + 5, "train", {"loss": 1 / (step + 1)})
        writer.close()
    client = mlflow.MlflowClient()
    (place,) = [e for e in client.search_experiments() if e.name == "jaxeff"]
    (run,) = client.search_runs([place.experiment_id])
    assert run.data.params["recipe.name"] == record.recipe["name"]
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(5, 1.0), (10, 1 / 6)]
    assert run.info.status == "FINISHED"


def test_the_configuration_is_of_json_values():
    configuration = writers._configuration(example.run())
    assert json.loads(json.dumps(configuration)) == configuration
    assert writers._flat({"a": {"b": 1}, "c": [2]}) == {"a.b": 1, "c": [2]}
