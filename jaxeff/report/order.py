"""The order of the paper's Table 3 beside the one that was measured here."""

import math
from collections.abc import Mapping, Sequence

from scipy import stats

from jaxeff import measure
from jaxeff.report import published
from jaxeff.report.measured import (
    Result,
    baseline_of,
    ends,
    interval_columns,
    one_a_network,
    origin,
)
from jaxeff.report.tables import BASELINE, Group, Table


def table(found: Mapping[Group, Sequence[Result]]) -> Table:
    """The paper's networks of each group that has three or more of them, in the paper's order.

    Args:
      found: `measured.results`, of which `measured.one_a_network` counts.
    """
    printed = {row.our_name: row.printed_compute for row in published.alexnet_level()}
    rows, said = [], []
    for group, every in found.items():
        for shipped in (False, True):
            within = [result for result in every if result.shipped == shipped]
            made, text = _rows(group, within, printed)
            rows += made
            said += text
    columns = (
        "data and level",
        "model",
        "measured",
        "the paper's place",
        "place here",
        "times less, the paper",
        *interval_columns("times less, here"),
        "here over the paper",
        "seeds",
    )
    how = (
        "Place 1 takes least compute to the level. The paper's is Table 3, on ImageNet, by the "
        "petaFLOPs printed there; table1 has the product of its epochs and MACs, which differs in "
        "the last digit. Spearman's "
        "coefficient of both orders, with a 95 % interval over the seeds: " + "; ".join(said) + "."
    )
    return Table("order", "The paper's order, and the one here", columns, tuple(rows), how)


def _rows(group, within, printed):
    """Rows of runs of one origin, and what to say of their agreement; none below three."""
    base = baseline_of(within, BASELINE)
    chosen = {
        result.key.model: result
        for result in one_a_network(within, base)
        if result.first.model.source is None and result.key.model in printed
    }
    if len(chosen) < 3:
        return [], []
    names = sorted(chosen, key=printed.get, reverse=True)
    crossings = {name: chosen[name].crossings() for name in names}
    said = _text(measure.rank_agreement(crossings, printed))
    enough = {
        name: found for name, found in crossings.items() if len(found) >= measure.FEWEST_SEEDS
    }
    if 3 <= len(enough) < len(crossings):
        without = _text(measure.rank_agreement(enough, printed))
        said += f", of those with three seeds or more {without}"
    whose = origin(within[0])
    ours = [chosen[name].estimate().value for name in names]
    places = zip(
        stats.rankdata([printed[name] for name in names]), stats.rankdata(ours), strict=True
    )
    rows = []
    for name, (theirs, here) in zip(names, places, strict=True):
        factor = None
        if base is not None and name != BASELINE:
            factor = measure.factor(base.crossings(), chosen[name].crossings())
        their_factor = printed[BASELINE] / printed[name]
        rows.append(
            (
                group.label,
                name,
                whose,
                float(theirs),
                float(here),
                their_factor,
                *ends(factor),
                None if ends(factor)[0] is None else factor.value / their_factor,
                len(chosen[name].runs),
            )
        )
    return rows, [f"{group.label} ({whose}): {said}"]


def _text(agreement):
    if math.isnan(agreement.coefficient):
        return f"not known, since all {agreement.networks} networks have the same place"
    if agreement.low is None:
        interval = "no interval below three seeds"
    else:
        interval = f"{agreement.low:.2f} to {agreement.high:.2f}"
    return f"{agreement.coefficient:.2f} ({interval}; {agreement.networks} networks)"
