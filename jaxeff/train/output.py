"""What a run leaves in its folder and shows on the screen, from its first process alone."""

import time

from jaxeff import records
from jaxeff.atomic import write_atomically
from jaxeff.train.curve import draw_curve
from jaxeff.train.display import Display
from jaxeff.train.progress import Progress
from jaxeff.train.workdir import MetricLog, writing

# Drawing the learning curve takes a third of a second.
SECONDS_BETWEEN_DRAWINGS = 30


class Output:
    """Writes `record.json`, `curve.png`, `metrics.jsonl` and to the run's writers, and prints.

    Args:
      progress: of the run, resumed already where it is.
      display: prints.
      is_writer: False in all processes of a run but the first; these write nothing.
    """

    def __init__(self, progress: Progress, display: Display, is_writer: bool):
        self.display = display
        self._progress = progress
        self._workdir = progress.run.workdir
        self._next_drawing = time.monotonic() + SECONDS_BETWEEN_DRAWINGS
        self._metric_log, self._writers = None, ()
        if is_writer:
            with writing(self._workdir):
                self._metric_log = MetricLog(self._workdir, progress.step)
            self._writers = [
                make(self._metric_log.folder, progress.record(), progress.step)
                for make in progress.run.writers
            ]
            if self._metric_log.dropped:
                display.line(
                    f"metrics.jsonl: {self._metric_log.dropped} damaged lines were left out"
                )

    def train_step(self, step: int, numbers: dict[str, float], seconds_left: float) -> None:
        """Shows a step that the devices have finished, and logs its numbers where it is due."""
        self.display.step(step, numbers["loss"], numbers["examples_per_second"], seconds_left)
        if self._metric_log is not None and step % self._progress.run.log_every == 0:
            self._log(step, "train", numbers)

    def evaluation(self, point: records.Point) -> None:
        """Shows and logs an evaluation."""
        run = self._progress.run
        self.display.evaluation(point, run.recipe.epochs, run.task.metrics)
        if self._metric_log is not None:
            numbers = {
                "epoch": point.epoch,
                "examples": point.examples,
                "train_flops": point.train_flops,
                "train_loss": point.train_loss,
                **point.metrics,
                **{f"ema_{name}": value for name, value in (point.ema_metrics or {}).items()},
            }
            self._log(point.step, "validation", numbers)
        if self._progress.target.step == point.step:
            self.display.line(f"target {run.target} reached")

    def publish(self) -> None:
        """Writes `record.json`, and `curve.png` now and then and at the end."""
        if self._metric_log is None:
            return
        record = self._progress.record()
        with writing(self._workdir):
            self._metric_log.publish()
            records.write(self._workdir / "record.json", record)
        due = record.status != "running" or time.monotonic() >= self._next_drawing
        if record.curve and due:
            self._next_drawing = time.monotonic() + SECONDS_BETWEEN_DRAWINGS
            drawing = draw_curve(record, self._progress.run.metrics)
            with writing(self._workdir):
                write_atomically(self._workdir / "curve.png", drawing)

    def farewell(self) -> None:
        """Says how the run ended, and prints the receipt."""
        progress = self._progress
        if progress.status == "diverged":
            self.display.line(
                f"diverged: the loss is not finite near step {progress.step}; try a lower --lr"
            )
        if progress.status == "interrupted":
            self.display.line(
                f"interrupted at step {progress.step}, saved; run the same command to go on"
            )
        self.display.receipt(progress.record(), progress.run, str(self._workdir / "record.json"))

    def close(self) -> None:
        """Closes the files."""
        for writer in self._writers:
            writer.close()
        if self._metric_log is not None:
            self._metric_log.close()

    def _log(self, step, kind, numbers):
        with writing(self._workdir):
            self._metric_log.write(step, kind, numbers)
        for writer in self._writers:
            writer.write(step, kind, numbers)
