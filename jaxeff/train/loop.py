"""Training until a target accuracy is reached, and the record of what that took."""

import collections
import contextlib
import dataclasses
import datetime
import json
import math
import pathlib
import signal
import time
import uuid
from collections.abc import Callable, Iterator

import jax
import numpy as np
from flax import linen as nn

from jaxeff import compute, data, records
from jaxeff.train import accounting, devices, optimizer, steps, workdir
from jaxeff.train.checkpoints import Checkpoints
from jaxeff.train.curve import draw_curve
from jaxeff.train.display import Display
from jaxeff.train.evaluation import evaluate
from jaxeff.train.recipes import Recipe
from jaxeff.train.target import Target

# How far the host runs ahead of the devices: enough to hide its own work, little enough that the
# batches in between do not fill the memory.
STEPS_IN_FLIGHT = 8
# What `profile` traces, in steps of this session: after warm-up, and short enough to look at.
PROFILED_STEPS = range(10, 20)
# Of the learning curve, which takes a third of a second.
SECONDS_BETWEEN_DRAWINGS = 30
# Unreadable pictures that the record names; it counts them all.
MOST_NAMED = 100


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that a training run is told.

    Attributes:
      model: name of the architecture, for the record.
      make_module: takes `axis_name` and returns the Linen module.
      dataset: images to train on and to validate with.
      recipe: hyperparameters.
      target: accuracy to reach.
      image_size: side in pixels at which the network sees the images.
      workdir: folder of the run's results; a checkpoint in it is resumed.
      dtype: of the arithmetic, `float32` or `bfloat16`.
      seed: of parameters, order, augmentation and dropout.
      stop_at_target: ends the run at the first evaluation that meets the target.
      eval_every: epochs between evaluations.
      num_workers: processes that prepare images; 0 uses threads of this one.
      log_every: steps between two lines of the log.
      checkpoint_every: steps between checkpoints, besides the one at each evaluation; 0 for none.
      profile: traces a few steps into `workdir/profile` for TensorBoard or Perfetto.
      command: the command line, for the record.
      cache_on_devices: keeps the training images, which are in memory, on every device, and crops
        and mirrors them there.
      on_bad_image: `stop`, or `skip` training images that cannot be read, named in the record.
    """

    model: str
    make_module: Callable[..., nn.Module]
    dataset: data.Dataset
    recipe: Recipe
    target: Target
    image_size: int
    workdir: pathlib.Path
    dtype: str = "float32"
    seed: int = 0
    stop_at_target: bool = True
    eval_every: float = 1.0
    num_workers: int = 0
    log_every: int = 50
    checkpoint_every: int = 0
    profile: bool = False
    command: str = ""
    on_bad_image: str = "stop"
    cache_on_devices: bool = False

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which every training image is seen once; in general no whole number."""
        return len(self.dataset.train) / self.recipe.batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the whole schedule."""
        return self._step_of(self.recipe.epochs)

    def evaluations(self) -> dict[int, float]:
        """The epoch of each evaluation, by its step: every `eval_every` epochs and at the end."""
        count = math.ceil(round(self.recipe.epochs / self.eval_every, 9))
        epochs = [round(i * self.eval_every, 9) for i in range(1, count)] + [self.recipe.epochs]
        return {self._step_of(epoch): epoch for epoch in epochs}

    def _step_of(self, epochs):
        """The step that completes `epochs`. Batches run on across the ends of epochs."""
        return max(1, math.ceil(round(epochs * self.steps_per_epoch, 9)))


def train_to_target(run: Run) -> dict:
    """Trains until the target is met or the schedule ends.

    Writes `record.json`, `metrics.jsonl`, TensorBoard event files, `curve.png` and `checkpoints/`
    to `run.workdir`. A checkpoint there is resumed: the run goes on with the numbers that it would
    have had without the interruption. SIGTERM and SIGINT end the session after a checkpoint.

    In a run of several processes each of them calls this; the first one writes and prints.

    Returns:
      The record. Its `status` is `reached` (the target was met and the run stopped there),
      `completed` (the schedule is at its end), `diverged` (the loss is not finite) or
      `interrupted`.

    Raises:
      UsageError: the batch size does not suit the devices, the workdir cannot be used or holds
        another run, or an image cannot be read.
    """
    devices.check_batch_size(run.recipe.batch_size)
    is_first_process = jax.process_index() == 0
    with (
        _signals_noticed() as interrupted,
        workdir.hold(run.workdir, is_writer=is_first_process),
        contextlib.closing(Session(run, is_first_process)) as session,
    ):
        session.finish(session.train(interrupted))
        return session.record


class Session:
    """What one process does of a run between its start and its end or interruption.

    Args:
      run: what to do.
      is_first_process: whether to write what people look at.
      silent: prints nothing.
    """

    def __init__(self, run: Run, is_first_process: bool, silent: bool = False):
        self.run = run
        self.is_first_process = is_first_process
        self.display = Display(
            run.total_steps, run.log_every, silent=silent or not is_first_process
        )
        recipe, dataset = run.recipe, run.dataset
        scale = {"mean": dataset.mean, "std": dataset.std}
        schedule = optimizer.learning_rate(recipe, run.total_steps, run.steps_per_epoch)
        sgd = optimizer.make_optimizer(recipe, run.total_steps, run.steps_per_epoch)
        # For the log, all at once: asking the device for one would wait for the steps in flight.
        self.learning_rates = np.asarray(jax.jit(jax.vmap(schedule))(np.arange(run.total_steps)))
        self.cost = accounting.training_cost(
            run.make_module(axis_name=None),
            sgd,
            image_size=run.image_size,
            batch_size=recipe.batch_size,
            label_smoothing=recipe.label_smoothing,
            **scale,
        )
        self.step = 0
        self.skipped: set[int] = set()
        self._tracing = False
        self._next_drawing = time.monotonic() + SECONDS_BETWEEN_DRAWINGS
        # Losses since the last evaluation, for the curve's training loss.
        self.loss_sum, self.loss_count = 0.0, 0
        self.record = _new_record(run, self.cost)
        self._check_workdir()
        self.checkpoints = Checkpoints(run.workdir / "checkpoints")

        axis_name = devices.shared_axis()
        module = run.make_module(axis_name=axis_name)
        train_step = steps.make_train_step(
            module,
            sgd,
            **scale,
            label_smoothing=recipe.label_smoothing,
            seed=run.seed,
            axis_name=axis_name,
        )
        evaluation_step = steps.make_evaluation_step(module, **scale, axis_name=axis_name)
        self.train_step = _Timed(
            devices.parallel(train_step, donate_argnums=0, keep_names=run.profile)
        )
        self.evaluation_step = _Timed(devices.parallel(evaluation_step))

        def start():
            return steps.initial_state(module, sgd, run.image_size, run.seed)

        if self.checkpoints.latest_step is None:
            state = jax.jit(start, compiler_options=_once())()
        else:
            state = self._restore(jax.eval_shape(start))
        self.state = devices.replicate(state)
        self.metric_log = workdir.MetricLog(run.workdir, self.step) if is_first_process else None
        self._describe()

    def train(self, interrupted: Callable[[], bool]) -> str:
        """Trains to the target, the end or an interruption; returns the record's status."""
        run = self.run
        evaluations = run.evaluations()
        if self._is_done():
            self.display.line("this run is already complete; nothing to train")
        else:
            self._publish("running")
        with contextlib.closing(self.training_images()) as images, self.display:
            batches = self.training_batches(images)
            while not self._is_done():
                stopped = self.train_until(self._next_pause(evaluations), batches, interrupted)
                self._note_skipped(images)
                if not math.isfinite(self.loss_sum):
                    return "diverged"
                if self.step in evaluations and not self._evaluate(evaluations[self.step]):
                    return "diverged"
                if self._is_done():
                    break
                if stopped:
                    return "interrupted"
                self._save("running")
                self._publish("running")
        return "reached" if run.stop_at_target and self._is_reached() else "completed"

    def finish(self, status: str) -> None:
        """Writes everything that a later session or a reader needs, and prints the receipt."""
        if status != "diverged":  # The last checkpoint before it is worth more.
            self._save(status)
        self._publish(status)
        if status == "diverged":
            self.display.line(
                f"diverged: the loss is not finite near step {self.step}; try a lower --lr"
            )
        if status == "interrupted":
            self.display.line(
                f"interrupted at step {self.step}, saved; run the same command to go on"
            )
        self.display.receipt(self.record, str(self.run.workdir / "record.json"))

    def close(self) -> None:
        """Waits for the checkpoints and closes the files."""
        if self._tracing:
            jax.profiler.stop_trace()
        self.checkpoints.close()
        if self.metric_log is not None:
            self.metric_log.close()

    def _is_reached(self):
        return self.record["target"]["reached"]

    def _is_done(self):
        return self.step >= self.run.total_steps or (self.run.stop_at_target and self._is_reached())

    def _next_pause(self, evaluations):
        """The next step with an evaluation or a checkpoint."""
        pause = min(step for step in evaluations if step > self.step)
        every = self.run.checkpoint_every
        return min(pause, (self.step // every + 1) * every) if every else pause

    def train_until(
        self, pause: int, batches: Iterator[dict], interrupted: Callable[[], bool]
    ) -> bool:
        """Trains up to step `pause` on `batches`, which are on the devices.

        Nothing here waits for the devices, except to stay within `STEPS_IN_FLIGHT` of them, until
        all steps are done.

        Returns:
          True if it ended before `pause`, because `interrupted()` or the loss is not finite.
        """
        run, timing = self.run, self.record["timing"]
        in_flight = collections.deque()
        first_step, started = self.step, time.perf_counter()
        compile_before, input_wait = timing["compile_seconds"], 0.0

        def train_seconds():
            return time.perf_counter() - started - timing["compile_seconds"] + compile_before

        def take_in(limit):
            """Takes in the losses that are there, and waits for those beyond `limit`."""
            while in_flight and (len(in_flight) > limit or in_flight[0][1].is_ready()):
                step, loss = in_flight.popleft()
                self._take_in_loss(step, float(loss[0]), first_step, train_seconds(), input_wait)

        stop = False
        while self.step < pause and not stop:
            waiting = time.perf_counter()
            batch = next(batches)
            input_wait += time.perf_counter() - waiting
            with self._profiled():
                self.state, loss = self.train_step(self.state, batch)
            timing["compile_seconds"] += self.train_step.pop_compile_seconds()
            self.step += 1
            in_flight.append((self.step, devices.first_shard(loss)))
            take_in(STEPS_IN_FLIGHT)
            # Processes must stop at the same step, and agreeing makes them wait for each other.
            if jax.process_count() == 1 or self.step % run.log_every == 0:
                stop = devices.any_process(interrupted() or not math.isfinite(self.loss_sum))
        take_in(0)
        timing["train_seconds"] += train_seconds()
        self._update_totals()
        return stop

    def _take_in_loss(self, step, loss, first_step, seconds, input_wait):
        self.loss_sum += loss
        self.loss_count += 1
        rate = (step - first_step) * self.run.recipe.batch_size / max(seconds, 1e-9)
        left = (self.run.total_steps - step) * self.run.recipe.batch_size / max(rate, 1e-9)
        self.display.step(step, loss, rate, left)
        if self.metric_log is not None and step % self.run.log_every == 0:
            numbers = {
                "loss": loss,
                "learning_rate": float(self.learning_rates[step - 1]),
                "images_per_second": rate,
                "input_wait_share": input_wait / max(seconds, 1e-9),
            }
            self.metric_log.write(step, "train", numbers)

    def _evaluate(self, epoch):
        """Adds a point to the curve and notes the crossing; False if the loss is not finite."""
        run, timing, target = self.run, self.record["timing"], self.record["target"]
        started = time.perf_counter()
        batches = data.validation_batches(
            run.dataset,
            run.image_size,
            batch_size=run.recipe.batch_size,
            num_workers=run.num_workers,
            shard=data.Shard(jax.process_index(), jax.process_count()),
        )
        metrics = evaluate(self.evaluation_step, self.state.params, self.state.batch_stats, batches)
        compiling = self.evaluation_step.pop_compile_seconds()
        timing["compile_seconds"] += compiling
        timing["eval_seconds"] += time.perf_counter() - started - compiling
        if metrics["images"] != len(run.dataset.validation):
            raise AssertionError(
                f"{metrics['images']} validation images counted of {len(run.dataset.validation)}"
            )
        if not math.isfinite(metrics["loss"]):
            return False
        point = {
            "step": self.step,
            "epoch": epoch,
            "images": self.step * run.recipe.batch_size,
            "train_flops": self.cost.charge(self.step)["train_flops"],
            "train_loss": self.loss_sum / self.loss_count,
            "top1": metrics["top1"],
            "top5": metrics["top5"],
            "validation_loss": metrics["loss"],
            "seconds": timing["train_seconds"],
        }
        self.record["curve"].append(point)
        self.loss_sum, self.loss_count = 0.0, 0
        self.display.evaluation(point, run.recipe.epochs)
        if self.metric_log is not None:
            self.metric_log.write(
                self.step, "validation", {key: point[key] for key in point if key != "step"}
            )
        if run.target.is_met(metrics) and not target["reached"]:
            target.update(reached=True, step=self.step, epoch=epoch)
            self.display.line(f"target {run.target} reached")
        self._update_totals()
        return True

    def training_images(self) -> data.Batches:
        """This process's training batches on the host, from the present step on, without end."""
        run = self.run
        augmentation = run.recipe.augmentation
        options = data.StreamOptions(
            run.recipe.batch_size,
            seed=run.seed,
            start_step=self.step,
            num_workers=run.num_workers,
            on_bad_image=run.on_bad_image,
        )
        shard = data.Shard(jax.process_index(), jax.process_count())
        if run.cache_on_devices:
            return data.crop_batches(run.dataset, augmentation, options, shard)
        return data.train_batches(run.dataset, run.image_size, augmentation, options, shard)

    def training_batches(self, images: data.Batches) -> Iterator[dict]:
        """The batches of `training_images` on the devices, as the training step takes them."""
        batches = devices.to_devices(images)
        if not self.run.cache_on_devices:
            return batches
        cached = devices.replicate(self.run.dataset.train.images)

        def crop(images, batch):
            pixels = data.crop_and_flip(
                images, batch["index"], batch["box"], batch["flip"], self.run.image_size
            )
            return {"image": pixels, "label": batch["label"]}

        crop = devices.parallel(crop)
        return (crop(cached, batch) for batch in batches)

    def _note_skipped(self, images):
        """Brings the record's list of unreadable pictures up to date, over all processes."""
        if self.run.on_bad_image != "skip":
            return
        self.skipped |= devices.union(images.skipped)
        names = [_name_of(self.run.dataset.train, index) for index in sorted(self.skipped)]
        self.record["skipped_images"] = {"count": len(names), "names": names[:MOST_NAMED]}

    @contextlib.contextmanager
    def _profiled(self):
        """Traces the steps in `PROFILED_STEPS` of this session, if asked for."""
        done = self.train_step.calls
        if self.run.profile and done == PROFILED_STEPS.start:
            jax.profiler.start_trace(str(self.run.workdir / "profile"))
            self._tracing = True
        yield
        if self._tracing and done == PROFILED_STEPS.stop:
            jax.block_until_ready(self.state)
            jax.profiler.stop_trace()
            self._tracing = False

    def _update_totals(self):
        """Brings the record's compute and timing up to the present step."""
        timing, peak = self.record["timing"], self.record["hardware"]["peak_flops_per_second"]
        charged = self.record["target"]["step"] if self._is_reached() else self.step
        self.record["compute"] = self.cost.charge(charged)
        if timing["train_seconds"] > 0:
            rate = self.step * self.run.recipe.batch_size / timing["train_seconds"]
            timing["images_per_second"] = rate
            if peak is not None:
                flops_per_second = rate * self.cost.flops_per_step / self.cost.batch_size
                timing["model_flops_utilization"] = flops_per_second / peak

    def _check_workdir(self):
        path = self.run.workdir / "record.json"
        if path.exists():
            workdir.check_same_run(self.run.workdir, self.record, records.read(path))

    def _restore(self, like):
        state, progress = self.checkpoints.restore(like)
        earlier = progress["record"]
        workdir.check_same_run(self.run.workdir, self.record, earlier)
        for section in ("run_id", "created", "target", "curve", "timing", "status"):
            self.record[section] = earlier[section]
        self.skipped = set(progress.get("skipped", ()))
        self.step = self.checkpoints.latest_step
        self.loss_sum, self.loss_count = progress["loss_sum"], progress["loss_count"]
        self._update_totals()
        return state

    def _save(self, status):
        """Starts a checkpoint."""
        self.record["status"] = status
        progress = {
            "record": self.record,
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
            "skipped": sorted(self.skipped),
        }
        self.checkpoints.save(
            self.step, devices.first_copy(self.state), json.loads(json.dumps(progress))
        )

    def _publish(self, status):
        """Writes `record.json`, and `curve.png` now and then and at the end."""
        self.record["status"] = status
        if not self.is_first_process:
            return
        records.write(self.run.workdir / "record.json", self.record)
        due = status != "running" or time.monotonic() >= self._next_drawing
        if self.record["curve"] and due:
            self._next_drawing = time.monotonic() + SECONDS_BETWEEN_DRAWINGS
            records.write_atomically(self.run.workdir / "curve.png", draw_curve(self.record))

    def _describe(self):
        """Prints the configuration that the flags, the data set and the recipe came to."""
        run, dataset = self.run, self.run.dataset
        hardware = self.record["hardware"]
        per_image = self.cost.flops_per_step / self.cost.batch_size
        start = f"resuming at step {self.step}" if self.step else "starting"
        self.display.line(
            f"jaxeff: training {run.model} to {run.target} on {dataset.name}, {start}"
        )
        self.display.entries(
            {
                "model": f"{run.model}, {self.cost.params:,} parameters, {run.dtype}",
                "data": f"{dataset.name}: {len(dataset.train):,} training and "
                f"{len(dataset.validation):,} validation images, {len(dataset.class_names)} "
                f"classes, shown at {run.image_size} px",
                "target": f"{run.target}, evaluated every {run.eval_every:g} epochs, "
                + ("stopping there" if run.stop_at_target else "going on after it"),
                "recipe": ", ".join(
                    f"{key}={value}" for key, value in self.record["recipe"].items()
                ),
                "steps": f"{run.total_steps:,} ({run.steps_per_epoch:.2f} an epoch)",
                "seed": run.seed,
                "devices": f"{hardware['device_count']} x {hardware['device_kind']} "
                f"({hardware['platform']}) in {hardware['process_count']} process(es), "
                f"{run.num_workers} loader processes",
                "cost": f"{per_image:.4g} FLOPs per image (XLA count), "
                f"{self.cost.macs_forward_per_image:,} forward MACs",
                "workdir": run.workdir,
            }
        )


def _once():
    """Options for compiling what runs once: on CPU the same values in half the time."""
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None


def _name_of(source, index):
    image = source[index]["image"]
    return image if isinstance(image, str) else f"training picture {index}"


def _new_record(run, cost):
    recipe = {
        **dataclasses.asdict(run.recipe),
        "eval_every": run.eval_every,
        "dtype": run.dtype,
        "evaluation_crop_fraction": run.dataset.evaluation_crop_fraction,
    }
    device = jax.devices()[0]
    peak = compute.arithmetic_peak(device.device_kind, run.dtype)
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = {
        "schema_version": records.SCHEMA_VERSION,
        "run_id": uuid.uuid4().hex,
        "created": created,
        "command": run.command,
        "model": {
            "name": run.model,
            "params": cost.params,
            "image_size": run.image_size,
            "num_classes": len(run.dataset.class_names),
        },
        "recipe": recipe,
        "dataset": {
            "name": run.dataset.name,
            "train_examples": len(run.dataset.train),
            "validation_examples": len(run.dataset.validation),
            "fingerprint": run.dataset.fingerprint,
        },
        "target": {
            "metric": run.target.metric,
            "value": run.target.value,
            "reached": False,
            "step": None,
            "epoch": None,
        },
        "compute": cost.charge(0),
        "curve": [],
        "hardware": {
            "platform": device.platform,
            "device_kind": device.device_kind,
            "device_count": jax.device_count(),
            "process_count": jax.process_count(),
            "peak_flops_per_second": None if peak is None else peak[0] * jax.device_count(),
        },
        "timing": {
            "compile_seconds": 0.0,
            "train_seconds": 0.0,
            "eval_seconds": 0.0,
            "images_per_second": 0.0,
            "model_flops_utilization": None,
        },
        "software": records.software(),
        "seed": run.seed,
        "status": "running",
    }
    return json.loads(json.dumps(record))


class _Timed:
    """A compiled function that knows how long its first call took: tracing and compilation.

    Later calls return as soon as the work is queued; so does the first, once it has compiled.
    """

    def __init__(self, function):
        self._function = function
        self._compile_seconds = 0.0
        self.calls = 0

    def __call__(self, *arguments):
        started = time.perf_counter()
        result = self._function(*arguments)
        if self.calls == 0:
            self._compile_seconds = time.perf_counter() - started
        self.calls += 1
        return result

    def pop_compile_seconds(self) -> float:
        """The seconds of the first call, once; then 0."""
        seconds, self._compile_seconds = self._compile_seconds, 0.0
        return seconds


@contextlib.contextmanager
def _signals_noticed():
    """Lets SIGTERM and SIGINT be asked for instead of ending the process; a second one ends it."""
    noticed = []

    def notice(number, _):
        noticed.append(number)
        signal.signal(number, previous[number])

    previous = {number: signal.signal(number, notice) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(noticed)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
