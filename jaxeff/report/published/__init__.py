"""Numbers that Hernandez & Brown printed, with their sources; ours stand beside them.

`table3_alexnet_level.csv`: Table 3 of arXiv:2005.04305, training to AlexNet-level accuracy on
ImageNet. `our_name` is the name in `models`, `published` the date of the first arXiv version (for
AlexNet, that of the published table). Multiply-accumulates are THOP's, in units of 1e9;
`printed_compute` is in units of 1e15 operations, although the table's head says teraflop/s-days.
"""

import csv
import dataclasses
import datetime
import pathlib


@dataclasses.dataclass(frozen=True)
class AlexNetLevel:
    """A row of Table 3: what a model took to reach 79.1 % top-5.

    Attributes:
      model: name as printed.
      our_name: name in `models`.
      publication: where the architecture was introduced.
      epochs: whole epochs of 1.28e6 images until the accuracy was first at or above the level.
      macs_forward: multiply-accumulates of a forward pass on one image at 224 px, as printed in the
        column that the compute follows from (the other column, THOP's, rounds two of them apart).
      printed_compute: 3 x `macs_forward` x images, in operations, as printed.
      arxiv: number of the publication, or None.
      published: date of its first version.
    """

    model: str
    our_name: str
    publication: str
    epochs: int
    macs_forward: float
    printed_compute: float
    arxiv: str | None
    published: datetime.date


def alexnet_level() -> tuple[AlexNetLevel, ...]:
    """The sixteen rows of Table 3, in its order: from the most compute to the least."""
    path = pathlib.Path(__file__).with_name("table3_alexnet_level.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            AlexNetLevel(
                model=row["model"],
                our_name=row["our_name"],
                publication=row["publication"],
                epochs=int(row["epochs"]),
                macs_forward=1e9 * float(row["gmacs_forward_paper"]),
                printed_compute=1e15 * float(row["printed_compute"]),
                arxiv=row["arxiv"] or None,
                published=datetime.date.fromisoformat(row["published"]),
            )
            for row in csv.DictReader(file)
        )
