"""What was measured here, by configuration: medians over runs, their intervals, and factors.

Every number is `jaxeff.measure`'s, the same that a sweep prints. A run that is not over is no
result: it is named, and counts for nothing.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence

from scipy import stats

from jaxeff import measure
from jaxeff.measure import Crossing, Estimate, Spread
from jaxeff.measure.interval import CONFIDENCE
from jaxeff.records import Record
from jaxeff.report import publications
from jaxeff.report.tables import (
    BASELINE,
    NOT_OVER,
    Cell,
    Configuration,
    Group,
    Table,
    configuration,
    group_of,
    is_baseline,
    optimizer_text,
    runs_text,
)

KnownSpread = Callable[[Record], Spread | None]
"""The spread of runs like one; None where it is not known."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The runs of one configuration to the level of its group.

    Attributes:
      key: what they have in common.
      name: as little of it as tells it apart from the others of its group.
      runs: those that are over, by seed.
      unfinished: those that are running, or were interrupted.
      seeds: the most runs that a configuration of its group has.
      spread: of one run of its kind, from elsewhere; None where it is not known.
      shipped: whether the runs came with the package, and are not the reader's.
    """

    key: Configuration
    name: str
    runs: tuple[Record, ...]
    unfinished: tuple[Record, ...]
    seeds: int
    spread: Spread | None = None
    shipped: bool = False

    @property
    def first(self) -> Record:
        """A record of the configuration."""
        return (*self.runs, *self.unfinished)[0]

    def crossings(self, unit: str = "xla") -> list[Crossing]:
        """Of the runs that are over; units as in `jaxeff.measure`."""
        return [measure.crossing(run, unit=unit) for run in self.runs]

    def estimate(self, unit: str = "xla") -> Estimate | None:
        """Compute to the level; None where no run is over."""
        return measure.compute_to_level(self.crossings(unit)) if self.runs else None

    def bar(self, estimate: Estimate) -> tuple[float, float] | None:
        """Ends of the error bar of an estimate from these runs.

        They are those of its interval, or, of one run or two, those of Student's 95 % interval by
        the known spread. None where neither is there.
        """
        if estimate.low is not None:
            return estimate.low, estimate.high
        if self.spread is None or self.spread.seeds < 2 or not math.isfinite(estimate.value):
            return None
        quantile = stats.t.ppf((1 + CONFIDENCE) / 2, self.spread.seeds - 1)
        width = math.exp(quantile * self.spread.relative / math.sqrt(estimate.seeds))
        return estimate.value / width, estimate.value * width

    @property
    def remark(self) -> str:
        """What a reader must know of the numbers: too few runs, misses, runs that are not over."""
        parts = []
        if len(self.runs) in (1, 2):
            parts.append(f"{runs_text(len(self.runs))}: no interval below three seeds")
            if self.spread is not None:
                parts.append(f"one run of its kind spreads by {self.spread.text()}")
        missed = [run for run in self.runs if not run.target.reached]
        if missed:
            named = ", ".join(
                f"seed {run.seed}" + (" diverged" if run.status == "diverged" else "")
                for run in missed
            )
            half = ", so the median is infinite" if 2 * len(missed) >= len(self.runs) else ""
            parts.append(f"{len(missed)} of {len(self.runs)} never got there ({named}){half}")
        if self.unfinished:
            named = ", ".join(f"seed {run.seed} {run.status}" for run in self.unfinished)
            parts.append(f"not counted, since not over: {named}")
        if len(self.runs) < self.seeds:
            parts.append(f"{self.seeds - len(self.runs)} of {self.seeds} seeds missing")
        return "; ".join(parts)


def results(
    records: Sequence[Record],
    known_spread: KnownSpread | None = None,
    shipped: Sequence[Record] = (),
) -> dict[Group, list[Result]]:
    """The configurations of each group, the one with the largest median first.

    Runs that came with the package are no seeds of the reader's configurations, whatever they have
    in common. Where a group has both, the names of the reader's end in `YOURS`.

    Args:
      records: of the reader.
      known_spread: of runs like one.
      shipped: records that came with the package.
    """
    own, theirs = _results(records, known_spread), _results(shipped, None)
    found = {}
    for group in own | theirs:
        mine = own.get(group, [])
        if group in theirs:
            mine = [dataclasses.replace(result, name=result.name + YOURS) for result in mine]
        others = [dataclasses.replace(result, shipped=True) for result in theirs.get(group, [])]
        found[group] = sorted([*mine, *others], key=lambda result: -_median(result))
    return found


YOURS = " (yours)"


def _results(records, known_spread):
    groups: dict[Group, dict[Configuration, list[Record]]] = {}
    for record in records:
        within = groups.setdefault(group_of(record), {})
        within.setdefault(configuration(record), []).append(record)
    found = {}
    for group, within in groups.items():
        over = {key: _over(runs) for key, runs in within.items()}
        names, most = _names(list(within)), max(map(len, over.values()))
        found[group] = [
            Result(
                key,
                names[key],
                over[key],
                tuple(run for run in runs if run.status in NOT_OVER),
                most,
                _spread(runs[0], known_spread),
            )
            for key, runs in within.items()
        ]
    return found


def _over(runs):
    over = [run for run in runs if run.status not in NOT_OVER]
    return tuple(sorted(over, key=lambda run: run.seed))


def _spread(record, known_spread):
    return None if known_spread is None else known_spread(record)


def _names(keys):
    """Names each configuration by as little as tells it apart from the others."""
    names = {}
    for key in keys:
        sources = ", ".join(f"file {source[:8]}" for source in key.sources if source)
        texts = key.model, f"{key.model}, {key.recipe}", f"{key.model}, {key.text}"
        full = ", ".join(filter(None, (texts[-1], sources)))
        others = [json.loads(other.settings) for other in keys if other.text == key.text]
        apart = ", ".join([full, *_settings_apart(json.loads(key.settings), others)])
        names[key] = [*texts, full, apart, str(tuple(key))]
    return {
        key: next(
            name
            for depth, name in enumerate(names[key])
            if sum(other[depth] == name for other in names.values()) == 1
        )
        for key in keys
    }


def _settings_apart(settings, others):
    """Entries of a recipe that not all of the others have alike: `accumulate 4`."""
    for name, value in sorted(settings.items()):
        if any(other.get(name) != value for other in others):
            text = json.dumps(value, sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:6]
            yield f"{name} {text if len(text) <= 12 else digest}"


def _median(result):
    """Infinite, too, where no run is over."""
    estimate = result.estimate()
    return math.inf if estimate is None else estimate.value


def baseline_of(within: Sequence[Result], baseline: str, shipped: bool = False) -> Result | None:
    """What the factors of a group are from; None where no run of it is over.

    Args:
      within: the configurations of the group.
      baseline: a model's name. Of its configurations it is the one with the smallest median.
      shipped: whether it is for runs that came with the package, which are compared among
        themselves. The reader's are compared with her own, if there are any.
    """
    its = [
        result
        for result in within
        if is_baseline(result.key, baseline) and result.runs and (result.shipped or not shipped)
    ]
    return min(its, key=lambda result: (result.shipped, _median(result)), default=None)


def one_a_network(within: Sequence[Result], base: Result | None) -> list[Result]:
    """Of each network the configuration by the recipe of `base`, or by any where none is by that.

    What a recipe is worth is not taken for the network's then. Of several it is the one with the
    smallest median; runs of the reader and of the package stand beside each other.

    Args:
      within: the configurations of a group, the largest median first, as `results` gives them.
      base: the baseline among them.
    """
    recipe = None if base is None else base.key.recipe
    chosen = {}
    for result in sorted(within, key=lambda result: result.key.recipe == recipe):
        if result.runs:
            chosen[result.key.model, result.first.model.source, result.shipped] = result
    kept = set(map(id, chosen.values()))
    return [result for result in within if id(result) in kept]


def origin(result: Result) -> str:
    """Whose runs they are, as a cell."""
    return "with jaxeff" if result.shipped else "yours"


def ends(estimate: Estimate | None) -> tuple[Cell, Cell, Cell]:
    """An estimate and its interval as cells; empty where they are not known."""
    if estimate is None or math.isnan(estimate.value):
        return None, None, None
    return estimate.value, estimate.low, estimate.high


def interval_columns(name: str) -> tuple[str, str, str]:
    """Headings of `ends`."""
    return name, f"{name}, 95 % from", f"{name}, to"


def interval_text(estimate: Estimate, counts: Sequence[int]) -> str:
    """What stands in brackets behind an estimate: its interval and its runs, or why it has none.

    Args:
      estimate: of runs of one configuration, or a factor between two.
      counts: of the runs of each.
    """
    runs = " and ".join(runs_text(count) for count in counts)
    if len(counts) == 2 and counts[0] == counts[1]:
        runs = f"{runs_text(counts[0])} each"
    if estimate.low is None:
        return f"{runs}: no interval below three seeds"
    high = "infinity" if math.isinf(estimate.high) else f"{estimate.high:.3g}"
    return f"95 %: {estimate.low:.3g} to {high}; {runs}"


def table(found: Mapping[Group, Sequence[Result]], baseline: str = BASELINE) -> Table:
    """What was measured for each data set and level: medians, intervals and factors.

    Args:
      found: as `results` gives them.
      baseline: name of the model against which factors are.
    """
    rows = []
    for group, within in found.items():
        for result in within:
            base = baseline_of(within, baseline, result.shipped)
            factor = spread = None
            if base is None:
                than = f"{baseline} was not measured"
            elif result is base:
                than = "the baseline"
            elif not result.runs:
                than = None
            else:
                factor, than = measure.factor(base.crossings(), result.crossings()), base.name
            if result.runs:
                spread = measure.relative_spread(result.crossings())
            rows.append(
                (
                    group.label,
                    result.key.model,
                    origin(result),
                    *ends(factor),
                    than,
                    *ends(result.estimate()),
                    *ends(result.estimate("epoch")),
                    " ".join(str(run.seed) for run in result.runs),
                    sum(not run.target.reached for run in result.runs),
                    result.key.text,
                    *ends(result.estimate("paper")),
                    spread,
                    result.remark,
                    optimizer_text(result.first),
                    publications.date_text(result.first),
                    publications.link_of(result.first),
                )
            )
    columns = (
        "data and level",
        "model",
        "measured",
        *interval_columns("times less"),
        "than",
        *interval_columns("XLA FLOPs, median"),
        *interval_columns("epochs, median"),
        "seeds",
        "never got there",
        "recipe",
        *interval_columns("3 x MACs x images, median"),
        "spread of one run",
        "what to know",
        "optimizer",
        "published",
        "publication",
    )
    how = (
        "A row is all records with the same data (by fingerprint), task (with its settings, such "
        "as the image size), target, model and recipe. Compute is the median over the runs that "
        "are over, one that never got there counting as infinite; a run is known to have crossed "
        "between two evaluations, so the median lies half a gap before what runs are charged. "
        "Intervals are of 95 %, cover seeds and gaps, and need three seeds. The factor is the "
        f"ratio of the medians, against {baseline} (--baseline=NAME compares with another model). "
        "The spread is the standard deviation of the logarithm of one run's compute."
    )
    return Table("measured", "What was measured here", columns, tuple(rows), how)


def breakdown(found: Mapping[Group, Sequence[Result]], baseline: str = BASELINE) -> Table:
    """Table 1 for our own records: the factor to `baseline` as epochs x operations an epoch."""
    rows = []
    for group, within in found.items():
        for result in within:
            base = baseline_of(within, baseline, result.shipped)
            if base is None or result is base or not result.runs:
                continue
            whole = measure.factor(base.crossings(), result.crossings())
            epochs = measure.factor(base.crossings("epoch"), result.crossings("epoch"))
            if not 0 < whole.value < math.inf:
                continue
            rows.append(
                (
                    group.label,
                    result.key.model,
                    origin(result),
                    result.key.text,
                    *ends(epochs),
                    whole.value / epochs.value,
                    *ends(whole),
                    base.name,
                    len(base.runs),
                    len(result.runs),
                )
            )
    columns = (
        "data and level",
        "model",
        "measured",
        "recipe",
        *interval_columns("epochs factor"),
        "FLOPs an epoch factor",
        *interval_columns("product"),
        "than",
        "its runs",
        "runs",
    )
    how = (
        f"Each factor is the median of {baseline} over the model's, with its 95 % interval, by "
        "XLA's count. FLOPs an epoch are counted, not measured, and have no interval. What did not "
        "get there is left out."
    )
    return Table("table1_measured", "Table 1 of our own records", columns, tuple(rows), how)


@dataclasses.dataclass(frozen=True)
class Finding:
    """The configuration that took the least compute of those that reached a level.

    Attributes:
      label: of data and level.
      model: name of the configuration with the smallest median.
      factor: how many times less it took than the baseline; None where that was not measured, or is
        the one with the least.
      text: all of it as a sentence without its subject, the label.
      shipped: whether it is of the runs that came with the package.
    """

    label: str
    model: str
    factor: Estimate | None
    text: str
    shipped: bool = False


def findings(found: Mapping[Group, Sequence[Result]], baseline: str = BASELINE) -> list[Finding]:
    """A finding for each data set and level that several models were to reach and one did.

    `baseline` is a name.

    The reader's runs and those that came with the package have one each.
    """
    made = []
    for group, every in found.items():
        for shipped in (False, True):
            within = [result for result in every if result.shipped == shipped]
            base = baseline_of(every, baseline, shipped)
            finding = _finding(group, within, base, baseline)
            if finding is not None:
                made.append(finding)
    return made


def _models(within):
    return {(result.key.model, result.key.sources[0]) for result in within}


def _finding(group, within, base, baseline):
    arrived = [result for result in within if math.isfinite(_median(result))]
    models, tried = _models(arrived), _models(result for result in within if result.runs)
    beside_shipped = base is not None and base not in within
    if not arrived or len(tried) + beside_shipped < 2:
        return None
    best, factor, parts = min(arrived, key=_median), None, []
    if len(models) > 1:
        parts = [f"the least compute of {len(models)} models that got there"]
    elif len(tried) > 1:
        parts = [f"the least compute, the only one of {len(tried)} models that got there"]
    if base is not None and base is not best:
        factor = measure.factor(base.crossings(), best.crossings())
        error = interval_text(factor, (len(base.runs), len(best.runs)))
        if math.isfinite(factor.value):
            parts.append(f"{factor.value:.3g} times less than {base.name} ({error})")
        else:
            parts.append(f"infinitely less than {base.name}, which did not get there ({error})")
    text = f"{best.name} took {', '.join(parts)}"
    if base is None:
        text += f"; {baseline}, with which it would be compared, was not measured to that level"
    missed = [
        f"{result.name} {count} of {len(result.runs)}"
        for result in within
        if (count := sum(not run.target.reached for run in result.runs))
    ]
    unfinished = sum(len(result.unfinished) for result in within)
    text += "."
    if missed:
        text += f" Runs that never got there: {', '.join(missed)}."
    if unfinished:
        text += f" Not counted, since not over: {runs_text(unfinished)}."
    return Finding(group.label, best.name, factor, text, any(r.shipped for r in within))
