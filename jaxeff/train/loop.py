"""Training until a target is reached, and the record of what that took."""

import collections
import contextlib
import math
import time
from collections.abc import Iterator

import jax
import numpy as np

from jaxeff import records
from jaxeff.errors import UsageError
from jaxeff.train import accounting, hooks, hosts, parallel, workdir
from jaxeff.train.checkpoints import Checkpoints
from jaxeff.train.display import Display
from jaxeff.train.output import Output
from jaxeff.train.progress import Progress
from jaxeff.train.run import Run
from jaxeff.train.trainer import Trainer

# How far the host runs ahead of the devices: enough to hide its own work, little enough that the
# batches in between do not fill the memory, and that a run soon stops.
STEPS_IN_FLIGHT = 8
SECONDS_IN_FLIGHT = 4
SECONDS_TO_CLOSE = 4
# At evaluations, no larger part of the time goes into checkpoints that take longer than this.
CHECKPOINTS_SHARE = 0.05
QUICK_CHECKPOINT_SECONDS = 1.0


def train_to_target(run: Run, link: hosts.Link | None = None) -> records.Record:
    """Trains until the target is met or the schedule ends.

    Writes `record.json`, `metrics.jsonl`, TensorBoard event files, `curve.png` and `checkpoints/`
    to `run.workdir`. A checkpoint there is resumed: the run goes on with the numbers that it would
    have had without the interruption. SIGTERM and SIGINT end the session after a checkpoint.

    In a run of several processes each of them calls this, with the `link` that `join_processes`
    returned; the first one writes and prints.

    Returns:
      The record. Its `status` is `reached` (the target was met and the run stopped there),
      `completed` (the schedule is at its end), `diverged` (the loss is not finite) or
      `interrupted`.

    Raises:
      UsageError: the batch size does not suit the devices, the processes are told different
        things, the workdir cannot be used or holds another run, or an example cannot be read.
      ValueError: there are several processes, and no `link` to stop them together.

    Any other exception, such as of the network, has `what_is_safe`, a line on the checkpoints.
    """
    if jax.process_count() > 1 and link is None:
        raise ValueError("several processes: give the link that train.join_processes returns")
    for span in run.spans:
        parallel.check_batch_size(span.batch_size, run.recipe.accumulate)
    is_writer = jax.process_index() == 0
    display = Display(run.total_steps, run.log_every, run.task.example_noun, silent=not is_writer)
    stop = hosts.StopPoint(link)
    with (
        hooks.heeding_signals(display.line, stop.request),
        workdir.hold(run.workdir, is_writer=is_writer),
    ):
        session = Session(run, display, stop, link)
        try:
            session.finish(session.train())
        except BaseException as error:
            # After an error the threads of a library may wait for each other for ever.
            hooks.within(SECONDS_TO_CLOSE, session.close)
            if not isinstance(error, UsageError):  # These say it themselves.
                error.what_is_safe = session.what_is_safe()
            raise
        session.close()
        return session.progress.record()


class Session:
    """What one process does of a run between its start and its end or interruption.

    Args:
      run: what to do.
      display: prints.
      stop: where the run stops when it is asked to.
      link: to the other processes, where there are any.

    Attributes:
      progress: what the run has measured so far.
      trainer: the network on the devices.
    """

    def __init__(
        self,
        run: Run,
        display: Display,
        stop: hosts.StopPoint | None = None,
        link: hosts.Link | None = None,
    ):
        self.run, self._display = run, display
        self._stop = hosts.StopPoint() if stop is None else stop
        workdir.check_same_sources(run.workdir, run.sources)
        cost = accounting.training_cost(
            run.make_module(axis_name=None), run.recipe, run.task, run.spans
        )
        self.progress = Progress(run, cost)
        if link is not None:
            link.agree("run", self.progress.facts())
            workdir.check_shared(run.workdir)  # The first process has made it by now.
            link.last_words = self._last_words
        workdir.check_same_run(
            run.workdir, self.progress.record(), accept_changed_data=run.accept_changed_data
        )
        if jax.process_index() == 0:
            workdir.write_sources(run.workdir, run.sources)
        self._checkpoints = Checkpoints(run.workdir / "checkpoints")
        self._saved_at, self._save_seconds = time.monotonic(), 0.0
        is_new = self._checkpoints.latest_step is None
        if is_new and (lost := workdir.progress_without_checkpoint(run.workdir)):
            display.line(lost)
        self.trainer = Trainer(run, None if is_new else self._restore, self._stop)
        self._profiler = hooks.Profiler(run.workdir / "profile" if run.profile else None)
        self._output = Output(self.progress, display, is_writer=jax.process_index() == 0)
        self._learning_rates = _learning_rates(run)
        display.configuration(run, self.progress)
        self._stop.begin()

    def train(self) -> str:
        """Trains to the target, the end or an interruption; returns the record's status."""
        run, progress = self.run, self.progress
        evaluations = run.evaluations()
        if progress.is_done:
            self._output.display.line("this run is already complete; nothing to train")
        else:
            self._output.publish()
            self._output.display.compiling()
        with self._output.display:
            while not progress.is_done:
                status = self._train_span(evaluations)
                if status is not None:
                    return status
        return "reached" if run.stop_at_target and progress.target.reached else "completed"

    def _train_span(self, evaluations):
        """Trains to the end of the span; returns the status of a run that ends before, or None."""
        run, progress = self.run, self.progress
        span = run.span_at(progress.step)
        self.trainer.train_step.expect_new_shapes()
        with contextlib.closing(self.trainer.host_batches(progress.step)) as host_batches:
            batches = self.trainer.device_batches(host_batches, progress.step)
            while not progress.is_done and (
                progress.step < span.to_step or progress.evaluation_is_due
            ):
                stopped = False
                if not progress.evaluation_is_due:  # As it is where a run stopped before it.
                    stopped = self.take_steps(run.next_pause(progress.step), batches)
                    if run.task.may_skip:
                        progress.skipped |= parallel.union(host_batches.skipped)
                    if not math.isfinite(progress.loss_sum):
                        return "diverged"
                if progress.evaluation_is_due and not stopped:
                    is_finite = self._evaluate(evaluations[progress.step])
                    if is_finite is None:
                        return "interrupted"
                    if not is_finite:
                        return "diverged"
                if stopped and not progress.is_done:
                    return "interrupted"
                if not progress.is_done:
                    if self._checkpoint_is_due():
                        self._save()
                    self._output.publish()
        return None

    def take_steps(self, until: int, batches: Iterator[dict]) -> bool:
        """Trains up to step `until` on `batches`, which are on the devices.

        Nothing here waits for the devices, except to stay within `STEPS_IN_FLIGHT` and
        `SECONDS_IN_FLIGHT` of them, until all steps are done.

        Returns:
          True if the run is to stop: it was asked to, or the loss is not finite.
        """
        progress, in_flight = self.progress, collections.deque()
        clock = _Clock(progress.step, self.run.span_at(progress.step).batch_size)

        def take_in(limit):
            """Takes in the losses that are there, and waits for those beyond `limit`."""
            while in_flight and (len(in_flight) > limit or in_flight[0][1].is_ready()):
                step, loss = in_flight.popleft()
                self._take_in_loss(step, float(loss), clock)

        stopped = False
        while progress.step < until:
            with clock.waiting_for_input():
                batch = next(batches)
            number = self.trainer.train_step.calls
            self._profiler.before_step(number)
            loss = self.trainer.take_step(batch)
            compile_seconds = self.trainer.train_step.pop_compile_seconds()
            clock.leave_out(compile_seconds)
            progress.compile_seconds += compile_seconds
            if loss is None:
                stopped = True
                break
            self._profiler.after_step(number, self.trainer.state)
            progress.step += 1
            in_flight.append((progress.step, loss))
            take_in(clock.steps_in_flight())
            if not math.isfinite(progress.loss_sum):
                self._stop.request()
        take_in(0)
        progress.train_seconds += clock.seconds()
        return stopped

    def finish(self, status: str) -> None:
        """Writes everything that a later session or a reader needs, and prints the receipt."""
        self.progress.status = status
        if status != "diverged":  # The last checkpoint before it is worth more.
            self._save()
        self._output.publish()
        self._output.farewell()

    def close(self) -> None:
        """Waits for the checkpoints and closes the files."""
        self._profiler.close()
        self._checkpoints.close()
        self._output.close()

    def _take_in_loss(self, step, loss, clock):
        self.progress.add_loss(loss)
        rate = clock.examples_per_second(step)
        numbers = {
            "loss": loss,
            "examples_per_second": rate,
            "input_wait_fraction": clock.input_wait_fraction(),
        }
        if self._learning_rates is not None:
            numbers["learning_rate"] = float(self._learning_rates[step - 1])
        examples = self.progress.cost.schedule.examples
        left = examples(self.run.total_steps) - examples(step)
        self._output.train_step(step, numbers, left / max(rate, 1e-9))

    def _evaluate(self, epoch):
        """Adds a point to the curve; False if the loss is not finite, None if the run stops."""
        progress, started = self.progress, time.perf_counter()
        metrics, ema_metrics = self.trainer.evaluate()
        compile_seconds = self.trainer.evaluation_step.pop_compile_seconds()
        progress.compile_seconds += compile_seconds
        progress.eval_seconds += time.perf_counter() - started - compile_seconds
        if metrics is None:
            return None
        for measured in filter(None, (metrics, ema_metrics)):
            counted, expected = measured.pop("examples"), self.run.task.validation_examples
            if counted != expected:
                raise AssertionError(f"{counted} validation examples counted of {expected}")
            if not all(map(math.isfinite, measured.values())):
                return False
        self._output.evaluation(progress.add_evaluation(epoch, metrics, ema_metrics))
        return True

    def _restore(self, like):
        """The state of the newest checkpoint; `progress` goes on from there."""
        state, kept = self._checkpoints.restore(like, self._display.line)
        self.progress.resume(kept)
        workdir.check_same_run(
            self.run.workdir,
            self.progress.record(),
            kept["record"],
            accept_changed_data=self.run.accept_changed_data,
        )
        return state

    def _checkpoint_is_due(self):
        """Whether to save at this pause: not where evaluations are closer than saving is worth."""
        every, step = self.run.checkpoint_every, self.progress.step
        if every and step % every == 0:
            return True
        passed = time.monotonic() - self._saved_at
        is_quick = self._save_seconds <= QUICK_CHECKPOINT_SECONDS
        is_due = is_quick or self._save_seconds <= CHECKPOINTS_SHARE * passed
        return bool(parallel.union([0] if is_due else []))  # All save, or none.

    def _save(self):
        """Starts a checkpoint."""
        workdir.check_there(self.run.workdir)
        started = time.monotonic()
        self._checkpoints.save(
            self.progress.step, self.trainer.host_state(), self.progress.to_json()
        )
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - started

    def what_is_safe(self) -> str:
        """What to say of the checkpoints when the run ends by an error."""
        step = self._checkpoints.newest_whole_step()
        if step is None:
            return "there is no checkpoint yet"
        return (
            f"the last checkpoint in {self.run.workdir} is of step {step}, from which the same "
            "command goes on"
        )

    def _last_words(self):
        """What to do when the run ends without this process's doing."""
        step = self._checkpoints.newest_whole_step()
        if step is None:
            return "there is no checkpoint yet: run the same command again"
        return (
            f"the last checkpoint in {self.run.workdir} is of step {step}: run the same command "
            "again to go on from there"
        )


def _learning_rates(run):
    """The rate of every step, for the log; None where the recipe tells no schedule.

    All at once: asking the device for one would wait for the steps in flight.
    """
    if run.recipe.schedule is None:
        return None
    schedule = jax.vmap(run.recipe.schedule)
    return np.asarray(jax.jit(schedule)(np.arange(run.total_steps)))


class _Clock:
    """Times the steps from `first_step` on, without what compiling them takes."""

    def __init__(self, first_step: int, batch_size: int):
        self._first_step, self._batch_size = first_step, batch_size
        self._started = time.perf_counter()
        self._left_out = self._input_wait = 0.0
        self._finished_steps = 0

    def steps_in_flight(self) -> int:
        """How many steps the devices may still have to do."""
        if not self._finished_steps:
            return STEPS_IN_FLIGHT
        seconds_per_step = self.seconds() / self._finished_steps
        return max(1, min(STEPS_IN_FLIGHT, int(SECONDS_IN_FLIGHT / max(seconds_per_step, 1e-9))))

    def seconds(self) -> float:
        return time.perf_counter() - self._started - self._left_out

    def leave_out(self, seconds: float) -> None:
        self._left_out += seconds

    @contextlib.contextmanager
    def waiting_for_input(self):
        started = time.perf_counter()
        yield
        self._input_wait += time.perf_counter() - started

    def examples_per_second(self, step: int) -> float:
        """The mean rate up to `step`, which the devices have finished."""
        self._finished_steps = step - self._first_step
        return self._finished_steps * self._batch_size / max(self.seconds(), 1e-9)

    def input_wait_fraction(self) -> float:
        return self._input_wait / max(self.seconds(), 1e-9)
