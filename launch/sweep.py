"""Measures factors: many runs of train.py, several seeds each, and the table of what they say.

    python launch/sweep.py --models=alexnet,shufflenet_v2 --seeds=0-4 \\
        --out=sweeps/digits

trains both models with five seeds on the bundled digits to their level, and prints how many times
less compute than AlexNet the other takes, with a 95 % interval over the seeds. --dry_run lists the
runs and how long they may take.

    python launch/sweep.py --models=resnet18 --recipe=small,fast.py \\
        --reference=resnet18 --seeds=0-2 --dataset=image_folder \\
        --data_dir=/data/cifar10 --target=top1:0.8 --out=sweeps/recipes

compares two recipes with the cheaper of them. --dataset and --target take several as well, and
--budget searches for the shortest schedule to the level, which no choice of schedule confounds. The
same can stand in a file, --config=sweep.yaml, with a line for each flag; flags win over it.
--train_flags='--image_size=32 --epochs=5' goes to every train.py as it stands. Networks with a
recipe each are a sweep each, with an --out of its own; report.py --records=OUT,OTHER
--baseline=alexnet then compares them.

    python launch/sweep.py --find_level --reference=alexnet --seeds=0-19 \\
        --dataset=digits

trains the reference alone and proposes the level of a data set: just after the knee of its curve,
and reached by nineteen of twenty seeds.

Each run has a folder of its own below --out and is a process of its own. Runs that are done are not
run again; the same command goes on after an interruption, a failure or a change of --parallel. A
run that diverges or does not reach the level counts as one that needs infinitely much. Afterwards
--out holds factors.csv and factors.png, and report/ with everything.

Exit status: 0 every run is done; 1 some failed and are named, the table is of the others; 75
interrupted, run the same command again; 2 wrong flags.
"""

import math
import sys

import cli
import ranges
from absl import flags

_MODELS = flags.DEFINE_string(
    "models", "paper", "Architectures: names or FILE.py:NAME with commas between, paper or all."
)
_SEEDS = flags.DEFINE_string("seeds", "0,1,2", "Seeds, such as 0,1,2 or 0-4.")
_RECIPE = flags.DEFINE_string(
    "recipe", None, "Recipes with commas between, as for train.py. Default: the data set's."
)
_DATASET = flags.DEFINE_string(
    "dataset", "digits", "Data sets with commas between, as for train.py: NAME, or NAME:FOLDER."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets that name none.")
_TARGET = flags.DEFINE_string(
    "target",
    None,
    "Levels of one metric with commas between, as for train.py; each run goes to the hardest, and "
    "its curve tells the others. Default: the data set's.",
)
_EVAL_EVERY = flags.DEFINE_float(
    "eval_every",
    None,
    "Epochs between evaluations: how finely a crossing is known. Default: the shortest of a "
    "quarter, a half and one whose evaluations take at most 5 % of the training, else one.",
    lower_bound=1e-3,
)
_TRAIN_FLAGS = flags.DEFINE_string(
    "train_flags", "", "Further flags of train.py for every run, as one text."
)
_OUT = flags.DEFINE_string("out", "sweep", "Folder of the runs, the table and the report.")
_REFERENCE = flags.DEFINE_string(
    "reference", "alexnet", "Configuration or model that factors are from, or whose level it is."
)
_PARALLEL = flags.DEFINE_integer(
    "parallel",
    1,
    "Runs at a time, each with an equal part of the GPUs or of the cores.",
    lower_bound=1,
)
_UNTIL = flags.DEFINE_string(
    "until",
    None,
    "Adds seeds to each configuration until its interval is this wide either way, such as 10%.",
)
_MOST_SEEDS = flags.DEFINE_integer("most_seeds", 20, "With --until, at most.", lower_bound=1)
_BUDGET = flags.DEFINE_bool(
    "budget",
    False,
    "Also search for each configuration's shortest annealed schedule that ends at the level in at "
    "least half of the seeds.",
)
_BUDGET_PRECISION = flags.DEFINE_string(
    "budget_precision", "10%", "With --budget, how closely, as a part of the length."
)
_FIND_LEVEL = flags.DEFINE_bool(
    "find_level",
    False,
    "Train --reference through its whole schedule, and propose the data set's level from its "
    "curves; give twenty seeds.",
)
_KEEP_CHECKPOINTS = flags.DEFINE_bool(
    "keep_checkpoints",
    True,
    "Keep the last two checkpoints of runs that are done, for evaluate.py. AlexNet's take 1.4 GB.",
)
_REPORT = flags.DEFINE_bool("report", True, "Write OUT/report at the end.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "List the runs and their time, and run none.")
_EMIT = flags.DEFINE_enum(
    "emit",
    None,
    ["tpu", "gke", "slurm"],
    "Run nothing here, and write job files for Cloud TPU, Google Kubernetes Engine or Slurm into "
    "the folder jobs, one job a missing run; --out may be a bucket, gs://…",
)
_EMIT_SETTINGS = flags.DEFINE_string(
    "emit_settings", "", "Of the jobs: NAME=VALUE with commas between; what is missing is named."
)
_KNOWN = flags.DEFINE_bool(
    "known",
    False,
    "Print what was measured and comes with the package, of --dataset or of all, to --target or "
    "the data set's level, and run nothing; --out gets it as a table and a picture.",
)
_PACK = flags.DEFINE_string(
    "pack", None, "Also write the records below --out into one file, such as runs.tar.xz."
)
_CONFIG = flags.DEFINE_string("config", None, "YAML file with values of these flags.")


def main() -> int:
    """Runs what is missing, prints the tables; returns the exit status."""
    import pathlib

    import sweep_results
    import sweep_runs
    from etils import epath

    from jaxeff import extras
    from jaxeff.measure import known

    if _KNOWN.value:
        takes = ("known", "dataset", "target", "out")
        others = [flag for group in GROUPS.values() for flag in group if flag not in takes]
        cli.refuse_beside("known", others)
        rows, folder = _known_rows(), None
        if flags.FLAGS["out"].present:
            folder = cli.make_folder("out", _OUT.value)
        print(known.as_markdown(rows))
        if folder is not None:
            sweep_results.write_factors(rows, folder)
        return 0
    _read_config()
    if _REPORT.value and not (_DRY_RUN.value or _EMIT.value or _FIND_LEVEL.value):
        extras.require("report", "--report, which --noreport turns off,")
    # Jobs may write into a bucket, which is not looked at from here.
    out = epath.Path(_OUT.value) if _EMIT.value else pathlib.Path(_OUT.value).expanduser()
    seeds, metric, levels = parse_seeds(_SEEDS.value), *parse_levels(_TARGET.value)
    precision = None if _UNTIL.value is None else _parse_fraction("until", _UNTIL.value)
    closely = _parse_fraction("budget_precision", _BUDGET_PRECISION.value)
    configurations = _configurations(out, metric, levels)
    _check_reference(configurations)
    runs = [run for c in configurations for run in map(c.run, seeds)]
    if _DRY_RUN.value:
        sweep_results.print_plan(runs, _PARALLEL.value)
        return 0
    if _EMIT.value:
        return _emit(runs)
    cli.make_folder("out", _OUT.value)
    if _PACK.value is not None:
        cli.make_folder("pack", pathlib.Path(_PACK.value).expanduser().parent, given=_PACK.value)
    failed, budgets = [], {}
    with sweep_runs.Pool(_PARALLEL.value, _KEEP_CHECKPOINTS.value) as pool:
        while runs and not pool.interrupted:
            failed += pool.do(runs)
            runs = [] if pool.interrupted else _further_runs(configurations, failed, precision)
        if _BUDGET.value and not (_FIND_LEVEL.value or pool.interrupted):
            more, budgets = sweep_runs.search_budgets(pool, configurations, seeds, closely)
            failed += more
    if _FIND_LEVEL.value and not pool.interrupted:
        return sweep_results.propose_levels(configurations, metric or "top1", out, failed)
    rows = sweep_results.tables(configurations, _REFERENCE.value, metric, levels, budgets)
    sweep_results.show(rows, _REFERENCE.value, out)
    if _PACK.value is not None:
        sweep_results.pack(out, pathlib.Path(_PACK.value).expanduser())
    if pool.interrupted:
        return 75
    if rows and _REPORT.value:
        sweep_results.write_report(rows, out)
    for run, reason in failed:
        print(f"failed: {run.name}: {reason}")
    return 1 if failed else 0


def _known_rows():
    """What comes with the package: of --dataset or of all, to --target or the data set's level."""
    from jaxeff.errors import UsageError
    from jaxeff.measure import known

    metric, levels = parse_levels(_TARGET.value)
    rows = [row for level in levels for row in known.rows_to(metric, level)]
    rows = rows or known.known_rows()
    if not flags.FLAGS["dataset"].present:
        return rows
    wanted, there = _split(_DATASET.value), {row.records[0].dataset.name for row in rows}
    if unknown := set(wanted) - there:
        to = f" to {_TARGET.value}" if levels else ""
        raise UsageError(
            f"--dataset={unknown.pop()}: with the package come measurements{to} on "
            f"{', '.join(sorted(there))}"
        )
    return [row for row in rows if row.records[0].dataset.name in wanted]


def _configurations(out, metric, levels):
    """Every model with every recipe on every data set."""
    import networks
    import sweep_runs

    from jaxeff.errors import UsageError

    shared = _train_flags()
    target = f"{metric}:{levels[-1]:g}" if levels else None
    if _FIND_LEVEL.value:
        # Not to be reached, so that the record tells it from the measurement of a level.
        target = f"{metric or 'top1'}:{0 if _is_loss(metric) else 1}"
        shared = ("--nostop_at_target", *shared)
    models = networks.load_all(_REFERENCE.value if _FIND_LEVEL.value else _MODELS.value)
    recipes = [(recipe, _recipe_source(recipe)) for recipe in _split(_RECIPE.value) or [None]]
    found = []
    for dataset in _split(_DATASET.value):
        name, _, folder = dataset.partition(":")
        folder = folder or _DATA_DIR.value
        own = {"target": target, "data_dir": folder, "eval_every": _eval_every(name, folder)}
        own = [f"--{flag}={value}" for flag, value in own.items() if value is not None]
        found += [
            sweep_runs.Configuration(
                out, model.specification, recipe, name, (*own, *shared), (model.source, source)
            )
            for model in models
            for recipe, source in recipes
        ]
    names = [configuration.name for configuration in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"two configurations are both called {twice.pop()}: rename a file")
    return found


def _check_reference(configurations):
    """Before anything is run for it: a reference that was asked for is one of the sweep."""
    from jaxeff.errors import UsageError

    names = [configuration.name for configuration in configurations]
    models = list(dict.fromkeys(c.model.rpartition(":")[2] for c in configurations))
    given = flags.FLAGS["reference"].present and not _FIND_LEVEL.value
    if given and _REFERENCE.value not in (*names, *models):
        raise UsageError(
            f"--reference={_REFERENCE.value}: the models here are {', '.join(models)}; several "
            "sweeps are compared by report.py --records=OUT,OTHER --baseline=MODEL"
        )


def _eval_every(dataset, folder):
    """Epochs between evaluations. One costs a third of a training step's compute an image."""
    from jaxeff import data

    if _EVAL_EVERY.value is not None:
        return f"{_EVAL_EVERY.value:g}"
    loaded = data.load(dataset, data_dir=folder)
    whole = len(loaded.validation) / (3 * len(loaded.train))
    return next((text for text in ("0.25", "0.5") if whole / float(text) <= 0.05), "1")


def _emit(runs):
    """Writes the job files of the runs that are missing, of all where they go into a bucket."""
    import pathlib

    from cloud import jobs

    from jaxeff.errors import UsageError

    settings = dict(part.partition("=")[::2] for part in _split(_EMIT_SETTINGS.value))
    missing = [run for run in runs if "://" in _OUT.value or not run.is_done]
    if not missing:
        raise UsageError(f"--emit={_EMIT.value}: every run is done")
    commands = [["jaxeff", "train", *run.flags()] for run in missing]
    first, *others = jobs.emit(
        _EMIT.value, commands, cli.make_folder("emit", pathlib.Path("jobs")), settings
    )
    print(f"{first}: {len(missing)} runs; look at it, and at {len(others)} more files beside it")
    print(f"then run it: {'sbatch' if _EMIT.value == 'slurm' else 'bash'} {first}")
    return 0


def parse_levels(text: str | None) -> tuple[str | None, list[float]]:
    """`top1:0.9,top1:0.95` as `top1` and `[0.9, 0.95]`, the easiest first; nothing for None.

    Raises:
      UsageError: it is no such list.
    """
    from jaxeff.errors import UsageError

    if text is None:
        return None, []
    metrics, levels = set(), []
    for part in _split(text):
        metric, _, value = part.partition(":")
        try:
            levels.append(float(value))
        except ValueError:
            levels.append(math.nan)
        metrics.add(metric)
    if len(metrics) != 1 or len(set(levels)) < len(levels) or not all(map(math.isfinite, levels)):
        raise UsageError(
            f"--target={text}: give levels of one metric, each once, such as top1:0.9,top1:0.95; "
            "another metric is another sweep"
        )
    metric = metrics.pop()
    return metric, sorted(levels, reverse=_is_loss(metric))


def _is_loss(metric):
    return metric is not None and metric.endswith("loss")


def parse_seeds(text: str) -> list[int]:
    """`0,1,4-6` as `[0, 1, 4, 5, 6]`.

    Raises:
      UsageError: it is no such list.
    """
    from jaxeff.errors import UsageError

    seeds = []
    for part in _split(text):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise UsageError(f"--seeds={text}: give whole numbers, such as 0,1,2 or 0-4")
        if int(last or first) - int(first) > 1000:
            raise UsageError(f"--seeds={text}: more than a thousand seeds")
        seeds += range(int(first), int(last or first) + 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds={text}: give each seed once, such as 0,1,2 or 0-4")
    return seeds


def _split(text):
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _read_config():
    """Sets the flags that the file names and the command line does not."""
    if _CONFIG.value is None:
        return
    import yaml

    from jaxeff.errors import UsageError

    try:
        with open(_CONFIG.value, encoding="utf-8") as file:
            settings = yaml.safe_load(file)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"--config={_CONFIG.value}: cannot be read ({error})") from error
    if not isinstance(settings, dict):
        raise UsageError(f"--config={_CONFIG.value}: give lines such as models: alexnet,vgg11")
    own = {flag.name for flag in flags.FLAGS.get_flags_for_module(sys.modules[__name__])}
    for name, value in settings.items():
        if name not in own or name == "config":
            raise UsageError(
                f"--config={_CONFIG.value}: {name} is no flag of sweep.py; there are "
                f"{', '.join(sorted(own))}"
            )
        if flags.FLAGS[name].present:
            continue
        value = ",".join(map(str, value)) if isinstance(value, list) else value
        try:
            flags.FLAGS[name].parse(str(value))
            ranges.check(flags.FLAGS)
        except flags.Error as error:
            raise UsageError(f"--config={_CONFIG.value}: {error}") from error


def _recipe_source(recipe):
    """SHA-256 of a recipe's file; None for a packaged recipe."""
    import pathlib

    import user_files

    if recipe is None or not recipe.endswith(".py"):
        return None
    return user_files.run_file(pathlib.Path(recipe).expanduser()).digest


def _train_flags():
    """The flags that every run shares."""
    import shlex

    from jaxeff.errors import UsageError

    try:
        further = shlex.split(_TRAIN_FLAGS.value)
    except ValueError as error:
        raise UsageError(f"--train_flags: {error}") from error
    for flag in further:
        if not flag.startswith("--") or flag.startswith(("--seed", "--workdir", "--model=")):
            raise UsageError(
                f"--train_flags: {flag}: give flags as --name=value; model, seed and workdir are "
                "the sweep's own"
            )
    return tuple(further)


def _parse_fraction(flag, text):
    """`10%` or `0.1` as 0.1."""
    from jaxeff.errors import UsageError

    try:
        fraction = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction < 100:
        raise UsageError(f"--{flag}={text}: give a fraction above 0, such as 10%")
    return fraction


def _further_runs(configurations, failed, precision):
    """With --until, one more seed for each configuration that is not known well enough."""
    if precision is None:
        return []
    from jaxeff import measure

    broken = {run.configuration.name for run, _ in failed}
    runs = []
    for configuration in configurations:
        found = configuration.records()
        if not found or configuration.name in broken or len(found) >= _MOST_SEEDS.value:
            continue
        crossings = [measure.crossing(record) for record in found]
        error = measure.compute_to_level(crossings).relative_error
        if precision < (left := measure.gap_error(crossings)) < math.inf:
            print(
                f"{configuration.name}: no more seeds, since its evaluations leave {left:.1%} open "
                "either way: give a smaller --eval_every"
            )
        elif error is None or error > precision:
            runs.append(configuration.run(max(record.seed for record in found) + 1))
    return runs


GROUPS = {
    "Common flags": (
        "models",
        "seeds",
        "dataset",
        "data_dir",
        "recipe",
        "target",
        "out",
        "dry_run",
    ),
    "How runs are trained": ("train_flags", "eval_every", "parallel", "keep_checkpoints", "config"),
    "What they are to say": (
        "reference",
        "until",
        "most_seeds",
        "budget",
        "budget_precision",
        "find_level",
        "report",
        "pack",
        "known",
    ),
    "Elsewhere than here": ("emit", "emit_settings"),
}


if __name__ == "__main__":
    cli.run(main, __doc__, groups=GROUPS)
