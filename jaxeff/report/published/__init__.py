"""Numbers that Hernandez & Brown printed, with their sources; ours stand beside them.

| file | what |
| --- | --- |
| `table1_breakdown.csv` | Table 1 of arXiv:2005.04305: the gain in epochs and in FLOPs an epoch |
| `table2_domains.csv` | Table 2: gains in other domains |
| `table3_alexnet_level.csv` | Table 3: training to AlexNet-level accuracy on ImageNet |
| `table4_top5.csv`, `table5_top1.csv` | Tables 4 and 5: accuracies of the authors' trainings |
| `efficiency_sota.csv` | the table published beside it (github.com/openai/ai-and-efficiency) |

In Table 3 `our_name` is the name in `models`, `published` the date of the first arXiv version (for
AlexNet, that of the published table). Multiply-accumulates are THOP's, in units of 1e9;
`printed_compute` is in units of 1e15 operations, although the table's head says teraflop/s-days.
`arxiv_v1_date` of the published table is the corrected date, beside the one that it prints.
"""

import csv
import dataclasses
import datetime
import functools
import pathlib

from jaxeff.errors import UsageError
from jaxeff.report.published.printed import Printed, recompute

__all__ = [
    "ACCURACIES",
    "PAPER",
    "REPOSITORY",
    "Accuracy",
    "AlexNetLevel",
    "Breakdown",
    "Domain",
    "Printed",
    "Sota",
    "accuracies",
    "alexnet_level",
    "breakdown",
    "domains",
    "recompute",
    "sota",
]

PAPER = "Hernandez and Brown, arXiv:2005.04305"
REPOSITORY = "github.com/openai/ai-and-efficiency, efficiency_sota.csv"


@dataclasses.dataclass(frozen=True)
class AlexNetLevel:
    """A row of Table 3: what a model took to reach 79.1 % top-5.

    Attributes:
      model: name as printed.
      our_name: name in `models`.
      publication: where the architecture was introduced.
      epochs: whole epochs of 1.28e6 images until the accuracy was first at or above the level.
      gmacs: multiply-accumulates of a forward pass on one image at 224 px in units of 1e9, as
        printed in the column that the compute follows from (the other column, THOP's, rounds two
        of them apart).
      petaflops: 3 x `gmacs` x images, in units of 1e15 operations, as printed.
      arxiv: number of the publication, or None.
      published: date of its first version.
    """

    model: str
    our_name: str
    publication: str
    epochs: int
    gmacs: Printed
    petaflops: Printed
    arxiv: str | None
    published: datetime.date

    @property
    def macs_forward(self) -> float:
        """Multiply-accumulates of a forward pass on one image, as printed."""
        return 1e9 * self.gmacs.value

    @property
    def printed_compute(self) -> float:
        """Operations to the level, as printed."""
        return 1e15 * self.petaflops.value


@dataclasses.dataclass(frozen=True)
class Breakdown:
    """A row of Table 1: factors of less compute than AlexNet took."""

    model: str
    epochs: Printed
    flops_per_epoch: Printed
    training: Printed


@dataclasses.dataclass(frozen=True)
class Domain:
    """A row of Table 2: `period` and `doubling_time` as printed, such as `3 years`, `25 days`."""

    original: str
    improved: str
    task: str
    factor: Printed
    period: str
    doubling_time: str


@dataclasses.dataclass(frozen=True)
class Sota:
    """A row of the published table.

    Attributes:
      metric: the level, named for the model that set it.
      date_as_printed: month/day/year.
      publication: name as printed.
      teraflop_s_days: compute to the level, as printed.
      factor: less compute than the level's first row, as printed.
      arxiv: number, or None.
      published: date of the first arXiv version (AlexNet: as printed).
      line: the row as it is published, in the columns of the repository's file.
    """

    metric: str
    date_as_printed: str
    publication: str
    teraflop_s_days: Printed
    factor: Printed
    arxiv: str | None
    published: datetime.date
    line: str

    @property
    def printed_date(self) -> datetime.date:
        """`date_as_printed`, as a date."""
        return datetime.datetime.strptime(self.date_as_printed, "%m/%d/%Y").date()


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A row of Table 4 (top-5) or 5 (top-1), in per cent; None where nothing is printed."""

    model: str
    authors: Printed
    pytorch_examples: Printed | None
    original_paper: Printed
    original_single_crop: str


@functools.cache
def alexnet_level() -> tuple[AlexNetLevel, ...]:
    """The sixteen rows of Table 3, in its order: from the most compute to the least."""
    return _load(
        "table3_alexnet_level.csv",
        lambda row: AlexNetLevel(
            model=row["model"],
            our_name=row["our_name"],
            publication=row["publication"],
            epochs=int(row["epochs"]),
            gmacs=Printed(row["gmacs_forward_paper"]),
            petaflops=Printed(row["printed_compute"]),
            arxiv=row["arxiv"] or None,
            published=datetime.date.fromisoformat(row["published"]),
        ),
    )


@functools.cache
def breakdown() -> tuple[Breakdown, ...]:
    """The six rows of Table 1; names are those of Table 3."""
    return _load(
        "table1_breakdown.csv",
        lambda row: Breakdown(
            row["model"],
            Printed(row["training_epochs_factor"]),
            Printed(row["flops_per_epoch_factor"]),
            Printed(row["training_efficiency_factor"]),
        ),
    )


@functools.cache
def domains() -> tuple[Domain, ...]:
    """The six rows of Table 2."""
    return _load(
        "table2_domains.csv",
        lambda row: Domain(
            row["original"],
            row["improved"],
            row["task"],
            Printed(row["efficiency_factor"]),
            row["period"],
            row["doubling_time"],
        ),
    )


@functools.cache
def sota() -> tuple[Sota, ...]:
    """The twelve rows of the published table, in its order."""
    return _load(
        "efficiency_sota.csv",
        lambda row: Sota(
            row["metric"],
            row["publication_date_as_printed"],
            row["publication"],
            Printed(row["compute_teraflop_s_days"]),
            Printed(row["reduction_factor_as_printed"]),
            row["arxiv"] or None,
            datetime.date.fromisoformat(row["arxiv_v1_date"]),
            row["row_as_published"],
        ),
    )


# Metric -> (number of the table, its file).
ACCURACIES = {"top5": (4, "table4_top5.csv"), "top1": (5, "table5_top1.csv")}


@functools.cache
def accuracies(metric: str) -> tuple[Accuracy, ...]:
    """The rows of Table 4 (`top5`) or Table 5 (`top1`)."""
    return _load(
        ACCURACIES[metric][1],
        lambda row: Accuracy(
            row["model"],
            Printed(row[f"authors_{metric}"]),
            Printed(row[text]) if row[text := f"pytorch_examples_{metric}"] else None,
            Printed(row[f"original_paper_{metric}"]),
            row["original_single_crop"],
        ),
    )


def _load(file_name, read_row):
    path = pathlib.Path(__file__).with_name(file_name)
    with path.open(encoding="utf-8", newline="") as file:
        rows = []
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                rows.append(read_row(row))
            except (KeyError, ValueError, TypeError) as error:
                raise UsageError(f"{path}, line {number}: not a published row ({error})") from error
    return tuple(rows)
