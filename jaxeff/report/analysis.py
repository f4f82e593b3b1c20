"""Turns published numbers and records into everything that a report shows, as plain data."""

from __future__ import annotations  # `measured` would import SciPy, which takes a second.

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jaxeff.errors import UsageError
from jaxeff.records import Record
from jaxeff.report import audit, tables, trends
from jaxeff.report.effective_compute import EffectiveCompute, inference_gains
from jaxeff.report.model_costs import model_costs
from jaxeff.report.tables import Group, Table
from jaxeff.report.trends import Point

if TYPE_CHECKING:
    from jaxeff.report.levels import Comparison
    from jaxeff.report.measured import Finding, KnownSpread, Result


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Everything that a report shows.

    Attributes:
      conventions: AlexNet-level points by key of `tables.CONVENTIONS`.
      imported: rows that others measured, with their metrics.
      tables: all tables, in the order in which the page shows them.
      audit: the audit of the printed numbers.
      effective: inputs of the effective compute.
      records: the valid records of the reader.
      shipped: records that came with the package.
      refused: one line for each file that holds no valid record.
      baseline: name of the model against which factors of records are.
      results: the records by configuration, for each data set and level.
      comparisons: the configurations at every level, where that is an accuracy's.
      findings: what the records found.
      day: on which the report was made.
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
    shipped: Sequence[Record] = ()
    day: datetime.date = datetime.date(1970, 1, 1)

    @property
    def every_record(self) -> list[Record]:
        """The reader's, then those that came with the package."""
        return [*self.records, *self.shipped]

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
    shipped: Sequence[Record] = (),
    day: datetime.date | None = None,
) -> Analysis:
    """Recomputes everything.

    Args:
      records: valid run records of the reader.
      refused: what to say of each file that holds no valid record.
      imported: rows of `exchange.read`.
      effective: inputs of the effective compute; the paper's by default.
      baseline: name of the model against which factors of records are.
      known_spread: how much runs of a model differ on a data set, for single runs.
      shipped: records that came with the package, which are told apart from the reader's.
      day: on which the report is made; today by default.

    Raises:
      UsageError: there are records, none of them of a `baseline` that was asked for.
    """
    every = [*records, *shipped]
    names = sorted({record.model.name for record in every})
    if baseline not in names and baseline != tables.BASELINE:
        known = f"there are {', '.join(names)}" if names else "there are no records"
        raise UsageError(f"--baseline={baseline}: no record is of that model; {known}")
    costs = model_costs()
    conventions = {key: tables.alexnet_points(key, costs) for key in tables.CONVENTIONS}
    shown = [
        tables.table1(),
        tables.table2(),
        tables.table3(costs),
        tables.accuracy_table("top5", every),
        tables.accuracy_table("top1", every),
        _trends_table(conventions),
        _leave_one_out_table(conventions),
        _next_table(conventions),
        _confounder_table(conventions),
        _inference_table(costs),
        _imported_table(imported),
    ]
    results, comparisons, findings = {}, [], []
    if every:
        from jaxeff import measure
        from jaxeff.report import budgets, levels, measured, order

        searched = [record for record in records if measure.is_of_search(record)]
        also_searched = [record for record in shipped if measure.is_of_search(record)]
        crossed = [record for record in records if not measure.is_of_search(record)]
        theirs = [record for record in shipped if not measure.is_of_search(record)]
        results = measured.results(crossed, known_spread, theirs)
        drawn = curves_by_group(crossed, theirs)
        comparisons = [
            levels.compare(
                group,
                within,
                measured.baseline_of(within, baseline),
                measured.baseline_of(within, baseline, shipped=True),
            )
            for group, within in results.items()
            if group in drawn
        ]
        findings = measured.findings(results, baseline)
        shown += [
            measured.table(results, baseline),
            measured.breakdown(results, baseline),
            order.table(results),
            budgets.table(searched, results, baseline, also_searched),
            levels.levels_table(comparisons, baseline),
            levels.dominance_table(comparisons),
            tables.runs(records, shipped),
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
        shipped,
        day or datetime.datetime.now(datetime.UTC).date(),
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
        "months of doubling, 95 % from",
        "months of doubling, to",
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
    matrix = ("method", "convention", "months of doubling")
    return Table("trends", "How fast: doubling times", columns, tuple(rows), how, matrix)


def _leave_one_out_table(conventions):
    rows = [
        (tables.CONVENTIONS[key], model, months)
        for key, points in conventions.items()
        for model, months in trends.leave_one_out(points)
    ]
    columns = ("convention", "without", "months of doubling")
    how = "Each model of the frontier is left out in turn; the frontier is found and fitted anew."
    matrix = ("without", "convention", "months of doubling")
    return Table("leave_one_out", "How much one model matters", columns, tuple(rows), how, matrix)


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


def _imported_table(imported):
    rows = [
        (metric, point.model, point.published.isoformat(), point.compute, point.source)
        for metric, point in imported
    ]
    columns = ("metric", "publication", "published", "compute, operations", "source")
    how = (
        "The rows of --import as they were read; a teraflop/s-day is 8.64e16 operations, by the "
        "paper's count. No fitted line and no headline has them in it."
    )
    return Table("imported", "Imported: what others measured", columns, tuple(rows), how)


def curves_by_group(
    records: Sequence[Record], shipped: Sequence[Record] = ()
) -> dict[Group, dict[str, Record]]:
    """Records with a curve to an accuracy, by group and by a name that tells them apart.

    Records whose target is another metric, and those of a search for a budget, stand in the tables
    alone. Where a group has records of both kinds, the names of the reader's say so.

    Args:
      records: of the reader.
      shipped: that came with the package.
    """
    own, theirs = _curves_by_group(records), _curves_by_group(shipped)
    found = {}
    for group in own | theirs:
        mine = own.get(group, {})
        if group in theirs:
            from jaxeff.report.measured import YOURS

            mine = {name + YOURS: record for name, record in mine.items()}
        found[group] = mine | theirs.get(group, {})
    return found


def _curves_by_group(records):
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
