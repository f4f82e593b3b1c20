"""Many runs: what several seeds of one configuration say of its compute to a level."""

from jaxeff.measure.budget import (
    EVALUATED_EVERY,
    Budget,
    budget,
    first_length,
    is_of_search,
    next_length,
)
from jaxeff.measure.crossing import Crossing, common_stop, crossing
from jaxeff.measure.interval import (
    FEWEST_SEEDS,
    Estimate,
    compute_to_level,
    factor,
    gap_error,
    paired_factor,
    relative_spread,
    seeds_needed,
)
from jaxeff.measure.known import Spread, known_spread
from jaxeff.measure.level import Proposal, propose_level
from jaxeff.measure.order import Agreement, rank_agreement
from jaxeff.measure.table import Row, as_csv, factor_text, table, text

__all__ = [
    "EVALUATED_EVERY",
    "FEWEST_SEEDS",
    "Agreement",
    "Budget",
    "Crossing",
    "Estimate",
    "Proposal",
    "Row",
    "Spread",
    "as_csv",
    "budget",
    "common_stop",
    "compute_to_level",
    "crossing",
    "factor",
    "factor_text",
    "first_length",
    "gap_error",
    "is_of_search",
    "known_spread",
    "next_length",
    "paired_factor",
    "propose_level",
    "rank_agreement",
    "relative_spread",
    "seeds_needed",
    "table",
    "text",
]
