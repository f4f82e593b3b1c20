"""Whether networks stand in the order in which another study found them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from jaxeff.measure.crossing import Crossing
from jaxeff.measure.interval import CONFIDENCE, FEWEST_SEEDS, compute_to_level

DRAWS = 4000


@dataclass(frozen=True)
class Agreement:
    """Two orders of the same networks.

    Attributes:
      coefficient: Spearman's; 1 where the orders are the same, -1 where one is the other reversed.
      low: end of its 95 % interval; None where a network has too few seeds, or where so many miss
        that a draw of them has no order.
      high: its other end.
      networks: how many there are.
    """

    coefficient: float
    low: float | None
    high: float | None
    networks: int


def rank_agreement(
    measured: Mapping[str, Sequence[Crossing]], published: Mapping[str, float], seed: int = 0
) -> Agreement:
    """Compares the order of medians with that of published numbers, of the networks in both.

    The interval is a bootstrap's over the seeds of each network, each crossing drawn within its
    gap: it tells how sure the measured order is, not what other networks would show.

    Args:
      measured: crossings of each network's runs, one a seed; one that missed is infinite.
      published: what each takes.
      seed: of the draws.

    Raises:
      ValueError: fewer than three networks are in both.
    """
    names = sorted(measured.keys() & published.keys())
    if len(names) < 3:
        raise ValueError(f"{len(names)} networks have no order to speak of: give three or more")
    theirs = stats.rankdata([published[name] for name in names])
    ours = [compute_to_level(measured[name]).value for name in names]
    found = float(_correlation(stats.rankdata(ours), theirs))
    if min(len(measured[name]) for name in names) < FEWEST_SEEDS:
        return Agreement(found, None, None, len(names))
    random = np.random.default_rng(seed)
    medians = np.stack([_medians(measured[name], random) for name in names], axis=1)
    drawn = _correlation(stats.rankdata(medians, axis=1), theirs)
    if np.isnan(drawn).any():
        return Agreement(found, None, None, len(names))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Agreement(found, min(float(low), found), max(float(high), found), len(names))


def _medians(crossings, random):
    """`DRAWS` medians of as many crossings, drawn with replacement."""
    drawn = random.integers(len(crossings), size=(DRAWS, len(crossings)))
    after = np.array([one.after for one in crossings])[drawn]
    by = np.array([one.by for one in crossings])[drawn]
    gaps = np.where(np.isfinite(by), by - after, 0)
    times = np.where(np.isfinite(by), after + gaps * random.random(drawn.shape), math.inf)
    times.sort(axis=1)
    middle = len(crossings) // 2
    # Of an even number the larger one, so that half of them missing is infinite.
    return times[:, middle]


def _correlation(ranks, other):
    """Pearson's of the last axis of `ranks` with `other`."""
    ours, theirs = ranks - ranks.mean(-1, keepdims=True), other - other.mean()
    scale = np.sqrt((ours**2).sum(-1) * (theirs**2).sum())
    with np.errstate(invalid="ignore"):
        return (ours * theirs).sum(-1) / scale
