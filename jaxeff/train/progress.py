"""What a run has measured so far, and the record of it."""

import dataclasses
import datetime
import hashlib
import uuid

import jax

from jaxeff import compute, records
from jaxeff.train import workdir
from jaxeff.train.accounting import TrainingCost
from jaxeff.train.description import describe
from jaxeff.train.run import Run

# Unreadable examples that the record names; it counts them all.
MOST_NAMED = 100


@dataclasses.dataclass
class Progress:
    """What a run has measured so far; a checkpoint keeps it.

    Attributes:
      run: what it was told.
      cost: of its steps.
      step: steps taken.
      curve: evaluations in order.
      loss_sum: of the training losses since the last evaluation.
      loss_count: how many these are.
      skipped: indices of training examples that could not be read, over all processes.
      accepted_changes: of the data, as in `records.Dataset`.
      compile_seconds: tracing and compilation, over all sessions.
      train_seconds: training without compilation, likewise.
      eval_seconds: likewise.
      run_id: the same over all sessions.
      created: when the first session began, UTC, ISO 8601.
      status: as in `records.Record`.
    """

    run: Run
    cost: TrainingCost
    step: int = 0
    curve: tuple[records.Point, ...] = ()
    loss_sum: float = 0.0
    loss_count: int = 0
    skipped: set[int] = dataclasses.field(default_factory=set)
    accepted_changes: tuple[dict, ...] = ()
    compile_seconds: float = 0.0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    run_id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    created: str = dataclasses.field(default_factory=lambda: _now())
    status: str = "running"

    @property
    def target(self) -> records.Target:
        """The level, and the evaluation that first met it."""
        target = self.run.target
        return records.crossing(
            self.curve, target.metric.name, target.value, target.metric.direction
        )

    @property
    def evaluation_is_due(self) -> bool:
        """Whether the present step is to be evaluated and has not been."""
        last = self.curve[-1].step if self.curve else 0
        return self.step > last and self.step in self.run.evaluations()

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to train or to evaluate."""
        at_target = self.run.stop_at_target and self.target.reached
        return at_target or (self.step >= self.run.total_steps and not self.evaluation_is_due)

    def add_loss(self, loss: float) -> None:
        """Takes in the training loss of one step."""
        self.loss_sum += loss
        self.loss_count += 1

    def add_evaluation(
        self, epoch: float, metrics: dict[str, float], ema_metrics: dict[str, float] | None = None
    ) -> records.Point:
        """Adds the evaluation at the present step to the curve, and returns it."""
        schedule = self.cost.schedule
        point = records.Point(
            step=self.step,
            epoch=epoch,
            examples=schedule.examples(self.step),
            train_flops=schedule.train_flops(self.step),
            train_loss=self.loss_sum / self.loss_count,
            seconds=self.train_seconds,
            metrics=metrics,
            ema_metrics=ema_metrics,
        )
        self.curve = (*self.curve, point)
        self.loss_sum, self.loss_count = 0.0, 0
        return point

    def record(self) -> records.Record:
        """The run's record."""
        run, task, target = self.run, self.run.task, self.target
        charged = target.step if target.reached else self.step
        record = records.Record(
            run_id=self.run_id,
            created=self.created,
            command=run.command,
            model=records.Model(name=run.model, params=self.cost.params, **run.model_facts),
            task={
                "name": task.name,
                "metrics": {metric.name: metric.direction for metric in task.metrics},
                **task.settings(),
                **_ways_of_measuring(self.cost.evaluation_macs_per_example),
            },
            recipe={
                **_described(run.recipe),
                "eval_every": run.eval_every,
                "dtype": run.dtype,
            },
            dataset=records.Dataset(
                name=task.dataset_name,
                train_examples=task.train_examples,
                validation_examples=task.validation_examples,
                fingerprint=task.fingerprint,
                skipped=self._skipped() if task.may_skip else None,
                accepted_changes=self.accepted_changes or None,
            ),
            target=target,
            compute=self.cost.charge(charged),
            curve=self.curve,
            hardware=_hardware(run.dtype),
            environment=records.environment(run.kernels),
            timing=self._timing(),
            software=records.software(),
            seed=run.seed,
            status=self.status,
        )
        # As it is read again: the recipe's tuples are lists.
        return records.Record.from_json(record.to_json())

    def facts(self) -> dict[str, object]:
        """What all processes of a run must have in common, as JSON values by dotted name."""
        run, record = self.run, self.record().to_json()
        facts = {
            "workdir": str(run.workdir),
            "stop_at_target": run.stop_at_target,
            "checkpoint_every": run.checkpoint_every,
            "accept_changed_data": run.accept_changed_data,
            "sources": {
                name: hashlib.sha256(text.encode()).hexdigest()
                for name, text in run.sources.items()
            },
            "local devices": jax.local_device_count(),
            "compute.segments": record["compute"]["segments"],
            "environment.kernels": record["environment"]["kernels"],
            "environment.xla_flags": record["environment"]["xla_flags"],
            "environment.matmul_precision": record["environment"]["matmul_precision"],
            "hardware.device_kind": record["hardware"]["device_kind"],
        }
        for section in ("software", *workdir.IDENTITY):
            value = record[section]
            if isinstance(value, dict):
                facts |= {f"{section}.{key}": child for key, child in value.items()}
            else:
                facts[section] = value
        return facts

    def to_json(self) -> dict:
        """What a checkpoint keeps, as JSON values."""
        return {
            "record": self.record().to_json(),
            "step": self.step,
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
            "skipped": sorted(self.skipped),
        }

    def resume(self, kept: dict) -> None:
        """Goes on from what `to_json` returned in an earlier session."""
        earlier = records.from_json(kept["record"], source="checkpoint")
        self.run_id, self.created = earlier.run_id, earlier.created
        self.step, self.curve = kept["step"], earlier.curve
        self.loss_sum, self.loss_count = kept["loss_sum"], kept["loss_count"]
        self.skipped = set(kept["skipped"])
        self._take_in_data(earlier.dataset)
        self.compile_seconds = earlier.timing.compile_seconds
        self.train_seconds = earlier.timing.train_seconds
        self.eval_seconds = earlier.timing.eval_seconds

    def _take_in_data(self, earlier: records.Dataset) -> None:
        """Keeps what the data was up to here, where it has changed since."""
        self.accepted_changes = earlier.accepted_changes or ()
        if earlier.fingerprint == self.run.task.fingerprint:
            return
        change = {
            "step": self.step,
            "fingerprint": earlier.fingerprint,
            "train_examples": earlier.train_examples,
            "validation_examples": earlier.validation_examples,
            "skipped": earlier.skipped,
        }
        self.accepted_changes = (*self.accepted_changes, change)
        self.skipped = set()  # They numbered the examples of before.

    def _skipped(self):
        names = [self.run.task.example_name(index) for index in sorted(self.skipped)[:MOST_NAMED]]
        return {"count": len(self.skipped), "names": names}

    def _timing(self):
        schedule, seconds = self.cost.schedule, self.train_seconds
        peak = _hardware(self.run.dtype).peak_flops_per_second
        utilization = None
        if peak is not None and seconds > 0:
            utilization = schedule.train_flops(self.step) / seconds / peak
        return records.Timing(
            compile_seconds=self.compile_seconds,
            train_seconds=seconds,
            eval_seconds=self.eval_seconds,
            examples_per_second=schedule.examples(self.step) / seconds if seconds > 0 else 0.0,
            model_flops_utilization=utilization,
        )


def _ways_of_measuring(macs):
    """What each way of measuring takes, where there is more than the plain one."""
    return {"evaluation_macs_per_example": dict(macs)} if len(macs) > 1 else {}


def _described(recipe):
    """Every field of a recipe as JSON values; no name may be a pointer into this process."""
    fields = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    fields = {name: describe(value) for name, value in fields.items()}
    # Where the type goes without saying.
    fields["transforms"] = next(iter(fields["transforms"].values()))
    fields["ema"] = fields["ema"] and fields["ema"]["Ema"]
    if recipe.accumulate == 1:
        del fields["accumulate"]  # As in records from before there was a choice.
    fields["phases"] = [phase["Phase"] for phase in fields["phases"]]
    return fields


def _hardware(dtype):
    device = jax.devices()[0]
    peak = compute.arithmetic_peak(device.device_kind, dtype)
    return records.Hardware(
        platform=device.platform,
        device_kind=device.device_kind,
        device_count=jax.device_count(),
        process_count=jax.process_count(),
        peak_flops_per_second=None if peak is None else peak[0] * jax.device_count(),
    )


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
