"""What a sweep says: before it, how long it takes; after it, tables, levels and the report."""

import dataclasses
import datetime
import functools
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence

import cli
import sweep_runs

from jaxeff import measure, records
from jaxeff.atomic import write_atomically
from jaxeff.errors import UsageError

# Of an accelerator's peak, before a run has told.
ASSUMED_UTILIZATION = 0.3


def print_plan(runs: list[sweep_runs.Run], parallel: int) -> None:
    """Lists the runs, and how long what is missing takes through whole schedules.

    Runs of the same configuration tell their time. The others are counted, and divided by what runs
    of the same model, else of all models of this sweep, computed a second; before the first run has
    ended, by `ASSUMED_UTILIZATION` of the device's peak, published or, such as a CPU's, measured.
    """
    configurations = list(dict.fromkeys(run.configuration for run in runs))
    done = {c: c.records() for c in configurations}
    missing = {run.configuration for run in runs if not run.is_done}
    seconds = {
        c: statistics.fmean(map(_seconds, found)) if (found := done[c]) else None
        for c in configurations
    }
    for c in missing:
        if seconds[c] is None:
            rate = _flops_per_second(c.model, [r for found in done.values() for r in found])
            seconds[c] = _schedule_flops(c) / rate
    for run in runs:
        if run.is_done:
            print(f"{run.name}: done, {run.outcome()}")
            continue
        print(f"{run.name}: {_clock(seconds[run.configuration])}")
    whole = _clock(sum(seconds[run.configuration] for run in runs if not run.is_done) / parallel)
    print(
        f"{len(runs)} runs; whole schedules of what is missing take about {whole} (h:mm:ss)", end=""
    )
    if missing and not any(done.values()):
        print(
            f", compilation and evaluation aside, if they attain {ASSUMED_UTILIZATION:g} of the "
            "peak: the first to end tells",
            end="",
        )
    print()


def _clock(seconds):
    return str(datetime.timedelta(seconds=round(seconds)))


def _seconds(record):
    timing = record.timing
    return timing.compile_seconds + timing.train_seconds + timing.eval_seconds


def _flops_per_second(model, runs):
    """What runs computed a second on this machine, or what is assumed."""
    import jax

    from jaxeff import compute

    timed = [r for r in runs if r.curve and r.timing.train_seconds > 0]
    alike = [r for r in timed if r.model.name == model.rpartition(":")[2]] or timed
    if alike:
        return statistics.median(r.curve[-1].train_flops / _seconds(r) for r in alike)
    published = compute.arithmetic_peak(jax.devices()[0].device_kind, "float32")
    if published is None:  # The devices of a CPU share its cores.
        return ASSUMED_UTILIZATION * _measured_peak()
    return ASSUMED_UTILIZATION * published[0] * jax.local_device_count()


@functools.cache
def _measured_peak():
    from jaxeff import compute

    return compute.measure_matmul_peak("float32", size=1024)


def _schedule_flops(configuration):
    """XLA's count of a run through its whole schedule."""
    import networks
    import recipes

    from jaxeff import data, tasks, train

    given = dict(flag.lstrip("-").partition("=")[::2] for flag in configuration.flags)
    size = int(given["image_size"]) if "image_size" in given else None
    dataset = data.load(configuration.dataset, data_dir=given.get("data_dir"), image_size=size)
    model = networks.load(configuration.model, given.get("model_args", ""))
    resolve = functools.partial(
        train.resolve,
        model_name=model.name,
        train_examples=len(dataset.train),
        facts={"num_classes": dataset.num_classes, "image_size": dataset.image_size},
        batch_size=int(given["batch_size"]) if "batch_size" in given else None,
        epochs=float(given["epochs"]) if "epochs" in given else None,
        lr=float(given["lr"]) if "lr" in given else None,
    )
    name = configuration.recipe or ("small" if dataset.in_memory else "paper")
    recipe, _ = recipes.load(name, resolve)
    task = tasks.ImageClassification(dataset, dataset.image_size).trained_by(recipe)
    times = train.Timetable(len(dataset.train), recipe.epochs, recipe.batch_size, recipe.phases)
    module = model.make_module(dataset.num_classes)
    cost = train.training_cost(module, recipe, task, times.spans())
    return cost.schedule.train_flops(times.total_steps)


def tables(
    configurations: list[sweep_runs.Configuration],
    reference: str,
    metric: str | None,
    levels: list[float],
    budgets: dict[str, measure.Budget],
) -> list[measure.Row]:
    """The rows of every data set and level.

    Args:
      configurations: of the sweep; those without a record are left out.
      reference: name of a configuration or a model.
      metric: of the levels.
      levels: the easiest first; empty takes each run's own target.
      budgets: to the hardest level, by configuration's name.
    """
    rows = []
    for dataset in dict.fromkeys(c.dataset_key for c in configurations):
        within = {c: c.records() for c in configurations if c.dataset_key == dataset}
        within = {c: found for c, found in within.items() if found}
        for level in levels or [None]:
            compared = _reference(within, reference, level, metric)
            hardest = not levels or level == levels[-1]
            named = {c.name: found for c, found in within.items()}
            known = budgets if hardest else {}
            rows += measure.table(named, compared, level, metric, known)
    return rows


def show(rows: list[measure.Row], reference: str, out: pathlib.Path) -> None:
    """Prints the rows: seeds, level and interval beside each number; `write_factors` too."""
    if not rows:
        return
    path = write_factors(rows, out)
    for row in rows:
        missed = f", {row.train_flops.missed} never got there" if row.train_flops.missed else ""
        seeds = f"{len(row.records)} seed{'s' * (len(row.records) != 1)}"
        print(f"\n{row.name}: {seeds} to {row.metric} {row.level:g}{missed}")
        print(f"  compute  {measure.text(row.train_flops)} FLOPs, ", end="")
        print(f"at epoch {measure.text(row.epochs)}")
        if row.factor is not None and row.name != row.reference:
            print(f"  factor   {measure.factor_text(row.factor)} x less than {row.reference}")
        if row.budget is None:
            continue
        print(f"  budget   {measure.text(row.budget.train_flops)} FLOPs, ", end="")
        print(f"{measure.text(row.budget.epochs)} epochs; ", end="")
        tried = (f"{length:g}: {met} of {n}" for length, met, n in row.budget.lengths)
        print(f"lengths that end at the level: {', '.join(tried)}; ", end="")
        print(f"the search took {row.budget.spent_flops:.3g} FLOPs")
        if row.budget_factor is not None and row.name != row.reference:
            print(
                f"           {measure.factor_text(row.budget_factor)} x less than {row.reference}"
            )
    print()
    if not any(row.reference for row in rows):
        print(f"{reference} was not measured, so there are no factors: --reference=NAME")
    print(f"medians over the seeds with 95 % intervals; all of it in {path}")


def write_factors(rows: Sequence[measure.Row], out: pathlib.Path) -> pathlib.Path:
    """Writes `out/factors.csv` and, where there are factors, `factors.png`; returns the first."""
    from jaxeff.report import factor_figure, figures

    path = out / "factors.csv"
    write_atomically(path, measure.as_csv(rows).encode())
    if any(row.factor is not None for row in rows):
        picture, *_ = figures.render(factor_figure.draw_factors(rows))
        write_atomically(path.with_suffix(".png"), picture)
    return path


def pack(out: pathlib.Path, path: pathlib.Path) -> None:
    """Writes the records of the runs below `out` that are over into one file, for others.

    Their commands lose the folders of this machine.
    """
    found = {}
    for file in sorted(out.rglob("record.json")):
        record = records.read(file)
        if record.status in sweep_runs.DONE:
            command = _without_folders(record.command)
            found[str(file.parent.relative_to(out))] = dataclasses.replace(record, command=command)
    records.write_archive(path, found)
    print(f"{len(found)} records in {path}, {path.stat().st_size:,} bytes")


def _without_folders(command):
    """`python launch/train.py` with the flags that say what is measured."""
    program, script, *flags = shlex.split(command)
    shown = [program, f"launch/{pathlib.Path(script).name}" if "/" in script else script]
    for flag in flags:
        name, _, value = flag.partition("=")
        if name == "--data_dir":
            flag = f"{name}={pathlib.Path(value).name}"
        if name not in ("--workdir", "--out"):
            shown.append(flag)
    return shlex.join(shown)


def propose_levels(
    configurations: list[sweep_runs.Configuration],
    metric: str,
    out: pathlib.Path,
    failed: list[tuple[sweep_runs.Run, str]],
) -> int:
    """Prints the level of each configuration's data set, and writes it with its evidence.

    Returns:
      The exit status: 1 where a run failed or there is no such level.
    """
    from jaxeff.report import figures, level_figure

    status = 0
    for run, reason in failed:
        print(f"failed: {run.name}: {reason}")
        status = 1
    for configuration in configurations:
        runs = configuration.records()
        if not runs:
            continue
        try:
            found = measure.propose_level(runs, metric)
        except UsageError as error:
            print(f"{configuration.name}: {error}")
            status = 1
            continue
        path, picture = (out / f"level-{configuration.name}.{kind}" for kind in ("json", "png"))
        evidence = {
            "command": _without_folders(cli.command()),
            "reference": runs[0].model.name,
            "dataset": runs[0].dataset.name,
            "fingerprint": runs[0].dataset.fingerprint,
            **dataclasses.asdict(found),
        }
        write_atomically(path, (json.dumps(evidence, indent=1) + "\n").encode())
        write_atomically(picture, figures.render(level_figure.draw_level(runs, found))[0])
        _print_proposal(configuration.name, found)
        print(f"all of it in {path} and {picture.name}")
        status = status or (found.level is None)
    return int(status)


def _print_proposal(name, found):
    print(
        f"\n{name}: {found.seeds} seeds; the median's knee is at epoch {found.knee_epoch:g}, ",
        end="",
    )
    print(f"{found.metric} {found.knee:.4g}")
    for one in found.candidates:
        spread = "" if one.spread is None else f", runs differ by {one.spread:.1%}"
        print(
            f"  {found.metric}:{one.level:g}  {one.reached} of {found.seeds} seeds reach it, "
            f"{one.ended} end there; at epoch {measure.text(one.epochs)}{spread}"
        )
    if found.level is None:
        print(
            "no level: too few seeds reach what lies after the knee; the reference needs a recipe "
            "with which it trains with every seed"
        )
    else:
        print(f"proposed: --target={found.metric}:{found.level:g}")


def write_report(rows: list[measure.Row], out: pathlib.Path) -> None:
    """Writes `out/report` with everything that the records below `out` say."""
    report = pathlib.Path(__file__).with_name("report.py")
    command = [sys.executable, str(report), f"--records={out}", f"--out={out / 'report'}"]
    references = {row.records[0].model.name for row in rows if row.name == row.reference}
    command += [f"--baseline={name}" for name in list(references)[:1]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"the report failed: {done.stderr.strip()[-300:]}")


def _reference(within, reference, level, metric):
    """The configuration called so, or the cheapest of the model; None where there is none."""
    for configuration in within:
        if configuration.name == reference:
            return reference
    of_model = {
        c.name: measure.compute_to_level([measure.crossing(r, level, metric) for r in found]).value
        for c, found in within.items()
        if c.model.rpartition(":")[2] == reference
    }
    return min(of_model, key=of_model.get, default=None)
