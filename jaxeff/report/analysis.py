"""Turns published numbers and records into everything that a report shows, as plain data."""

from __future__ import annotations  # `measured` would import SciPy, which takes a second.

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.errors import UsageError
from jaxeff.records import Record
from jaxeff.report import audit, publications, published, tables, trends
from jaxeff.report.effective_compute import EffectiveCompute, inference_gains
from jaxeff.report.model_costs import model_costs
from jaxeff.report.tables import Group, Table
from jaxeff.report.trends import Point

if TYPE_CHECKING:
    from jaxeff.report.levels import Comparison
    from jaxeff.report.measured import Finding, KnownSpread, Result

# With this much data and the charting library the page stays below 6 MB.
MOST_CURVE_POINTS = 10_000
MOST_RUNS = 60


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Everything that a report shows.

    Attributes:
      conventions: AlexNet-level points by key of `tables.CONVENTIONS`.
      imported: rows that others measured, with their metrics.
      tables: all tables, in the order in which the page shows them.
      audit: the audit of the printed numbers.
      effective: inputs of the effective compute.
      records: the valid records.
      refused: one line for each file that holds no valid record.
      baseline: name of the model against which factors of records are.
      results: the records by configuration, for each data set and level.
      comparisons: the configurations at every level, where that is an accuracy's.
      findings: what the records found.
    """

    conventions: Mapping[str, list[Point]]
    imported: Sequence[tuple[str, Point]]
    tables: Sequence[Table]
    audit: Sequence[audit.Entry]
    effective: EffectiveCompute
    records: Sequence[Record]
    refused: Sequence[str]
    baseline: str = tables.BASELINE
    results: Mapping[Group, Sequence[Result]] = dataclasses.field(default_factory=dict)
    comparisons: Sequence[Comparison] = ()
    findings: Sequence[Finding] = ()

    def factors(self) -> dict[str, float]:
        """The factor from the frontier's first model to its last, by the convention's label."""
        found = {}
        for key, points in self.conventions.items():
            best = trends.frontier(points)
            found[tables.CONVENTIONS[key]] = best[0].compute / best[-1].compute
        return found


def analyse(
    records: Sequence[Record],
    refused: Sequence[str] = (),
    imported: Sequence[tuple[str, Point]] = (),
    effective: EffectiveCompute | None = None,
    baseline: str = tables.BASELINE,
    known_spread: KnownSpread | None = None,
) -> Analysis:
    """Recomputes everything.

    Args:
      records: valid run records.
      refused: what to say of each file that holds no valid record.
      imported: rows of `exchange.read`.
      effective: inputs of the effective compute; the paper's by default.
      baseline: name of the model against which factors of records are.
      known_spread: how much runs of a model differ on a data set, for single runs.

    Raises:
      UsageError: there are records, none of them of a `baseline` that was asked for.
    """
    names = sorted({record.model.name for record in records})
    if baseline not in names and baseline != tables.BASELINE:
        known = f"there are {', '.join(names)}" if names else "there are no records"
        raise UsageError(f"--baseline={baseline}: no record is of that model; {known}")
    costs = model_costs()
    conventions = {key: tables.alexnet_points(key, costs) for key in tables.CONVENTIONS}
    shown = [
        tables.table1(),
        tables.table2(),
        tables.table3(costs),
        tables.accuracy_table("top5", records),
        tables.accuracy_table("top1", records),
        _trends_table(conventions),
        _leave_one_out_table(conventions),
        _next_table(conventions),
        _confounder_table(conventions),
        _inference_table(costs),
    ]
    results, comparisons, findings = {}, [], []
    if records:
        from jaxeff import measure
        from jaxeff.report import budgets, levels, measured, order

        searched = [record for record in records if measure.is_of_search(record)]
        crossed = [record for record in records if not measure.is_of_search(record)]
        results, drawn = measured.results(crossed, known_spread), curves_by_group(crossed)
        comparisons = [
            levels.compare(group, within, measured.baseline_of(within, baseline))
            for group, within in results.items()
            if group in drawn
        ]
        findings = measured.findings(results, baseline)
        shown += [
            measured.table(results, baseline),
            measured.breakdown(results, baseline),
            order.table(results),
            budgets.table(searched, results, baseline),
            levels.levels_table(comparisons, baseline),
            levels.dominance_table(comparisons),
            tables.runs(records),
        ]
    return Analysis(
        conventions,
        imported,
        [table for table in shown if table.rows],
        audit.audit(costs),
        effective or EffectiveCompute(),
        records,
        refused,
        baseline,
        results,
        comparisons,
        findings,
    )


def _trends_table(conventions):
    rows = []
    for key, points in conventions.items():
        best = trends.frontier(points)
        factor = best[0].compute / best[-1].compute
        moore = trends.moore_factor(best[0].published, best[-1].published)
        for doubling in trends.doublings(points):
            rows.append(
                (
                    tables.CONVENTIONS[key],
                    doubling.method,
                    doubling.months,
                    doubling.low,
                    doubling.high,
                    doubling.points,
                    factor,
                    moore,
                )
            )
    columns = (
        "convention",
        "method",
        "months of doubling",
        "95 % from",
        "to",
        "models",
        "factor first to last",
        "Moore's law over the same dates",
    )
    how = (
        "Doubling times are fitted by least squares of log2(compute) on the date of publication; "
        f"their intervals are a pairs bootstrap ({trends.BOOTSTRAP_DRAWS:,} draws, seed "
        f"{trends.BOOTSTRAP_SEED}). End to end, the interval is all that whole epochs leave open: "
        "a model crossed somewhere within its last one. Moore's law doubles in 24 months."
    )
    return Table("trends", "How fast: doubling times", columns, tuple(rows), how)


def _leave_one_out_table(conventions):
    rows = [
        (tables.CONVENTIONS[key], model, months)
        for key, points in conventions.items()
        for model, months in trends.leave_one_out(points)
    ]
    columns = ("convention", "without", "months of doubling")
    how = "Each model of the frontier is left out in turn; the frontier is found and fitted anew."
    return Table("leave_one_out", "How much one model matters", columns, tuple(rows), how)


def _next_table(conventions):
    rows = []
    for key, points in conventions.items():
        following = trends.next_doubling(points)
        rows.append(
            (
                tables.CONVENTIONS[key],
                following.expected.isoformat(),
                following.compute,
                following.epochs_at_same_macs,
                following.macs_at_same_epochs,
            )
        )
    columns = (
        "convention",
        "expected at the fitted rate",
        "compute, operations",
        "that is: epochs at the last model's MACs",
        "or: MACs at the last model's epochs",
    )
    how = "The compute is half of the last frontier model's; the date follows from the fitted rate."
    return Table("next_doubling", "What the next doubling would need", columns, tuple(rows), how)


def _confounder_table(conventions):
    rows = []
    for key, points in conventions.items():
        best = trends.frontier(points)
        first, last = best[0], best[-1]
        factor = first.compute / last.compute
        rows.append((tables.CONVENTIONS[key], factor, factor * 62 / first.epochs))
    columns = ("convention", "from epoch 90 (79.1 %)", "from epoch 62 (78.8 %)")
    how = "AlexNet gained its last 0.3 % top-5 in 28 epochs: one factor counts them, the other not."
    return Table("confounder", "The 62-epoch confounder", columns, tuple(rows), how)


def _inference_table(costs):
    rows = [
        (
            gain.level,
            gain.original,
            gain.improved,
            gain.factor,
            gain.printed.value,
            gain.factor - gain.printed.value,
            gain.months,
            gain.doubling_months,
        )
        for gain in inference_gains(costs)
    ]
    columns = (
        "level",
        "original",
        "improved",
        "less forward compute, ours",
        "printed",
        "difference",
        "months between",
        "months of doubling",
    )
    how = (
        "Factors are ratios of exact forward multiply-accumulates at 224 px. That the improved "
        "model reaches the level is taken from the paper."
    )
    return Table("inference", "Inference: less compute to use a network", columns, tuple(rows), how)


def curves_by_group(records: Sequence[Record]) -> dict[Group, dict[str, Record]]:
    """Records with a curve to an accuracy, by group and by a name that tells them apart.

    Records whose target is another metric, and those of a search for a budget, stand in the tables
    alone.
    """
    if not records:
        return {}
    from jaxeff import measure

    groups: dict[Group, list[Record]] = {}
    for record in records:
        if measure.is_of_search(record):
            continue
        is_accuracy = tables.accuracy_of(record.target.metric) is not None
        if record.curve and tables.has_accuracies(record) and is_accuracy:
            groups.setdefault(tables.group_of(record), []).append(record)
    return {group: _named(within) for group, within in groups.items()}


def _named(records):
    """Names each record by as little as tells it apart from the others."""
    settings: dict[tuple, set] = {}
    for record in records:
        key = tables.configuration(record)
        settings.setdefault((key.model, key.recipe), set()).add(key)
    alike: dict[str, list[Record]] = {}
    for record in records:
        key = tables.configuration(record)
        recipe = key.text if len(settings[key.model, key.recipe]) > 1 else key.recipe
        over = f", {record.status}" if record.status in tables.NOT_OVER else ""
        alike.setdefault(f"{key.model}, {recipe}, seed {record.seed}{over}", []).append(record)
    found = {}
    for name, within in alike.items():
        for record, where in zip(within, _surroundings(within), strict=True):
            full = ", ".join((name, *where))
            number, unique = 2, full
            while unique in found:
                unique, number = f"{full} ({number})", number + 1
            found[unique] = record
    return found


def _surroundings(records):
    """For each record, as much of its devices and environment as tells the records apart."""
    places = [
        (
            tables.devices(record),
            f"kernels {record.environment.kernels}",
            record.environment.cpu_model or "processor not recorded",
            record.environment.xla_flags or "no XLA_FLAGS",
            f"matmul precision {record.environment.matmul_precision or 'default'}",
        )
        for record in records
    ]
    told: list[tuple[str, ...]] = [()] * len(records)
    for column in zip(*places, strict=True):
        further = [(*names, name) for names, name in zip(told, column, strict=True)]
        if len(set(further)) > len(set(told)):
            told = further
    return told


def page_data(analysis: Analysis) -> dict:
    """What the page's charts need, as JSON-able data in base units."""
    return {
        "conventions": {
            key: _convention(tables.CONVENTIONS[key], points)
            for key, points in analysis.conventions.items()
        },
        "published": [
            {
                "level": row.metric,
                "model": row.publication,
                "date": row.published.isoformat(),
                "compute": row.teraflop_s_days.value * TERAFLOP_S_DAY,
                "source": published.REPOSITORY,
            }
            for row in published.sota()
        ],
        "imported": [{"level": metric, **_point(point)} for metric, point in analysis.imported],
        "groups": _groups(analysis),
        "effective": dataclasses.asdict(analysis.effective),
        "teraflop_s_day": TERAFLOP_S_DAY,
        "moore_months": trends.MOORE_MONTHS,
    }


def _convention(label, points):
    best = trends.frontier(points)
    fit = trends.doublings(points)[0]
    return {
        "label": label,
        "points": [{**_point(point), "frontier": point in best} for point in points],
        "months": fit.months,
        "low": fit.low,
        "high": fit.high,
        "factor": best[0].compute / best[-1].compute,
    }


def _point(point):
    return {
        "model": point.model,
        "date": point.published.isoformat(),
        "compute": point.compute,
        "epochs": point.epochs,
        "macs": point.macs,
        "source": point.source,
    }


def _groups(analysis):
    groups = curves_by_group(analysis.records)
    number = sum(min(MOST_RUNS, len(within)) for within in groups.values())
    each = max(2, MOST_CURVE_POINTS // number) if number else 0

    def order(item):
        return not item[1].target.reached, item[1].compute.train_flops

    found = []
    for compared in analysis.comparisons:
        group, within = compared.group, groups[compared.group]
        way, accuracy = tables.accuracy_of(group.metric)
        chosen = sorted(within.items(), key=order)[:MOST_RUNS]
        over = [run for result in analysis.results[group] for run in result.runs]
        found.append(
            {
                "label": group.label,
                "data": group.data,
                "metric": accuracy,
                "way": way,
                "accuracy": tables.metric_text(group.metric),
                "level": group.level,
                "level_text": group.level_text,
                "reached": sum(run.target.reached for run in over),
                "over": len(over),
                "not_over": sum(len(result.unfinished) for result in analysis.results[group]),
                "left_out": len(within) - len(chosen),
                "runs": [_run(name, record, each) for name, record in chosen],
                **_levels(compared),
                **_factors(compared),
            }
        )
    return found


def _run(name, record, most):
    points, schedule = _thinned(record, most), record.compute.schedule
    date = publications.date_of(record)
    measured_by = [
        way
        for way in tables.WAYS
        if way
        and (record.recipe["ema"] is not None or not way.startswith("ema_"))
        and f"{way.removeprefix('ema_')}top1" in record.task["metrics"]
    ]
    return {
        "name": name,
        "date": date.isoformat() if date else None,
        "curve": [
            [
                float(f"{point.train_flops:.6g}"),
                float(f"{schedule.paper_flops(point.step):.6g}"),
                *(round(point.value(accuracy), 5) for accuracy in tables.ACCURACIES),
                round(point.epoch, 3),
            ]
            for point in points
        ],
        # Other ways of measuring the same, at the same points.
        "ways": {
            way: [
                [round(point.value(way + accuracy), 5) for accuracy in tables.ACCURACIES]
                for point in points
            ]
            for way in measured_by
        },
    }


def _thinned(record, most):
    points = record.curve
    if len(points) > most:
        chosen = {round(i * (len(points) - 1) / (most - 1)) for i in range(most)}
        step = record.target.step
        chosen |= {i for i, point in enumerate(points) if point.step == step}
        points = [points[i] for i in sorted(chosen)]
    return points


def _levels(compared):
    """Levels, and what each configuration takes to them in both counts; the target comes first."""
    from jaxeff.report import levels

    marks = sorted(compared.marks, key=lambda level: (level != compared.group.level, -level))
    by_unit = {"xla": compared.profiles} | {
        unit: [
            levels.profile(profile.result, compared.group.metric, marks, unit)
            for profile in compared.profiles
        ]
        for unit in ("paper", "epoch")
    }
    return {
        "levels": marks,
        "configurations": [
            {
                **_facts(profile.result),
                # A level of which a run says nothing has no entry.
                "at": [_at(i, level, by_unit) for level in marks],
            }
            for i, profile in enumerate(compared.profiles)
        ],
        "frontier": [
            {unit: _frontier_text(by_unit[unit], level) for unit in ("xla", "paper")}
            for level in marks
        ],
    }


def _facts(result):
    date = publications.date_of(result.first)
    return {
        "name": result.name,
        "model": result.key.model,
        "date": date.isoformat() if date else None,
        "url": publications.link_of(result.first),
        "macs": tables.macs_per_example(result.first),
        "runs": len(result.runs),
        "remark": result.remark,
    }


def _at(i, level, by_unit):
    if level not in by_unit["xla"][i].medians:
        return None
    found = {"missed": by_unit["xla"][i].medians[level].missed}
    for unit, profiles in by_unit.items():
        estimate = profiles[i].medians[level]
        ends = profiles[i].result.bar(estimate) or (None, None)
        found[unit] = [_finite(number) for number in (estimate.value, *ends)]
    return found


def _finite(number):
    """JSON has no infinity: None where a run never got there, or nothing bounds the number."""
    return number if number is None or math.isfinite(number) else None


def _frontier_text(profiles, level):
    """From the first model of the frontier to the last; None where it has only one."""
    from jaxeff import measure
    from jaxeff.report import measured

    dated = {}
    for profile in profiles:
        estimate, date = profile.medians.get(level), publications.date_of(profile.result.first)
        if date is not None and estimate is not None and math.isfinite(estimate.value):
            dated[Point(profile.result.name, date, estimate.value)] = profile
    best = trends.frontier(list(dated))
    if len(best) < 2:
        return None
    first, last = dated[best[0]], dated[best[-1]]
    factor = measure.factor(first.crossings[level], last.crossings[level])
    runs = len(first.result.runs), len(last.result.runs)
    years = trends.months_between(best[0].published, best[-1].published) / 12
    moore = trends.moore_factor(best[0].published, best[-1].published)
    return (
        f"{best[0].model} to {best[-1].model}: {factor.value:.3g} times less "
        f"({measured.interval_text(factor, runs)}) in {years:.1f} years; Moore's law would give "
        f"{moore:.1f} times."
    )


def _factors(compared):
    """The factor at every level, of each configuration, from the baseline."""
    from jaxeff.report import measured

    found = []
    for other in compared.others:
        factors = compared.factors(other)
        counts = len(compared.base.result.runs), len(other.result.runs)
        found.append(
            {
                "name": other.result.name,
                "runs": tables.runs_text(counts[0]) + " and " + tables.runs_text(counts[1]),
                "levels": list(factors),
                "factor": [factor.value for factor in factors.values()],
                "low": [_finite(factor.low) for factor in factors.values()],
                "high": [_finite(factor.high) for factor in factors.values()],
                "text": [measured.interval_text(factor, counts) for factor in factors.values()],
            }
        )
    return {
        "base": None if compared.base is None else compared.base.result.name,
        "factors": [each for each in found if each["levels"]],
    }
