"""What a person sees of a run: configuration, progress, evaluations and the receipt."""

import sys
import textwrap
from collections.abc import Sequence

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxeff import records
from jaxeff.tasks import LOSS, Metric

# Longer lines are hard to read; where no terminal says how wide it is, lines are as long.
MOST_COLUMNS = 100


class Display:
    """Prints to standard output: a live progress bar on a terminal, plain lines elsewhere.

    Only the first process of a run prints; the others stay silent.

    Args:
      total_steps: length of the run.
      log_every: steps between two plain progress lines.
      noun: what an example is called, plural.
      silent: prints nothing.
    """

    def __init__(self, total_steps: int, log_every: int, noun: str, silent: bool = False):
        self._noun = noun
        self._console = Console(quiet=silent, highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal and not silent
        self._log_every = log_every
        self._total_steps = total_steps
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[doing]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("training", total=total_steps, doing="compiling…")

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()

    def line(self, text: str) -> None:
        """Prints one line, above the progress bar if there is one."""
        self._console.print(text, markup=False)
        sys.stdout.flush()

    def compiling(self) -> None:
        """Says that the first step is compiled, which may take minutes; the bar says so anyway."""
        if not self._live:
            self.line("compiling…")

    def step(self, step: int, loss: float, rate: float, seconds_left: float) -> None:
        """Shows that the devices have finished `step`, at `rate` examples a second."""
        if self._live:
            doing = f"{rate:.0f} {self._noun}/s  loss {loss:.4f}"
            self._progress.update(self._task, completed=step, doing=doing)
        elif step % self._log_every == 0:
            self.line(
                f"step {step}/{self._total_steps}  loss {loss:.4f}  {rate:.0f} {self._noun}/s  "
                f"{_duration(seconds_left)} left"
            )

    def evaluation(
        self, point: records.Point, total_epochs: float, metrics: Sequence[Metric]
    ) -> None:
        """One line for one evaluation."""

        def shown(values):
            return "  ".join(
                f"{'validation ' if metric == LOSS else ''}{metric.label} "
                f"{metric.text(values[metric.name], digits=2 if metric.is_fraction else 4)}"
                for metric in metrics
            )

        values = shown(point.metrics)
        if point.ema_metrics is not None:
            fractions = [m for m in metrics if m.is_fraction] or metrics
            first = fractions[0]
            value = first.text(point.ema_metrics[first.name], 2 if first.is_fraction else 4)
            values += f"  (average: {first.label} {value})"
        self.line(
            f"epoch {point.epoch:g}/{total_epochs:g}  step {point.step}  "
            f"train loss {point.train_loss:.4f}  {values}  {point.train_flops:.4g} FLOPs"
        )

    def configuration(self, run, progress) -> None:
        """Prints the configuration that the flags, the data set and the recipe came to.

        Args:
          run: the `Run`.
          progress: its `Progress`.
        """
        task, cost, record = run.task, progress.cost, progress.record()
        recipe = record.recipe
        start = f"resuming at step {progress.step}" if progress.step else "starting"
        flops_per_example = cost.flops_per_step / cost.batch_size
        self.line(f"jaxeff: training {run.model} to {run.target} on {task.dataset_name}, {start}")
        self.entries(
            {
                "model": f"{run.model}, {cost.params:,} parameters, {run.dtype}",
                "data": task.description(),
                "target": f"{run.target}, evaluated every {_epochs(run.eval_every)}, "
                + ("stopping there" if run.stop_at_target else "going on after it"),
                "recipe": f"{recipe['name']}: {recipe['epochs']:g} epochs, batch "
                f"{recipe['batch_size']}"
                + (f", highest rate {_as_call(recipe['lr'])}" if recipe["lr"] is not None else ""),
                task.example_noun: _as_call(_chosen(recipe["transforms"])) or "as they are",
                **{name: _as_call(recipe[name]) for name in _further_choices(recipe)},
                "optimizer": _as_call(_without_schedules(recipe["optimizer"])),
                "schedule": _as_call(recipe["schedule"]),
                "steps": f"{run.total_steps:,} ({run.steps_per_epoch:.2f} an epoch)",
                "seed": run.seed,
                "devices": f"{jax.device_count()} x {record.hardware.device_kind} "
                f"({record.hardware.platform}) in {_number(jax.process_count(), 'process')}",
                "loader": _number(run.num_workers, "process") if run.num_workers else "threads",
                "kernels": run.kernels,
                "cost": f"{flops_per_example:.4g} FLOPs per training example (XLA count), "
                f"{cost.macs_forward_per_example:,} forward MACs",
                "workdir": run.workdir,
            }
        )
        changes = record.dataset.accepted_changes or ()
        accepted = [f"the data changed at step {change['step']}, accepted" for change in changes]
        for note in (*task.notes, *accepted):
            self.line(f"  note: {note}")

    def entries(self, entries: dict[str, object]) -> None:
        """Prints names and values in two columns; what is long goes on below itself."""
        width = max(len(key) for key in entries)
        for key, value in entries.items():
            text = f"  {key:<{width}}  {value}"
            if " " in str(value):  # A path stays beside its name.
                text = textwrap.fill(
                    text,
                    min(self._console.width, MOST_COLUMNS) if self._live else MOST_COLUMNS,
                    subsequent_indent=" " * (width + 4),
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            self.line(text)

    def receipt(self, record: records.Record, run, record_path: str) -> None:
        """Prints what the run found: the target, the compute it took, and where that is kept.

        Args:
          record: of the run.
          run: the `Run`.
          record_path: where the record is.
        """
        target, cost, timing, task = record.target, record.compute, record.timing, run.task
        metric = run.target.metric
        if target.reached:
            outcome = f"reached at epoch {target.epoch:g}, step {target.step}"
        elif record.curve:
            values = [point.value(metric.name) for point in record.curve]
            best = max(values) if metric.higher_is_better else min(values)
            outcome = f"not reached, best {metric.text(best, digits=2)}"
        else:
            outcome = "not reached"
        charged = "to the target" if target.reached else "so far"
        rows = {
            "target": f"{metric.text(target.value)} {metric.label}: {outcome}",
            f"compute {charged}, XLA count": f"{cost.train_flops:.4g} FLOPs = "
            f"{cost.teraflop_s_days:.4g} teraflop/s-days",
            f"compute {charged}, paper count": f"{cost.paper_flops:.4g} (3 x forward MACs) = "
            f"{cost.paper_teraflop_s_days:.4g} teraflop/s-days",
            "time": f"{_duration(timing.train_seconds)} training at "
            f"{timing.examples_per_second:.0f} {task.example_noun}/s, "
            f"{_duration(timing.eval_seconds)} evaluating, "
            f"{_duration(timing.compile_seconds)} compiling",
            "record": record_path,
        }
        if record.dataset.skipped and (count := record.dataset.skipped["count"]):
            rows["skipped"] = (
                f"{count} training {task.example_noun}: unreadable, named in the record"
            )
        self.line("")
        self.entries(rows)


# Of a recipe, what has a line of its own, and what is only worth one where it is chosen.
_SHOWN = ("name", "epochs", "batch_size", "lr", "transforms", "optimizer", "schedule", "source")
_SHOWN_ELSEWHERE = ("eval_every", "dtype")


def _further_choices(recipe):
    return [
        name
        for name, value in recipe.items()
        if name not in (*_SHOWN, *_SHOWN_ELSEWHERE) and value not in (None, [], False, 0.0)
    ]


def _chosen(transforms):
    return {name: value for name, value in transforms.items() if value not in ([], "none", None)}


def _without_schedules(description: object) -> object:
    """An optimizer's description without the schedules in it, and what is off by default."""
    if isinstance(description, list):
        return [_without_schedules(each) for each in description]
    if not isinstance(description, dict):
        return description
    return {
        name: {} if name == "scale_by_schedule" else _without_schedules(value)
        for name, value in description.items()
        if value is not None and value is not False
    }


def _as_call(description: object) -> str:
    """A description of an optimizer as the call that makes it: `trace(decay=0.9)`."""
    if isinstance(description, list):
        return f"[{', '.join(map(_as_call, description))}]"
    if isinstance(description, float):
        return f"{description:.6g}"
    if not isinstance(description, dict):
        return str(description)
    calls = []
    for name, arguments in description.items():
        if isinstance(arguments, dict):
            given = (
                _as_call({key: value}) if isinstance(value, dict) else f"{key}={_as_call(value)}"
                for key, value in arguments.items()
            )
            calls.append(f"{name}({', '.join(given)})")
        elif name == "chain":
            calls.append(", ".join(map(_as_call, arguments)))
        else:
            calls.append(f"{name}={_as_call(arguments)}")
    return ", ".join(calls)


def _epochs(number):
    return "epoch" if number == 1 else f"{number:g} epochs"


def _number(number, noun):
    """`1 process`, `2 processes`."""
    return f"{number} {noun}" + ("es" if number != 1 else "")


def _duration(seconds: float) -> str:
    """`75.2` as `1m15s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{seconds:.1f}s"
