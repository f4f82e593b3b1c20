"""The records that come with the package, as a report shows them beside the reader's own."""

import dataclasses

from jaxeff import compute, measure, records
from jaxeff.measure import known
from jaxeff.records import Record


def shipped() -> list[Record]:
    """The records of the package, each read at the level of its data set, the largest set first.

    Runs go to a harder level than the data set's, so that several can be read off them; at the data
    set's own they compare with a reader's runs, and give the numbers of `launch/sweep.py --known`.
    """
    levels = known.known_levels()
    return [
        at_level(
            record, levels[record.dataset.name]["metric"], levels[record.dataset.name]["level"]
        )
        if record.dataset.name in levels
        else record
        for record in sorted(
            records.shipped().values(), key=lambda record: -record.dataset.train_examples
        )
    ]


def at_level(record: Record, metric: str, level: float) -> Record:
    """The record as though `level` had been its target: crossing and charge are of that level.

    A run of a search for a budget, one to another metric and one that was stopped below the level
    stay as they are.

    Args:
      record: of a run that is over.
      metric: of the level.
      level: that the run went through.
    """
    if record.target.metric != metric or measure.is_of_search(record) or not record.curve:
        return record
    target = records.crossing(record.curve, metric, level, record.direction(metric))
    if not target.reached and record.status == "reached":
        return record
    steps = target.step if target.reached else record.curve[-1].step
    schedule = record.compute.schedule
    train_flops, paper_flops = schedule.train_flops(steps), schedule.paper_flops(steps)
    charged = dataclasses.replace(
        record.compute,
        train_flops=train_flops,
        teraflop_s_days=compute.teraflop_s_days(train_flops),
        paper_flops=paper_flops,
        paper_teraflop_s_days=compute.teraflop_s_days(paper_flops),
    )
    return dataclasses.replace(record, target=target, compute=charged)
