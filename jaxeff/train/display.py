"""What a person sees of a run: configuration, progress, evaluations and the receipt."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

METRIC_NAMES = {"top1": "top-1", "top5": "top-5"}


class Display:
    """Prints to standard output: a live progress bar on a terminal, plain lines elsewhere.

    Only the first process of a run prints; the others stay silent.

    Args:
      total_steps: length of the run.
      log_every: steps between two plain progress lines.
      silent: prints nothing.
    """

    def __init__(self, total_steps: int, log_every: int, silent: bool = False):
        self._console = Console(quiet=silent, highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal and not silent
        self._log_every = log_every
        self._total_steps = total_steps
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f} images/s  loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task(
            "training", total=total_steps, rate=0.0, loss=float("nan")
        )

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()

    def line(self, text: str) -> None:
        """Prints one line, above the progress bar if there is one."""
        self._console.print(text, markup=False)
        sys.stdout.flush()

    def step(self, step: int, loss: float, images_per_second: float, seconds_left: float) -> None:
        """Shows that the devices have finished `step`."""
        if self._live:
            self._progress.update(self._task, completed=step, loss=loss, rate=images_per_second)
        elif step % self._log_every == 0:
            self.line(
                f"step {step}/{self._total_steps}  loss {loss:.4f}  {images_per_second:.0f} "
                f"images/s  {_duration(seconds_left)} left"
            )

    def evaluation(self, point: dict, total_epochs: float) -> None:
        """One line for one evaluation, `point` being its entry of the record's curve."""
        self.line(
            f"epoch {point['epoch']:g}/{total_epochs:g}  step {point['step']}  "
            f"train loss {point['train_loss']:.4f}  "
            f"validation loss {point['validation_loss']:.4f}  "
            f"top-1 {100 * point['top1']:.2f} %  top-5 {100 * point['top5']:.2f} %  "
            f"{point['train_flops']:.4g} FLOPs"
        )

    def entries(self, entries: dict[str, object]) -> None:
        """Prints names and values in two columns, a line an entry."""
        width = max(len(key) for key in entries)
        for key, value in entries.items():
            self.line(f"  {key:<{width}}  {value}")

    def receipt(self, record: dict, record_path: str) -> None:
        """Prints what the run found: the target, the compute it took, and where that is kept."""
        target, cost, timing = record["target"], record["compute"], record["timing"]
        level = f"{100 * target['value']:g} % {METRIC_NAMES[target['metric']]}"
        if target["reached"]:
            outcome = f"reached at epoch {target['epoch']:g}, step {target['step']}"
        else:
            shown = [point[target["metric"]] for point in record["curve"]]
            outcome = f"not reached, best {100 * max(shown):.2f} %" if shown else "not reached"
        charged = "to the target" if target["reached"] else "so far"
        rows = {
            "target": f"{level}: {outcome}",
            f"compute {charged}, XLA count": f"{cost['train_flops']:.4g} FLOPs = "
            f"{cost['teraflop_s_days']:.4g} teraflop/s-days",
            f"compute {charged}, paper count": f"{cost['paper_flops']:.4g} (3 x forward MACs) = "
            f"{cost['paper_teraflop_s_days']:.4g} teraflop/s-days",
            "time": f"{_duration(timing['train_seconds'])} training at "
            f"{timing['images_per_second']:.0f} images/s, "
            f"{_duration(timing['eval_seconds'])} evaluating, "
            f"{_duration(timing['compile_seconds'])} compiling",
            "record": record_path,
        }
        if skipped := record.get("skipped_images", {}).get("count"):
            rows["skipped"] = f"{skipped} training images that cannot be read, named in the record"
        self.line("")
        self.entries(rows)


def _duration(seconds: float) -> str:
    """`75.2` as `1m15s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{seconds:.1f}s"
