"""The runs of a sweep: each a process of train.py with a folder of its own."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from jaxeff import measure, records
from jaxeff.errors import UsageError

TRAIN = pathlib.Path(__file__).with_name("train.py")
# Statuses of train.py after which there is nothing left to run.
DONE = ("reached", "completed", "diverged")
INTERRUPTED = 75
DEFAULT_EVALUATIONS = "--eval_every=1"
# Flags of train.py that change what is shown and how fast it runs, not what is measured.
OF_DISPLAY = (
    "log_every",
    "checkpoint_every",
    "num_workers",
    "check_data",
    "profile",
    "compilation_cache",
)


@dataclasses.dataclass(frozen=True)
class Configuration:
    """What the seeds of one row of the table have in common.

    Attributes:
      out: folder of the sweep.
      model: as `--model` takes it.
      recipe: as `--recipe` takes it; None leaves it to the data set.
      dataset: as `--dataset` takes it.
      flags: further flags of train.py.
      sources: SHA-256 of the user's files of model and recipe; None for packaged ones.
    """

    out: pathlib.Path
    model: str
    recipe: str | None
    dataset: str
    flags: tuple[str, ...]
    sources: tuple[str | None, str | None] = (None, None)

    @property
    def name(self) -> str:
        """Of the row and, with the seed, of the folders; every flag that matters is in it."""
        model = self.model.rpartition(":")[2]
        parts = [model, self.dataset]
        if self.recipe is not None:
            parts.append(pathlib.Path(self.recipe).stem)
        for flag in self.flags:
            name, _, value = flag.lstrip("-").partition("=")
            if name == "data_dir":
                value, name = pathlib.Path(value).name, ""
            if flag != DEFAULT_EVALUATIONS and name.removeprefix("no") not in OF_DISPLAY:
                parts.append(f"{name}{value}")
        return "-".join(re.sub(r"[^\w.]+", "_", part) for part in parts if part)

    @property
    def dataset_key(self) -> tuple[str, ...]:
        """What runs must have in common to be compared: the data set and its folder."""
        return (self.dataset, *(flag for flag in self.flags if flag.startswith("--data_dir")))

    def through_schedule(self, epochs: float) -> "Configuration":
        """The same with another length of schedule, run to its end."""
        flags = tuple(flag for flag in self.flags if not flag.startswith(("--epochs", "--eval_e")))
        once = f"--eval_every={measure.EVALUATED_EVERY * epochs:g}"
        flags = (*flags, f"--epochs={epochs:g}", once, "--nostop_at_target")
        return dataclasses.replace(self, out=self.out / "budgets", flags=flags)

    def run(self, seed: int) -> "Run":
        """The run with `seed`."""
        return Run(self, seed)

    def records(self) -> list[records.Record]:
        """Of the runs that are done, by seed."""
        found = []
        for path in self.out.glob(f"{_escaped(self.name)}-s*/record.json"):
            if re.fullmatch(r"-s\d+", path.parent.name[len(self.name) :]):
                record = _read(path)
                if record is not None and record.status in DONE:
                    found.append(record)
        return sorted(found, key=lambda record: record.seed)


@dataclasses.dataclass(frozen=True)
class Run:
    """One process of train.py.

    Attributes:
      configuration: what it shares with other seeds.
      seed: its own.
    """

    configuration: Configuration
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.configuration.name}-s{self.seed}"

    @property
    def workdir(self) -> pathlib.Path:
        """Its folder."""
        return self.configuration.out / self.name

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to run.

        Raises:
          UsageError: the user's files have changed since, or it was run on another folder.
        """
        record = _read(self.workdir / "record.json")
        if record is None or record.status not in DONE:
            return False
        folder = _data_dir(self.configuration.flags)
        if not _is_same_folder(_data_dir(shlex.split(record.command)), folder):
            raise UsageError(
                f"{self.workdir}: was run on another folder of that name than {folder}; give "
                "another --out"
            )
        if (record.model.source, record.recipe["source"]) != self.configuration.sources:
            raise UsageError(
                f"{self.workdir}: the file of its model or recipe has changed since; give another "
                "--out, or put the file back"
            )
        return True

    @property
    def has_compiled(self) -> bool:
        """Whether its programs are in the cache for others: it has evaluated once."""
        record = _read(self.workdir / "record.json")
        return record is not None and bool(record.curve)

    def command(self) -> list[str]:
        """That trains it, or goes on with it."""
        return [sys.executable, str(TRAIN), *self.flags()]

    def flags(self) -> list[str]:
        """Of train.py."""
        c = self.configuration
        recipe = [] if c.recipe is None else [f"--recipe={c.recipe}"]
        return [
            f"--model={c.model}",
            *recipe,
            f"--dataset={c.dataset}",
            *c.flags,
            f"--seed={self.seed}",
            f"--workdir={self.workdir}",
        ]

    def outcome(self) -> str:
        """What came out of it, in a line."""
        record = _read(self.workdir / "record.json")
        if record is None:
            return "no record"
        target, cost = record.target, record.compute
        if target.reached:
            return f"epoch {target.epoch:g}, {cost.train_flops:.4g} FLOPs"
        if not record.curve:
            return record.status
        metric = target.metric
        choose = max if record.direction(metric) == "max" else min
        best = choose(point.value(metric) for point in record.curve)
        return f"{record.status}, not reached: best {metric} {best:.4g}"


class Pool:
    """Runs processes, so many at a time, until they are done or a signal comes.

    Args:
      size: how many at a time; each has an equal part of the GPUs, or of the processor's cores.
      keep_checkpoints: whether a run that is done keeps its weights.

    Attributes:
      interrupted: whether SIGINT or SIGTERM has come; the processes were told to stop then, and
        have left checkpoints.
    """

    def __init__(self, size: int, keep_checkpoints: bool = True):
        self._size, self._running, self._places = size, {}, _places(size)
        self._keep_checkpoints = keep_checkpoints
        self.interrupted = False

    def __enter__(self):
        self._handlers = {
            number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_):
        self._stop()
        for process, _, _ in self._running.values():
            process.wait()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def do(
        self, runs: Iterable[Run], then: Callable[[Run], Iterable[Run]] = lambda run: ()
    ) -> list[tuple[Run, str]]:
        """Runs what is not done; prints a line for each that ends.

        Args:
          runs: to start in this order, as far as `next_run` keeps it.
          then: of a run that is done, now or already before: further runs.

        Returns:
          Those that failed, with the reason.
        """
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        waiting, failed, done = [], [], []
        begun = collections.Counter()

        def take(runs):
            for run in runs:
                if not run.is_done:
                    waiting.append(run)
                    continue
                begun[run.configuration] += 1
                end(run)

        def end(run):
            self._prune(run)
            done.append(run)
            take(then(run))

        take(runs)
        console = Console(highlight=False, soft_wrap=True)
        if done:
            console.print(f"{len(done)} of {len(done) + len(waiting)} runs are done already")
        columns = ("runs", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("runs")
            while (waiting and not self.interrupted) or self._running:
                while waiting and len(self._running) < self._size and not self.interrupted:
                    run = next_run(waiting, list(self._running), begun)
                    waiting.remove(run)
                    begun[run.configuration] += 1
                    try:
                        self._start(run)
                    except OSError as error:
                        reason = f"its folder cannot be used ({error.strerror})"
                        failed.append((run, reason))
                        console.print(f"{run.name}: failed: {reason}", markup=False)
                for run, seconds, status in self._ended():
                    if status in (INTERRUPTED, -signal.SIGTERM, -signal.SIGINT):
                        console.print(f"{run.name}: interrupted, saved", markup=False)
                    elif status in (0, 3, 4) and run.is_done:
                        console.print(f"{run.name}: {run.outcome()}, {seconds:.0f} s", markup=False)
                        end(run)
                    else:
                        reason = f"exit status {status}, {_last_line(run)}"
                        failed.append((run, reason))
                        console.print(f"{run.name}: failed: {reason}", markup=False)
                ended = len(done) + len(failed)
                bar.update(task, completed=ended, total=ended + len(waiting) + len(self._running))
                time.sleep(0.1)
        return failed

    def _prune(self, run):
        if not self._keep_checkpoints:
            shutil.rmtree(run.workdir / "checkpoints", ignore_errors=True)

    def _start(self, run):
        run.workdir.mkdir(parents=True, exist_ok=True)
        place = min(set(range(self._size)) - {place for _, place, _ in self._running.values()})
        environment, cores = self._places[place]
        with open(run.workdir / "output.txt", "ab") as output:
            process = subprocess.Popen(
                run.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on.
            )
        if cores and hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(process.pid, cores)
        self._running[run] = process, place, time.monotonic()

    def _ended(self):
        for run, (process, _, started) in list(self._running.items()):
            if process.poll() is not None:
                del self._running[run]
                yield run, time.monotonic() - started, process.returncode

    def _stop(self, *signal_and_frame):
        self.interrupted = self.interrupted or bool(signal_and_frame)
        for process, _, _ in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def next_run(
    waiting: Sequence[Run], running: Sequence[Run], begun: Mapping[Configuration, int]
) -> Run:
    """Which of the waiting runs to start.

    Seeds of one configuration share a compiled program, which the first of them leaves in the
    cache: the others wait for it as long as another configuration has something to run. Otherwise
    the configuration of which the fewest seeds were begun comes first, so that a sweep that is
    stopped early has as many seeds of each.

    Args:
      waiting: in the order of the sweep; not empty.
      running: that have not ended.
      begun: number of runs of each configuration that are running or have ended.
    """
    first = [run for run in running if begun[run.configuration] == 1]
    compiling = {run.configuration for run in first if not run.has_compiled}
    return min(waiting, key=lambda run: (run.configuration in compiling, begun[run.configuration]))


def search_budgets(
    pool: Pool, configurations: Iterable[Configuration], seeds: Sequence[int], precision: float
) -> tuple[list[tuple[Run, str]], dict[str, measure.Budget]]:
    """Trains ever better chosen lengths of schedule until each configuration's budget is known.

    What is done already is not run again, so the search takes the same way again after an
    interruption. No configuration waits for another's length to be done.

    Args:
      pool: that runs them.
      configurations: whose records of these seeds tell where the search starts.
      seeds: of every length.
      precision: as `measure.next_length` takes it.

    Returns:
      Runs that failed, with the reason, and the budgets that are known, by configuration's name.
    """
    searches = [_Search(c, seeds, precision) for c in configurations if _of_seeds(c, seeds)]
    of_run: dict[Run, _Search] = {}

    def trained_by(search):
        runs = search.next_runs()
        of_run.update(dict.fromkeys(runs, search))
        return runs

    def then(run):
        search = of_run[run]
        return trained_by(search) if search.has_ended(run) else []

    failed = pool.do([run for search in searches for run in trained_by(search)], then)
    return failed, {s.configuration.name: s.budget for s in searches if s.budget is not None}


class _Search:
    """For one configuration's budget: the lengths that were trained, and the one that is.

    Attributes:
      configuration: whose budget it is.
      budget: once it is known.
    """

    def __init__(self, configuration, seeds, precision):
        self.configuration, self.budget = configuration, None
        self._seeds, self._precision = seeds, precision
        self._found, self._missing, self._of_length = [], set(), None

    def next_runs(self):
        """Of the next length; none where the budget is known."""
        crossed = _of_seeds(self.configuration, self._seeds)
        if self._of_length is None:
            length = measure.first_length(crossed)
        else:
            self._found += _of_seeds(self._of_length, self._seeds)
            own = crossed[0].recipe["epochs"]
            length = measure.next_length(self._found, own, self._precision)
        if length is None:
            self.budget = measure.budget(self._found)
            return []
        self._of_length = self.configuration.through_schedule(length)
        runs = [self._of_length.run(seed) for seed in self._seeds]
        self._missing = set(runs)
        return runs

    def has_ended(self, run):
        """Notes that `run` is done; whether all of its length are."""
        self._missing.discard(run)
        return not self._missing


def _data_dir(flags):
    given = [flag.partition("=")[2] for flag in flags if flag.startswith("--data_dir=")]
    return given[-1] if given else None


def _is_same_folder(one, other):
    """Whether both lead to one place; a record may have lost the folder that was its data's."""
    if None in (one, other) or one == other:
        return True
    places = [os.path.realpath(os.path.expanduser(each)) for each in (one, other)]
    return places[0] == places[1]


def _of_seeds(configuration, seeds):
    return [record for record in configuration.records() if record.seed in seeds]


def _places(size):
    """For each of so many processes, variables that give it its devices, and its cores."""
    gpus = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    gpus = gpus or [str(i) for i in range(len(list(pathlib.Path("/dev").glob("nvidia[0-9]*"))))]
    if size > 1 and len(gpus) >= size:
        return [({"CUDA_VISIBLE_DEVICES": ",".join(gpus[i::size])}, None) for i in range(size)]
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = sorted(os.sched_getaffinity(0)) if has_affinity else []
    if size == 1 or len(cores) < size:
        return [({}, None)] * size
    return [({}, set(cores[i::size])) for i in range(size)]


def _read(path):
    try:
        return records.read(path) if path.exists() else None
    except UsageError:
        return None


def _last_line(run):
    try:
        text = (run.workdir / "output.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "no output"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


def _escaped(name):
    return re.sub(r"([\[\]*?])", r"[\1]", name)
