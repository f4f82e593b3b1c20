"""Where the numbers of a run are written besides its own folder: TensorBoard, W&B, MLflow, yours.

A writer is made when a run begins or goes on, by a call with the run's folder on this machine, its
record, and the step from which it goes on (`MakeWriter`); it takes numbers by step (`Writer`).
"""

import os
import pathlib
import socket
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from jaxeff import records
from jaxeff.errors import UsageError
from jaxeff.train.workdir import writing


class Writer(Protocol):
    """Takes the numbers of a run, on its first process alone."""

    def write(self, step: int, kind: str, numbers: Mapping[str, float]) -> None:
        """Takes the numbers of one step.

        Args:
          step: steps of training so far, rising.
          kind: `train` (every `log_every` steps) or `validation` (an evaluation).
          numbers: by name, such as `loss`, in base units; may be infinite or no number.
        """

    def close(self) -> None:
        """Ends the session: the run is over, interrupted or has failed."""


MakeWriter = Callable[[pathlib.Path, records.Record, int], Writer]
"""Takes the run's folder, its record and the step from which it goes on; returns a `Writer`."""


class TensorBoard:
    """An event file with a scalar `kind/name` for each number.

    Args:
      folder: where the file is written.
      record: of the run.
      step: what an earlier session wrote after this step is not shown.
    """

    def __init__(self, folder: pathlib.Path, record: records.Record, step: int):
        # TensorBoard's `EventFileWriter` and tensorboardX import TensorFlow or PyTorch where they
        # are installed, which takes seconds; these write the same frames without.
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        del record
        self._event, self._value = event_pb2.Event, summary_pb2.Summary.Value
        self._summary = summary_pb2.Summary
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        self._folder, self._file = folder, RecordWriter((folder / name).open("wb"))
        self._add(file_version="brain.Event:2")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(step=step + 1, session_log=start)

    def write(self, step: int, kind: str, numbers: Mapping[str, float]) -> None:
        """Adds a scalar for each number; see `Writer`."""
        values = [self._value(tag=f"{kind}/{n}", simple_value=v) for n, v in numbers.items()]
        self._add(step=step, summary=self._summary(value=values))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _add(self, **content):
        with writing(self._folder):
            self._file.write(self._event(wall_time=time.time(), **content).SerializeToString())
            self._file.flush()


class WeightsAndBiases:
    """A run of Weights & Biases, in the project `jaxeff` unless `WANDB_PROJECT` says otherwise.

    It has the run's id, so that a run that goes on after an interruption is one there too, and the
    record's model, task, recipe and so on as its configuration. `WANDB_MODE=offline` keeps it in
    the run's folder.

    Args:
      folder: of the run; `wandb` is made in it.
      record: of the run.
      step: from which the run goes on.

    Raises:
      UsageError: Weights & Biases does not take the run, as where nobody is logged in.
    """

    def __init__(self, folder: pathlib.Path, record: records.Record, step: int):
        import wandb

        del step  # Its numbers carry their step.
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "jaxeff"),
                name=_run_name(record),
                id=record.run_id,
                resume="allow",
                dir=str(folder),
                config=_configuration(record),
            )
        except wandb.Error as error:
            raise UsageError(
                f"--log_to=wandb: {error}; log in by `wandb login`, or set WANDB_MODE=offline"
            ) from error
        # Evaluations come with the step at which training already was.
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, kind: str, numbers: Mapping[str, float]) -> None:
        """Logs `kind/name` for each number; see `Writer`."""
        self._run.log({"step": step, **{f"{kind}/{n}": v for n, v in numbers.items()}})

    def close(self) -> None:
        """Ends the run there, and sends what is left of it."""
        self._run.finish()


class MLflow:
    """A run of MLflow, at `MLFLOW_TRACKING_URI`, in the experiment `jaxeff` unless it is set.

    A run that goes on after an interruption is one there too: it is found by its id, the tag
    `jaxeff.run_id`.

    Args:
      folder: of the run.
      record: of the run, whose model, task, recipe and so on are logged as parameters.
      step: from which the run goes on.

    Raises:
      UsageError: MLflow does not take the run, as where there is no server.
    """

    def __init__(self, folder: pathlib.Path, record: records.Record, step: int):
        import mlflow

        del folder, step
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "jaxeff")
        try:
            self._client = mlflow.MlflowClient()
            experiment = self._client.get_experiment_by_name(name)
            place = experiment.experiment_id if experiment else self._client.create_experiment(name)
            known = self._client.search_runs([place], f"tags.`jaxeff.run_id` = '{record.run_id}'")
            if known:
                self._id = known[0].info.run_id
                self._client.set_terminated(self._id, "RUNNING")
                return
            tags = {"jaxeff.run_id": record.run_id}
            made = self._client.create_run(place, run_name=_run_name(record), tags=tags)
            self._id = made.info.run_id
            for key, value in _flat(_configuration(record)).items():
                self._client.log_param(self._id, key, str(value)[:6000])
        except mlflow.exceptions.MlflowException as error:
            raise UsageError(f"--log_to=mlflow: {error}; see MLFLOW_TRACKING_URI") from error

    def write(self, step: int, kind: str, numbers: Mapping[str, float]) -> None:
        """Logs `kind/name` for each number; see `Writer`."""
        for name, number in numbers.items():
            self._client.log_metric(self._id, f"{kind}/{name}", number, step=step)

    def close(self) -> None:
        """Ends the run there."""
        self._client.set_terminated(self._id)


WRITERS: dict[str, MakeWriter] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}
"""By the name that `--log_to` takes. Each but TensorBoard is an extra of that name."""


def _run_name(record):
    return f"{record.model.name}-{record.dataset.name}-{record.recipe['name']}-s{record.seed}"


def _configuration(record):
    """What the run is told, of its record."""
    whole = record.to_json()
    return {key: whole[key] for key in ("model", "task", "recipe", "dataset", "seed", "software")}


def _flat(tree, prefix=""):
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
