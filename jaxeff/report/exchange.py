"""Writes and reads rows in the columns of openai/ai-and-efficiency's `efficiency_sota.csv`."""

import csv
import datetime
import io
import math
import os
import pathlib
import statistics
from collections.abc import Sequence

from jaxeff.cells import inert
from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.errors import UsageError
from jaxeff.records import Record
from jaxeff.report import publications, published
from jaxeff.report.tables import (
    BASELINE,
    Configuration,
    charged_examples,
    configuration,
    group_of,
    is_baseline,
)
from jaxeff.report.trends import Point

COLUMNS = (
    "Metric",
    "Publication Date",
    "Publication",
    "Publication link",
    "Compute (teraflops-s/days)",
    "Reduction Factor",
    "Analysis",
    "Analysis link",
)
_IMAGENET_LEVELS = {("top5", 0.791): "AlexNet", ("top5", 0.929): "ResNet-50"}


def metric_name(record: Record) -> str:
    """`AlexNet` or `ResNet-50` for their levels on ImageNet, otherwise data and level in words."""
    level = _IMAGENET_LEVELS.get((record.target.metric, record.target.value))
    if record.dataset.name == "imagenet2012" and level:
        return level
    return group_of(record).label


def export(records: Sequence[Record], baseline: str = BASELINE) -> tuple[str, str]:
    """Makes the CSV file of the published rows and our records', and the analysis behind ours.

    Records that reached their target are averaged over seeds, in the paper's convention (3 x
    forward multiply-accumulates x images), so that they compare with the published rows. A row
    needs a date of publication and what its level's factors are against: a published row, or runs
    of the model `baseline`. What lacks one of them stands in the analysis alone.

    Returns:
      The CSV file's text, and the analysis as Markdown.
    """
    rows = [_published_row(row) for row in published.sota()]
    base = {}
    for row in published.sota():
        base.setdefault(row.metric, row.teraflop_s_days.value)
    groups: dict[tuple[str, Configuration], list[Record]] = {}
    for record in records:
        if record.target.reached:
            groups.setdefault((metric_name(record), configuration(record)), []).append(record)
    means = {
        key: statistics.fmean(run.compute.paper_teraflop_s_days for run in runs)
        for key, runs in groups.items()
    }
    # Factors are against the baseline's best configuration, which is its level's first row.
    measured: dict[str, float] = {}
    for (metric, key), days in means.items():
        if is_baseline(key, baseline):
            measured[metric] = min(days, measured.get(metric, math.inf))
    base = measured | base
    missing = {}

    def order(item):
        (metric, _), days = item
        return metric, days != measured.get(metric), -days

    for (metric, key), days in sorted(means.items(), key=order):
        runs = groups[metric, key]
        if metric not in base:
            missing[metric, key] = f"no run of {baseline} reached this level"
        elif publications.date_of(runs[0]) is None:
            missing[metric, key] = "no date of publication is known (PUBLISHED in the model's file)"
        else:
            rows.append(_measured_row(metric, runs, days, base[metric] / days))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([[inert(cell) for cell in row] for row in rows])
    return text.getvalue(), _analysis(groups, means, missing)


def _published_row(row):
    link = f"https://arxiv.org/abs/{row.arxiv}" if row.arxiv else ""
    return (
        row.metric,
        row.date_as_printed,
        row.publication,
        link,
        row.teraflop_s_days.text,
        row.factor.text,
        "AI and Efficiency",
        "https://arxiv.org/abs/2005.04305",
    )


def _measured_row(metric, runs, days, factor):
    date = publications.date_of(runs[0])
    analysis = f"jaxeff {runs[0].software.jaxeff}, {len(runs)} run(s)"
    return (
        metric,
        f"{date.month}/{date.day}/{date.year}",
        runs[0].model.name,
        publications.link_of(runs[0]) or "",
        f"{days:.4g}",
        f"{factor:.3g}",
        analysis,
        "",
    )


def _analysis(groups, means, missing):
    lines = ["# Analysis", ""]
    if not groups:
        lines.append("No record that reached its target was given: all rows are published ones.")
    for (metric, key), runs in groups.items():
        first = runs[0]
        noun = "image" if "image_size" in first.task else "example"
        lines += [
            f"## {key.model}, {metric}",
            "",
            *(
                [f"- Not among the rows: {missing[metric, key]}."]
                if (metric, key) in missing
                else []
            ),
            f"- Recipe: {key.text}.",
            f"- Level: {group_of(first).level_text} on {first.dataset.name} "
            f"({first.dataset.validation_examples:,} validation {noun}s, each counted once).",
            f"- Forward multiply-accumulates of an {noun}, counted from the program: "
            f"{_macs(first)}.",
            f"- Compute = 3 x those x {noun}s trained on, up to the evaluation that first met the "
            "level; / 8.64e16 in teraflop/s-days. Evaluation is not charged.",
        ]
        for run in runs:
            lines.append(
                f"- Run `{run.run_id}` (seed {run.seed}, recipe {run.recipe['name']}): "
                f"epoch {run.target.epoch:g}, {charged_examples(run):,} {noun}s, "
                f"{run.compute.paper_flops:.4g} operations = "
                f"{run.compute.paper_teraflop_s_days:.4g} teraflop/s-days; XLA counts "
                f"{run.compute.train_flops:.4g} FLOPs."
            )
        lines += [f"- Mean: {means[metric, key]:.4g} teraflop/s-days.", ""]
    return "\n".join(lines) + "\n"


def _macs(record):
    """`11,755,872 at 64 px`; with the steps from which on, where the cost changes in the run."""
    texts = []
    for segment in record.compute.segments:
        size = segment.changes.get("image_size", record.task.get("image_size"))
        text = f"{segment.macs_forward_per_example:,}" + (f" at {size} px" if size else "")
        if len(record.compute.segments) > 1:
            text += f" in batches of {segment.batch_size} from step {segment.from_step:,} on"
        texts.append(text)
    return "; ".join(texts)


def read(path: str | os.PathLike) -> list[tuple[str, Point]]:
    """Reads rows that others measured, each with its metric.

    Compute is in operations, by the paper's convention.

    Raises:
      UsageError: the file cannot be read, a column is missing, a date or number is not one, or a
        reduction factor does not follow from the first row of its metric (within 10 %).
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--import={path}: cannot be read ({error})") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [column for column in COLUMNS[:6] if column not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(f"--import={path}: the column {missing[0]!r} is missing")
    rows, first = [], {}
    for number, row in enumerate(reader, start=2):
        where = f"--import={path}, line {number}"
        metric, days = row["Metric"], _positive(row, COLUMNS[4], where)
        factor = _positive(row, COLUMNS[5], where)
        try:
            date = datetime.datetime.strptime(row["Publication Date"] or "", "%m/%d/%Y").date()
        except ValueError as error:
            raise UsageError(
                f"{where}: the date {row['Publication Date']!r} is not month/day/year"
            ) from error
        if not metric or not row["Publication"]:
            raise UsageError(f"{where}: Metric and Publication must not be empty")
        first.setdefault(metric, days)
        if not math.isclose(first[metric] / days, factor, rel_tol=0.1) and not _known(row):
            raise UsageError(
                f"{where}: the reduction factor is {factor:g}, but {first[metric]:g} / {days:g} "
                f"is {first[metric] / days:.3g}"
            )
        source = row["Publication link"] or path.name
        rows.append((metric, Point(row["Publication"], date, days * TERAFLOP_S_DAY, source=source)))
    if not rows:
        raise UsageError(f"--import={path}: no rows")
    return rows


def _positive(row, column, where):
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"{where}: {column} is {row[column]!r}, not a number above 0")
    return value


def _known(row):
    """Whether a row is a published one, whose own contradiction the audit reports."""
    return any(
        row["Metric"] == published_row.metric
        and row[COLUMNS[4]] == published_row.teraflop_s_days.text
        and row[COLUMNS[5]] == published_row.factor.text
        for published_row in published.sota()
    )
