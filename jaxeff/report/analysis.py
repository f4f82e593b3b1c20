"""Turns published numbers and records into everything that a report shows, as plain data."""

import dataclasses
from collections.abc import Mapping, Sequence

from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.errors import UsageError
from jaxeff.records import Record
from jaxeff.report import audit, levels, publications, published, tables, trends
from jaxeff.report.effective_compute import EffectiveCompute, inference_gains
from jaxeff.report.model_costs import model_costs
from jaxeff.report.tables import Group, Table
from jaxeff.report.trends import Point

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
    """

    conventions: Mapping[str, list[Point]]
    imported: Sequence[tuple[str, Point]]
    tables: Sequence[Table]
    audit: Sequence[audit.Entry]
    effective: EffectiveCompute
    records: Sequence[Record]
    refused: Sequence[str]
    baseline: str = tables.BASELINE

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
) -> Analysis:
    """Recomputes everything.

    Args:
      records: valid run records.
      refused: what to say of each file that holds no valid record.
      imported: rows of `exchange.read`.
      effective: inputs of the effective compute; the paper's by default.
      baseline: name of the model against which factors of records are.

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
    if records:
        shown += [
            tables.measured(records, baseline),
            tables.breakdown_measured(records, baseline),
            *_level_tables(records, baseline),
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
        f"{trends.BOOTSTRAP_SEED}). End to end, the interval covers the rounding to whole epochs "
        "alone, and can lie on one side. Moore's law doubles in 24 months."
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

    Records whose target is another metric stand in the tables alone.
    """
    groups: dict[Group, list[Record]] = {}
    for record in records:
        if (
            record.curve
            and tables.has_accuracies(record)
            and record.target.metric in tables.ACCURACIES
        ):
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
        alike.setdefault(f"{key.model}, {recipe}, seed {record.seed}", []).append(record)
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


# The time to compare every pair of curves grows with the square of their number.
MOST_COMPARED = 60


def _level_tables(records, baseline):
    sensitivity, dominated, without = [], [], []
    for group, within in curves_by_group(records).items():
        curves = {
            name: levels.curve(record, group.metric)
            for name, record in list(within.items())[:MOST_COMPARED]
        }

        def preferred(name, within=within):
            record = within[name]
            return record.target.reached, -record.compute.train_flops

        first = max(
            (
                name
                for name in curves
                if tables.is_baseline(tables.configuration(within[name]), baseline)
            ),
            key=preferred,
            default=None,
        )
        if first is None:
            without.append(group.label)
        marks = levels.grid(list(curves.values()))
        for name, curve in curves.items():
            if name == first or first is None:
                continue
            for level in levels.sensitivity(curves[first], curve, marks):
                if level.factor is not None:
                    sensitivity.append(
                        (
                            group.label,
                            first,
                            name,
                            100 * level.level,
                            level.factor,
                            level.interpolated_factor,
                        )
                    )
        for name, beaten in levels.dominance(curves).items():
            if beaten:
                dominated.append((group.label, name, len(beaten), "; ".join(beaten)))
    yield Table(
        "levels",
        "The factor at every level",
        ("data", "from", "to", "level, %", "factor", "factor, interpolated"),
        tuple(sensitivity),
        "Factors are ratios of XLA FLOPs to the first evaluation at or above the level; the "
        "interpolated ones take the straight line between evaluations. At most "
        f"{MOST_COMPARED} curves a group are compared, with {baseline}"
        + (f", of which there is no record for {'; '.join(without)}." if without else "."),
    )
    yield Table(
        "dominance",
        "Which run dominates which",
        ("data", "run", "dominates", "these"),
        tuple(dominated),
        "A run dominates another where it reached every accuracy that the other reached, each for "
        "at most its compute.",
    )


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
        "groups": _groups(analysis.records),
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


def _groups(records):
    groups = curves_by_group(records)
    number = sum(min(MOST_RUNS, len(within)) for within in groups.values())
    each = max(2, MOST_CURVE_POINTS // number) if number else 0

    def order(item):
        return not item[1].target.reached, item[1].compute.train_flops

    return [
        {
            "label": group.label,
            "metric": group.metric,
            "level": group.level,
            "left_out": max(0, len(within) - MOST_RUNS),
            "runs": [
                {
                    "name": name,
                    "model": record.model.name,
                    "date": date.isoformat() if (date := publications.date_of(record)) else None,
                    "url": publications.link_of(record),
                    "epoch": record.target.epoch,
                    "macs": tables.macs_per_example(record),
                    "xla": record.compute.train_flops if record.target.reached else None,
                    "paper": record.compute.paper_flops if record.target.reached else None,
                    "curve": _thinned(record, each),
                }
                for name, record in sorted(within.items(), key=order)[:MOST_RUNS]
            ],
        }
        for group, within in groups.items()
    ]


def _thinned(record, most):
    points, schedule = record.curve, record.compute.schedule
    if len(points) > most:
        chosen = {round(i * (len(points) - 1) / (most - 1)) for i in range(most)}
        step = record.target.step
        chosen |= {i for i, point in enumerate(points) if point.step == step}
        points = [points[i] for i in sorted(chosen)]
    return [
        [
            float(f"{point.train_flops:.6g}"),
            float(f"{schedule.paper_flops(point.step):.6g}"),
            round(point.metrics["top1"], 5),
            round(point.metrics["top5"], 5),
            round(point.epoch, 3),
        ]
        for point in points
    ]
