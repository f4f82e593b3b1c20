"""The table of factors: what each configuration takes to the level, beside a reference."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxeff.cells import inert
from jaxeff.errors import UsageError
from jaxeff.measure.budget import Budget
from jaxeff.measure.crossing import Crossing, crossing
from jaxeff.measure.interval import Estimate, compute_to_level, factor, relative_spread
from jaxeff.records import Record

COLUMNS = (
    "configuration",
    "model",
    "recipe",
    "dataset",
    "level",
    "seeds",
    "missed",
    "train_flops",
    "train_flops_low",
    "train_flops_high",
    "paper_flops",
    "paper_flops_low",
    "paper_flops_high",
    "epochs",
    "epochs_low",
    "epochs_high",
    "factor",
    "factor_low",
    "factor_high",
    "spread_of_one_run",
    "reference",
    "budget_flops",
    "budget_flops_low",
    "budget_flops_high",
    "budget_epochs",
    "budget_epochs_low",
    "budget_epochs_high",
    "budget_factor",
    "budget_factor_low",
    "budget_factor_high",
    "spent_on_budget_flops",
    "jaxeff",
    "git_commit",
    "processor",
)


@dataclass(frozen=True)
class Row:
    """One configuration over its seeds.

    Attributes:
      name: of the configuration.
      records: of its runs, one a seed.
      metric: that the level is of.
      level: that everything here is to.
      reference: name of the configuration that factors are from; None without one.
      train_flops: to the level, by XLA's count.
      paper_flops: to the level, 3 x forward multiply-accumulates.
      epochs: to the level.
      factor: how many times less than the reference, by XLA's count; None without a reference.
      spread: relative standard deviation of one run; None where it is not known.
      budget: the shortest annealed schedule to the level; None where it was not searched for.
      budget_factor: how many times smaller than the reference's budget; None where one is not
        known.
    """

    name: str
    records: Sequence[Record]
    metric: str
    level: float
    reference: str | None
    train_flops: Estimate
    paper_flops: Estimate
    epochs: Estimate
    factor: Estimate | None
    spread: float | None
    budget: Budget | None = None
    budget_factor: Estimate | None = None


def table(
    configurations: Mapping[str, Sequence[Record]],
    reference: str | None,
    level: float | None = None,
    metric: str | None = None,
    budgets: Mapping[str, Budget] | None = None,
) -> list[Row]:
    """A row for each configuration, the one that takes least last.

    Args:
      configurations: records of the seeds of each, by name.
      reference: the configuration that factors are from; None, or one that is not there, gives no
        factors.
      level: to measure to; None takes each configuration's own target, and its metric.
      metric: of the level.
      budgets: of those configurations whose budget is known, by name.

    Raises:
      UsageError: a configuration has records of different data, or of runs that stopped at an
        easier level.
    """
    for name, records in configurations.items():
        for record in records:
            target, stopped = record.target, record.status == "reached" and level is not None
            if stopped and metric == target.metric and not crossing(record, level, metric).reached:
                raise UsageError(
                    f"{name}: the run of seed {record.seed} stopped at {metric}:{target.value:g}, "
                    f"which says nothing of {metric}:{level:g}"
                )
        if len({record.dataset.fingerprint for record in records}) > 1:
            raise UsageError(
                f"{name}: its records are of different data, whose numbers cannot be put together; "
                "give each data set a folder of its own"
            )
    measured = {
        name: _crossings(records, level, metric)
        for name, records in configurations.items()
        if records
    }
    reference, budgets = reference if reference in measured else None, budgets or {}
    rows = []
    for name, by_unit in measured.items():
        compared = measured[reference] if reference is not None else None
        target = configurations[name][0].target
        own = budgets.get(name)
        other = None if reference is None else budgets.get(reference)
        rows.append(
            Row(
                name=name,
                records=configurations[name],
                metric=metric or target.metric,
                level=target.value if level is None else level,
                reference=reference,
                train_flops=compute_to_level(by_unit["xla"]),
                paper_flops=compute_to_level(by_unit["paper"]),
                epochs=compute_to_level(by_unit["epoch"]),
                factor=factor(compared["xla"], by_unit["xla"]) if compared else None,
                spread=relative_spread(by_unit["xla"]),
                budget=own,
                budget_factor=factor(other.crossings, own.crossings) if own and other else None,
            )
        )
    return sorted(rows, key=lambda row: -row.train_flops.value)


def as_csv(rows: Sequence[Row]) -> str:
    """The rows with `COLUMNS`; an empty cell is not known, `inf` never got there."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        first = row.records[0]
        writer.writerow(
            [
                inert(row.name),
                inert(first.model.name),
                inert(first.recipe["name"]),
                inert(first.dataset.name),
                f"{row.metric}:{row.level:g}",
                " ".join(str(record.seed) for record in row.records),
                row.train_flops.missed,
                *_ends(row.train_flops),
                *_ends(row.paper_flops),
                *_ends(row.epochs),
                *_ends(row.factor),
                "" if row.spread is None else repr(row.spread),
                row.reference or "",
                *_ends(row.budget and row.budget.train_flops),
                *_ends(row.budget and row.budget.epochs),
                *_ends(row.budget_factor),
                repr(row.budget.spent_flops) if row.budget else "",
                *(_of_all(row.records, name) for name in ("jaxeff", "git_commit")),
                " ".join(sorted({_processor(record) for record in row.records})),
            ]
        )
    return buffer.getvalue()


def text(estimate: Estimate | None, infinite: str = "never") -> str:
    """An estimate as people read it: `1.35 (1.2 to 1.5)`, `never (6.2 to never)`.

    Args:
      estimate: of compute, epochs or a factor; None is not known.
      infinite: what an infinite number is called, which of a factor is not "never".
    """
    if estimate is None or math.isnan(estimate.value):
        return "not known"

    def number(value):
        return infinite if math.isinf(value) else f"{value:.3g}"

    if estimate.low is None or estimate.high is None:
        return f"{number(estimate.value)} (no interval)"
    return f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)})"


def factor_text(estimate: Estimate | None) -> str:
    """A factor as people read it: infinite where the reference alone never got there."""
    return text(estimate, infinite="infinite")


def _processor(record):
    """What computed: the kind of accelerator, or the CPU's model."""
    hardware = record.hardware
    is_cpu = hardware.platform == "cpu"
    return str(record.environment.cpu_model if is_cpu else hardware.device_kind)


def _of_all(records, name):
    """What the records say of their software, each once."""
    return " ".join(sorted({str(getattr(record.software, name)) for record in records}))


def _crossings(records, level, metric) -> dict[str, list[Crossing]]:
    return {
        unit: [crossing(record, level, metric, unit) for record in records]
        for unit in ("xla", "paper", "epoch")
    }


def _ends(estimate):
    if estimate is None or math.isnan(estimate.value):
        return ["", "", ""]
    ends = (estimate.value, estimate.low, estimate.high)
    return ["" if end is None else repr(float(end)) for end in ends]
