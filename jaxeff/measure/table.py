"""The table of factors: what each configuration takes to the level, beside a reference."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxeff.cells import inert
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
)


@dataclass(frozen=True)
class Row:
    """One configuration over its seeds.

    Attributes:
      name: of the configuration.
      records: of its runs, one a seed.
      train_flops: to the level, by XLA's count.
      paper_flops: to the level, 3 x forward multiply-accumulates.
      epochs: to the level.
      factor: how many times less than the reference, by XLA's count; None without a reference.
      spread: relative standard deviation of one run; None where it is not known.
    """

    name: str
    records: Sequence[Record]
    train_flops: Estimate
    paper_flops: Estimate
    epochs: Estimate
    factor: Estimate | None
    spread: float | None


def table(configurations: Mapping[str, Sequence[Record]], reference: str | None) -> list[Row]:
    """A row for each configuration, the one that takes least last.

    Args:
      configurations: records of the seeds of each, by name; each to its own target.
      reference: the configuration that factors are from; None, or one that is not there, gives no
        factors.
    """
    measured = {name: _crossings(records) for name, records in configurations.items() if records}
    rows = []
    for name, by_unit in measured.items():
        compared = measured.get(reference)
        rows.append(
            Row(
                name=name,
                records=configurations[name],
                train_flops=compute_to_level(by_unit["xla"]),
                paper_flops=compute_to_level(by_unit["paper"]),
                epochs=compute_to_level(by_unit["epoch"]),
                factor=factor(compared["xla"], by_unit["xla"]) if compared else None,
                spread=relative_spread(by_unit["xla"]),
            )
        )
    return sorted(rows, key=lambda row: -row.train_flops.value)


def as_csv(rows: Sequence[Row], reference: str | None) -> str:
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
                f"{first.target.metric}:{first.target.value:g}",
                " ".join(str(record.seed) for record in row.records),
                row.train_flops.missed,
                *_ends(row.train_flops),
                *_ends(row.paper_flops),
                *_ends(row.epochs),
                *_ends(row.factor),
                "" if row.spread is None else repr(row.spread),
                reference if row.factor is not None else "",
            ]
        )
    return buffer.getvalue()


def text(estimate: Estimate | None, digits: int = 3) -> str:
    """An estimate as people read it: `1.35 (1.2 to 1.5)`."""
    if estimate is None or math.isnan(estimate.value):
        return "not known"
    value = "never" if math.isinf(estimate.value) else f"{estimate.value:.{digits}g}"
    if estimate.low is None:
        return f"{value} (no interval of {estimate.seeds})"
    high = "?" if math.isinf(estimate.high) else f"{estimate.high:.{digits}g}"
    return f"{value} ({estimate.low:.{digits}g} to {high})"


def _crossings(records: Sequence[Record]) -> dict[str, list[Crossing]]:
    return {
        unit: [crossing(record, unit=unit) for record in records]
        for unit in ("xla", "paper", "epoch")
    }


def _ends(estimate):
    if estimate is None or math.isnan(estimate.value):
        return ["", "", ""]
    ends = (estimate.value, estimate.low, estimate.high)
    return ["" if end is None else repr(float(end)) for end in ends]
