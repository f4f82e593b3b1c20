"""The budget to a level: the shortest annealed schedule that ends at or above it.

Where a run in a long schedule first crosses a level depends on the schedule more than on the
network. A schedule that ends at the level has no such freedom. Each length is trained with the same
seeds; one seed's budget lies between the longest length below its shortest success and that
success, which is a crossing like those of learning curves, with the same estimate and interval.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxeff.measure.crossing import Crossing, crossing
from jaxeff.measure.interval import Estimate, compute_to_level
from jaxeff.records import Record, is_met

# The longest schedule that a search tries is so many times the recipe's own.
LONGEST = 4
# And the shortest is this part of it.
SHORTEST = 1 / 32


@dataclass(frozen=True)
class Budget:
    """What is known of one configuration's budget.

    Attributes:
      epochs: length of the shortest schedule that gets there, over the seeds.
      train_flops: its compute, by XLA's count.
      crossings: of the seeds, in XLA's FLOPs, for factors.
      lengths: that were tried, in epochs, with how many seeds of how many ended at the level.
      spent_flops: on all of the runs, the longer ones and the failures too.
    """

    epochs: Estimate
    train_flops: Estimate
    crossings: Sequence[Crossing]
    lengths: Sequence[tuple[float, int, int]]
    spent_flops: float


# A run of a search asks for an evaluation each so many schedules, and so has one at its end alone.
EVALUATED_EVERY = 2


def is_of_search(record: Record) -> bool:
    """Whether a run was made to find a budget, and not to find where it crosses the level.

    It was evaluated at its end alone, and would not have stopped at its target.
    """
    every = record.recipe.get("eval_every")  # Records of version 1 do not have it.
    at_end_alone = every is not None and every >= EVALUATED_EVERY * record.recipe["epochs"]
    return at_end_alone and "--nostop_at_target" in record.command.split()


def ends_at_level(record: Record) -> bool:
    """Whether the last evaluation of a run that went through its schedule meets its target."""
    if record.status == "diverged" or not record.curve:
        return False
    target = record.target
    last = record.curve[-1].value(target.metric)
    return is_met(record.direction(target.metric), last, target.value)


def budget(runs: Sequence[Record]) -> Budget:
    """The budget of one configuration, from runs of several lengths of schedule.

    Args:
      runs: each through its whole schedule; `recipe["epochs"]` tells the lengths apart.

    Raises:
      ValueError: there is no run.
    """
    by_length = _by_length(runs)
    return Budget(
        epochs=compute_to_level(_crossings(runs, lambda run: run.recipe["epochs"])),
        train_flops=compute_to_level(found := _crossings(runs, _whole_flops)),
        crossings=found,
        lengths=[
            (length, sum(map(ends_at_level, within)), len(within))
            for length, within in sorted(by_length.items())
        ],
        spent_flops=sum(map(_spent_flops, runs)),
    )


def first_length(runs: Sequence[Record]) -> float:
    """Where a search starts: the epoch at which half of these runs have crossed their level.

    Annealed to its end, a schedule of this length mostly gets there. Where half of the runs miss,
    it is the length of their own schedule.
    """
    crossed = compute_to_level([crossing(run, unit="epoch") for run in runs]).value
    return _rounded(crossed) if math.isfinite(crossed) else runs[0].recipe["epochs"]


def next_length(runs: Sequence[Record], own: float, precision: float) -> float | None:
    """The length to try next, by bisection on a logarithmic scale; None where it is known.

    Args:
      runs: so far; a length counts as long enough where at least half of its seeds end at the
        level.
      own: epochs of the recipe as it is.
      precision: the search ends where the shortest length that is long enough is at most this much
        longer, as a fraction, than the longest one below it.

    Returns:
      Epochs, with three digits. None also where `LONGEST` times the recipe's epochs do not get
      there, or `SHORTEST` of them do.
    """
    enough = {
        length: 2 * sum(map(ends_at_level, within)) >= len(within)
        for length, within in _by_length(runs).items()
    }
    high = min((length for length, is_enough in enough.items() if is_enough), default=math.inf)
    low = max((length for length in enough if length < high), default=0.0)
    if not enough:
        return own
    if math.isinf(high):
        return None if low >= LONGEST * own else _rounded(2 * low)
    if low == 0:
        return None if high <= SHORTEST * own else _rounded(high / 2)
    middle = _rounded(math.sqrt(low * high))
    return middle if high / low > 1 + precision and low < middle < high else None


def _by_length(runs):
    lengths: dict[float, list[Record]] = {}
    for run in runs:
        lengths.setdefault(run.recipe["epochs"], []).append(run)
    return lengths


def _crossings(runs, cost):
    seeds: dict[int, list[Record]] = {}
    for run in runs:
        seeds.setdefault(run.seed, []).append(run)
    return [_crossing(seed, within, cost) for seed, within in sorted(seeds.items())]


def _crossing(seed, runs, cost):
    by = min((cost(run) for run in runs if ends_at_level(run)), default=math.inf)
    after = max((cost(run) for run in runs if cost(run) < by), default=0.0)
    return Crossing(after=after, by=by, stays_by=by, seed=seed)


def _whole_flops(run):
    """Of the whole schedule, also where the run crossed its target before, or diverged."""
    schedule = run.compute.schedule
    if run.curve and run.status != "diverged":
        return float(schedule.train_flops(run.curve[-1].step))
    examples = run.recipe["epochs"] * run.dataset.train_examples
    steps = bisect.bisect_left(range(2**40), examples, key=schedule.examples)
    return float(schedule.train_flops(steps))


def _spent_flops(run):
    """Also behind the crossing at which a run is charged."""
    return max([run.compute.train_flops, *(point.train_flops for point in run.curve)])


def _rounded(epochs):
    return float(f"{epochs:.3g}")
