"""What the page's charts draw, as JSON-able data in base units; the page computes no result."""

import dataclasses
import json
import math

from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.report import publications, published, quotation, schedules, tables, trends
from jaxeff.report.analysis import Analysis, curves_by_group
from jaxeff.report.effective_compute import domain_gains
from jaxeff.report.names import readable
from jaxeff.report.trends import Point

# With this much data and the charting library the page stays below 6 MB.
MOST_CURVE_POINTS = 8_000
MOST_RUNS = 100

_LEVELS = {
    "AlexNet": ("ImageNet, published", "AlexNet's level, 79.1 % top-5"),
    "ResNet-50": ("ImageNet, published", "ResNet-50's level, 92.9 % top-5"),
    "Seq2Seq": ("WMT-14 English to French, published", "Seq2Seq's level"),
    "GNMT": ("WMT-14 English to French, published", "GNMT's level"),
}
_OTHERS = "Imported rows"
TABLE = "published table"


def page_data(analysis: Analysis) -> dict:
    """Everything that the charts need."""
    return {
        "published": _published(analysis),
        "groups": _groups(analysis),
        "schedules": [_pair(pair) for pair in schedules.pairs(analysis.results)],
        "effective": dataclasses.asdict(analysis.effective),
        "teraflop_s_day": TERAFLOP_S_DAY,
        "headers": {
            name: quotation.header(title, how, analysis.day)
            for name, (title, how) in CAPTIONS.items()
        },
    }


CAPTIONS = {
    "frontier": (
        "Compute to a level, by date of publication",
        "Of records: medians over the runs of a configuration, with 95 % intervals",
    ),
    "curves": (
        "Compute to every accuracy",
        "Medians over the runs of a configuration with 95 % intervals, or every evaluation of runs",
    ),
    "factor": (
        "The factor from the baseline at every level",
        "Ratios of median XLA FLOPs to the level, with 95 % intervals from three seeds on",
    ),
    "schedule": (
        "The paper's learning rate by epoch beside one that falls in steps",
        "Formulas: 0.1 x 1000^(-epoch / 90), and a tenth every 30 epochs",
    ),
    "effective": (
        "Effective compute",
        "Hardware x spending x algorithms, for the inputs below the product",
    ),
}


def _published(analysis):
    """Data sets, their levels, and the points of each count, with what they show as a sentence."""
    found: dict[str, dict[str, dict]] = {}
    printed = {}
    for row in published.sota():
        printed.setdefault(row.metric, []).append(row)
    metrics = dict.fromkeys([*printed, *(metric for metric, _ in analysis.imported)])
    for metric in metrics:
        data, label = _LEVELS.get(metric, (_OTHERS, metric))
        imported = [point for name, point in analysis.imported if name == metric]
        counts = {}
        if metric == "AlexNet":
            for key, points in analysis.conventions.items():
                counts[key] = tables.CONVENTIONS[key], points
        table = [
            Point(row.publication, row.published, row.teraflop_s_days.value * TERAFLOP_S_DAY,
                  source=published.REPOSITORY)
            for row in printed.get(metric, ())
        ]  # fmt: skip
        counts["table"] = TABLE if table else "as imported", table
        found.setdefault(data, {})[metric] = {
            "key": metric,
            "label": label,
            "counts": [
                _count(metric, key, name, points, _comparable(imported, key), printed)
                for key, (name, points) in counts.items()
            ],
        }
    return [{"label": data, "levels": list(levels.values())} for data, levels in found.items()]


def _comparable(imported, key):
    """Imported rows are in the paper's convention; other counts have no place for them."""
    return imported if key in ("printed", "table") else []


def _count(metric, key, label, points, imported, printed):
    best = trends.frontier(points)
    line = trends.fitted_line(best)
    return {
        "key": key,
        "label": label,
        "points": [
            {**_point(point), "kind": "published", "best": point in best} for point in points
        ]
        + [{**_point(point), "kind": "imported", "best": False} for point in imported],
        "finding": " ".join(
            filter(
                None,
                (
                    _finding(points),
                    _other_values(metric, key, points, printed),
                    with_imported(points, imported),
                ),
            )
        ),
        "line": line
        and {
            "dates": [date.isoformat() for date in line.dates],
            "compute": line.compute,
            "low": line.low,
            "high": line.high,
        },
    }


def _finding(points):
    best = trends.frontier(points)
    if len(best) < 2:
        return "" if not points else "Nothing published later took less."
    first, last = best[0], best[-1]
    years = trends.months_between(first.published, last.published) / 12
    ends = trends.end_to_end_months(best)
    text = (
        f"{readable(first.model)} to {readable(last.model)}: "
        f"{first.compute / last.compute:.1f} times less in {years:.1f} years. "
    )
    if len(best) >= 4:
        fit = trends.doublings(points)[0]
        text += (
            f"It halves every {fit.months:.1f} months by the line through the {len(best)} best of "
            f"their time (95 %: {fit.low:.1f} to {fit.high:.1f}); end to end, every {ends:.1f}. "
        )
    else:
        text += f"It halves every {ends:.1f} months end to end; {len(best)} models make no fit. "
    moore = trends.moore_factor(first.published, last.published)
    return text + f"Moore's law would give {moore:.1f} times."


def _other_values(metric, key, points, printed):
    """Why a factor differs from another of the same quantity on the page."""
    if key != "table" or not points:
        return ""
    factor, last = points[0].compute / points[-1].compute, printed[metric][-1].factor
    text = (
        f"This is of the published table's compute, which has two or three digits; it prints "
        f"{last.text} times itself"
    )
    gains = {gain.original: gain.factor[0] for gain in domain_gains()}
    if metric in gains:
        text += f", and the operations of Appendix A give {gains[metric]:.1f} (Table 2)"
    elif metric == "AlexNet":
        rows = {row.model: row.macs_forward * row.epochs for row in published.alexnet_level()}
        ours = rows["AlexNet"] / rows["EfficientNet-b0"]
        text += f", and epochs and multiply-accumulates give {ours:.1f} (Table 3)"
    elif not last.allows(factor, factor):
        text += ", which its own compute contradicts (see the audit)"
    return f"{text}."


def with_imported(points, imported):
    """What imported rows change; empty where there are none."""
    if not imported:
        return ""
    noun = "row" if len(imported) == 1 else "rows"
    every = trends.frontier([*points, *imported])
    if every == trends.frontier(points):
        return f"None of the {len(imported)} imported {noun} is better than what is published."
    first, last = every[0], every[-1]
    text = f"With the {len(imported)} imported {noun}: "
    if len(every) < 2:
        return f"{text}{readable(first.model)} took the least."
    return (
        f"{text}{readable(first.model)} to {readable(last.model)}, "
        f"{first.compute / last.compute:.1f} times less in "
        f"{trends.months_between(first.published, last.published) / 12:.1f} years."
    )


def _links():
    """Where each published model was introduced, by its one spelling."""
    links = {}
    for row in published.sota():
        links[readable(row.publication)] = row.line.split(",")[3]
    for row in published.alexnet_level():
        if row.arxiv:
            links[readable(row.model)] = f"https://arxiv.org/abs/{row.arxiv}"
    return links


def _point(point):
    name = readable(point.model)
    is_link = point.source.startswith(("https://", "http://"))
    return {
        "model": name,
        "date": point.published.isoformat(),
        "compute": point.compute,
        "epochs": point.epochs,
        "macs": point.macs,
        "source": point.source,
        "url": point.source if is_link else _links().get(name),
    }


def _groups(analysis):
    groups = curves_by_group(analysis.records, analysis.shipped)
    number = sum(min(MOST_RUNS, len(within)) for within in groups.values())
    each = max(2, MOST_CURVE_POINTS // number) if number else 0

    def order(item):
        return not item[1].target.reached, item[1].compute.train_flops

    found = []
    for compared in analysis.comparisons:
        group, within = compared.group, groups[compared.group]
        way, accuracy = tables.accuracy_of(group.metric)
        chosen = sorted(within.items(), key=order)[:MOST_RUNS]
        results = analysis.results[group]
        over = [run for result in results for run in result.runs]
        # A run's place among the configurations.
        places = {
            id(run): i
            for i, profile in enumerate(compared.profiles)
            for run in (*profile.result.runs, *profile.result.unfinished)
        }
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
                "not_over": sum(len(result.unfinished) for result in results),
                "left_out": len(within) - len(chosen),
                "runs": [
                    {"of": places.get(id(record)), **_run(name, record, each)}
                    for name, record in chosen
                ],
                **_levels(compared),
                "factors": _factors(compared),
            }
        )
    labels = [group["label"] for group in found]
    for i, group in enumerate(found):
        # What tells groups of one label apart, such as the data's fingerprint, is in the tables.
        if labels.count(group["label"]) > 1:
            group["label"] += f" ({labels[: i + 1].count(group['label'])})"
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
        "name": readable(name),
        "id": record.run_id,
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
                "is_base": profile in (compared.base, compared.shipped_base),
            }
            for i, profile in enumerate(compared.profiles)
        ],
        "frontier": [
            {unit: _frontier_text(by_unit[unit], level) for unit in ("xla", "paper")}
            for level in marks
        ],
    }


def _facts(result):
    first, date = result.first, publications.date_of(result.first)
    return {
        "name": readable(result.name),
        "model": readable(result.key.model),
        "shipped": result.shipped,
        "date": date.isoformat() if date else None,
        "url": publications.link_of(first),
        "macs": tables.macs_per_example(first),
        "runs": len(result.runs),
        "remark": result.remark,
        "recipe": result.key.text,
        "sources": [
            [
                run.run_id,
                run.seed,
                (run.software.git_commit or "no commit")[:12],
                run.software.jaxeff,
                tables.devices(run),
                run.command,
            ]
            for run in result.runs[:20]
        ],
    }


def _at(i, level, by_unit):
    if level not in by_unit["xla"][i].medians:
        return None
    found = {"missed": by_unit["xla"][i].medians[level].missed}
    for unit, profiles in by_unit.items():
        estimate = profiles[i].medians[level]
        if unit == "epoch":
            found[unit] = _finite(estimate.value)
            continue
        ends = profiles[i].result.bar(estimate) or (None, None)
        found[unit] = [_finite(number) for number in (estimate.value, *ends)]
    return found


def _finite(number):
    """JSON has no infinity: None where a run never got there, or nothing bounds the number."""
    if number is None or not math.isfinite(number):
        return None
    # More digits than anyone reads would be a fifth of what the page weighs beside its library.
    return float(f"{number:.9g}")


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
    return readable(
        f"{best[0].model} to {best[-1].model}: {factor.value:.3g} times less "
        f"({measured.interval_text(factor, runs)}) in {years:.1f} years; Moore's law would give "
        f"{moore:.1f} times."
    )


def _factors(compared):
    """The factor at every level, of each configuration, from its baseline."""
    found = []
    for i, other in enumerate(compared.profiles):
        if all(other is not each for each in compared.others):
            continue
        factors, base = compared.factors(other), compared.base_of(other)
        counts = len(base.result.runs), len(other.result.runs)
        if factors:
            found.append(
                {
                    "of": i,
                    "name": readable(other.result.name),
                    "base": readable(base.result.name),
                    "runs": f"{tables.runs_text(counts[0])} each"
                    if counts[0] == counts[1]
                    else f"{tables.runs_text(counts[0])} and {tables.runs_text(counts[1])}",
                    "levels": list(factors),
                    "factor": [_finite(factor.value) for factor in factors.values()],
                    "low": [_finite(factor.low) for factor in factors.values()],
                    "high": [_finite(factor.high) for factor in factors.values()],
                }
            )
    return found


def _pair(pair):
    def curve(result):
        return [
            [round(number, 5) for number in point]
            for point in schedules.accuracy_by_epoch(result, pair.group.metric)
        ]

    return {
        "label": f"{readable(pair.smooth.key.model)}, {pair.group.label}",
        "level": pair.group.level,
        "accuracy": tables.metric_text(pair.group.metric),
        "finding": pair.finding,
        "smooth": curve(pair.smooth),
        "steps": curve(pair.steps),
    }


def as_json(data: dict) -> str:
    """The data as the page holds them."""
    return json.dumps(data, allow_nan=False, separators=(",", ":"))
