"""What a reader needs to quote a number: source, licence, units, date, and how to cite."""

import datetime
from collections.abc import Sequence

import jaxeff
from jaxeff.report.published import PAPER, REPOSITORY

PAPER_URL = "https://arxiv.org/abs/2005.04305"
REPOSITORY_URL = "https://github.com/openai/ai-and-efficiency"

LICENCE = (
    "Apache License 2.0 (recomputed and measured numbers, as jaxeff); the published numbers are "
    "those of their authors, who state no licence"
)
UNITS = (
    "in the names of the columns; operations and FLOPs are counts, a teraflop/s-day is 8.64e16 of "
    "them; an empty cell is not known, inf never got there"
)

BIBTEX = """\
@article{hernandez2020measuring,
  title   = {Measuring the Algorithmic Efficiency of Neural Networks},
  author  = {Hernandez, Danny and Brown, Tom B.},
  journal = {arXiv preprint arXiv:2005.04305},
  year    = {2020},
  url     = {https://arxiv.org/abs/2005.04305}
}"""


def citation(day: datetime.date) -> str:
    """How to cite a report that was made on a day."""
    return (
        f"jaxeff {jaxeff.__version__}, report of {day.isoformat()}, with published numbers of "
        "D. Hernandez and T. B. Brown, Measuring the Algorithmic Efficiency of Neural Networks, "
        "arXiv:2005.04305 (2020)."
    )


def header(title: str, how: str, day: datetime.date) -> list[str]:
    """Lines that say what a CSV file holds; each begins with `#`, and none has a line break.

    Args:
      title: what the file shows.
      how: how its numbers were made.
      day: on which they were.
    """
    lines: Sequence[str] = (
        f"{title}, made by jaxeff {jaxeff.__version__} on {day.isoformat()}",
        how,
        f"Units: {UNITS}",
        f"Source of the published numbers: {PAPER} ({PAPER_URL}); {REPOSITORY}",
        f"Licence: {LICENCE}",
        "Read it with pandas.read_csv(FILE, comment='#')",
    )
    return [f"# {' '.join(line.split())}" for line in lines if line]
