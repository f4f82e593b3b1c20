"""Writes and reads rows in the columns of openai/ai-and-efficiency's `efficiency_sota.csv`."""

from __future__ import annotations  # `measured` would import SciPy, which takes a second.

import csv
import dataclasses
import datetime
import io
import json
import math
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxeff.cells import visible
from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.errors import UsageError
from jaxeff.records import Record
from jaxeff.records.validation import YEARS
from jaxeff.report import publications, published, sota_file, tables
from jaxeff.report.imagenet import few_classes, is_imagenet
from jaxeff.report.sota_file import COLUMNS
from jaxeff.report.tables import BASELINE, charged_examples, group_of
from jaxeff.report.trends import Point

if TYPE_CHECKING:
    from jaxeff.measure import Estimate
    from jaxeff.report.measured import Result

LARGEST_BYTES = 20_000_000
"""Of a file that is imported: a hundred thousand rows."""

LONGEST_CELL = 2000
"""Characters of a metric, a publication or a number."""

_IMAGENET_LEVELS = {("top5", 0.791): "AlexNet", ("top5", 0.929): "ResNet-50"}


def metric_name(record: Record) -> str:
    """`AlexNet` or `ResNet-50` for their levels on ImageNet, otherwise data and level in words.

    Two sets of one name differ by the beginning of their fingerprint.
    """
    level = _IMAGENET_LEVELS.get((record.target.metric, record.target.value))
    if level and is_imagenet(record):
        return level
    label = group_of(record).label
    if few_classes(record):
        label += f" of {record.task['num_classes']} classes"
    return f"{label} (data {record.dataset.fingerprint[:8]})"


def export(
    records: Sequence[Record], baseline: str = BASELINE, existing: str | None = None
) -> tuple[str, str]:
    """Makes the CSV file of the published rows and our records', and the analysis behind ours.

    A row is the median over a configuration's runs, in the paper's convention (3 x forward
    multiply-accumulates x images), so that it compares with the published rows. It needs a date of
    publication, runs of which more than half got there, and what its level's factors are against:
    a row that is there, or runs of the model `baseline`. What lacks one of them stands in the
    analysis alone.

    Args:
      records: of runs; those of a search for a budget are left out.
      baseline: name of the model against which factors are.
      existing: text of a file of such rows, which stay byte for byte as they are, ours behind them;
        None takes the published ones. A row that is there already is not written again.

    Returns:
      The CSV file's text, and the analysis as Markdown.

    Raises:
      UsageError: `existing` has not the columns.
    """
    from jaxeff import measure
    from jaxeff.report import measured  # SciPy takes a second to import.

    existing = sota_file.published_text() if existing is None else existing
    columns, days_of_first = sota_file.columns_and_bases(existing)
    base = {metric: days * TERAFLOP_S_DAY for metric, days in days_of_first.items()}
    crossed, rows = [record for record in records if not measure.is_of_search(record)], []
    # Of each level: results with their compute. The baseline's is its level's first row.
    levels: dict[str, list[tuple[Result, Estimate]]] = {}
    results = measured.results(crossed)
    metrics = _metrics(results)
    for group, within in results.items():
        first = measured.baseline_of(within, baseline)
        for result in sorted(within, key=lambda result: result is not first):
            if result.runs:
                found = levels.setdefault(metrics[group], [])
                found.append((result, result.estimate("paper")))
        if first is not None and math.isfinite(first.estimate("paper").value):
            base.setdefault(metrics[group], first)
    lines = ["# Analysis", ""]
    for metric, found in sorted(levels.items()):
        for result, estimate in found:
            factor = _factor(base.get(metric), result, estimate)
            is_base = base.get(metric) is result
            missing = None
            of_undated = _is_undated(base.get(metric)) and not is_base
            if not math.isfinite(estimate.value):
                missing = result.remark
            elif factor is None:
                missing = f"no run of {baseline} among the records got to this level"
            elif publications.date_of(result.first) is None:
                missing = "no date of publication is known (PUBLISHED in the model's file)"
            elif of_undated:
                missing = f"{baseline}, which its factor is from, has no date of publication"
            else:
                rows.append(_measured_row(metric, result, estimate, factor, is_base))
            lines += _analysis(metric, result, estimate, missing)
    if not levels:
        lines.append("No record of a run that is over was given: all rows are published ones.")
    text = sota_file.with_rows(existing, columns, rows)
    return text, "\n".join(map(visible, lines)) + "\n"


def _metrics(results):
    """A name for each group; groups of one name differ in how their task is set, which is added."""
    names = {group: metric_name(within[0].first) for group, within in results.items()}
    settings = {group: json.loads(group.settings) for group in names}
    found = {}
    for group, name in names.items():
        alike = [settings[other] for other in names if names[other] == name]
        apart = [
            f"{key} {value}"
            for key, value in sorted(settings[group].items())
            if any(other.get(key) != value for other in alike)
        ]
        found[group] = ", ".join([name, *apart])
    return found


def _is_undated(base):
    """Whether factors are from a result that can have no row, which a file's base has to have."""
    return base is not None and not isinstance(base, float) and not publications.date_of(base.first)


def _factor(base, result, estimate):
    """How many times less than a number of operations, or than another result, it takes."""
    from jaxeff import measure

    if base is None:
        return None
    if not isinstance(base, float):
        return measure.factor(base.crossings("paper"), result.crossings("paper"))
    ends = [
        None if end is None else base / end if end else math.inf
        for end in (estimate.high, estimate.low)
    ]
    return dataclasses.replace(estimate, value=base / estimate.value, low=ends[0], high=ends[1])


def _measured_row(metric, result, estimate, factor, is_base):
    from jaxeff.report import measured

    first = result.first
    date = publications.date_of(first)
    error = f"factor: {measured.interval_text(factor, [estimate.seeds])}"
    if is_base:
        error = f"{tables.runs_text(estimate.seeds)}, the baseline"
    return (
        metric,
        f"{date.month}/{date.day}/{date.year}",
        first.model.name,
        publications.link_of(first) or "",
        f"{estimate.value / TERAFLOP_S_DAY:.4g}",
        f"{factor.value:.3g}",
        f"jaxeff {first.software.jaxeff}, median ({error})",
        "",
    )


def _analysis(metric, result, estimate, missing):
    from jaxeff import measure
    from jaxeff.report import measured

    first, few = result.first, few_classes(result.first)
    noun = "image" if "image_size" in first.task else "example"
    lines = [
        f"## {result.key.model}, {metric}",
        "",
        *([f"- Not among the rows: {missing}."] if missing else []),
        f"- Recipe: {result.key.text}.",
        f"- Level: {group_of(first).level_text} on {first.dataset.name} "
        f"({first.dataset.validation_examples:,} validation {noun}s, each counted once)."
        + (f" Note: {few}." if few else ""),
        f"- Data: {first.dataset.train_examples:,} training {noun}s, fingerprint "
        f"`{first.dataset.fingerprint}`."
        + (
            " Taken for ImageNet (ILSVRC 2012) by its numbers of classes and images."
            if is_imagenet(first)
            else ""
        ),
        f"- Forward multiply-accumulates of an {noun}, counted from the program: {_macs(first)}.",
        f"- Compute = 3 x those x {noun}s trained on, up to the evaluation that first met the "
        "level; / 8.64e16 in teraflop/s-days. Evaluation is not charged.",
    ]
    for run in result.runs:
        end = f"epoch {run.target.epoch:g}" if run.target.reached else "never got there"
        lines.append(
            f"- Run `{run.run_id}` (seed {run.seed}, recipe {run.recipe['name']}): {end}, "
            f"{charged_examples(run):,} {noun}s, {run.compute.paper_flops:.4g} operations = "
            f"{run.compute.paper_teraflop_s_days:.4g} teraflop/s-days; XLA counts "
            f"{run.compute.train_flops:.4g} FLOPs."
        )
    if math.isfinite(estimate.value):
        days = measure.Estimate(
            *(n and n / TERAFLOP_S_DAY for n in (estimate.value, estimate.low, estimate.high)),
            estimate.seeds,
        )
        lines.append(
            f"- Median: {days.value:.4g} teraflop/s-days "
            f"({measured.interval_text(days, [days.seeds])}). A run crossed between two "
            "evaluations, so this is half a gap before what runs are charged."
        )
    if result.remark and result.remark != missing:
        lines.append(f"- To know: {result.remark}.")
    return [*lines, ""]


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
    fields, lines = _lines(path)
    missing = [column for column in COLUMNS[:6] if column not in fields]
    if missing:
        raise UsageError(f"--import={path}: the column {missing[0]!r} is missing")
    rows, first = [], {}
    for number, row in lines:
        where = f"--import={path}, line {number}"
        if any(len(cell or "") > LONGEST_CELL for cell in map(row.get, COLUMNS[:6])):
            raise UsageError(f"{where}: a cell has more than {LONGEST_CELL:,} characters")
        metric, days = row["Metric"], _positive(row, COLUMNS[4], where)
        factor = _positive(row, COLUMNS[5], where)
        try:
            date = datetime.datetime.strptime(row["Publication Date"] or "", "%m/%d/%Y").date()
            if date.year not in YEARS:
                raise ValueError(date)
        except ValueError as error:
            raise UsageError(
                f"{where}: the date {row['Publication Date']!r} is not month/day/year, of "
                f"{YEARS[0]} to {YEARS[-1]}"
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


def _lines(path):
    """The names of the columns, and each row by them with the number of its line."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise ValueError(f"it has more than {LARGEST_BYTES / 1e6:.0f} MB")
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        return reader.fieldnames or (), [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"--import={path}: cannot be read ({error})") from error


def _positive(row, column, where):
    value = sota_file.number(row[column])
    if value is None:
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
