"""Learning rates by step, for a recipe to choose from.

Each function returns an `optax.Schedule`: a function from the step, counted from 0, to the rate.
Steps are whole numbers; a recipe has `steps_per_epoch` to make them of epochs. `warmup_steps` rise
linearly from 0 before the schedule starts (Goyal et al. 2017), which then has that many fewer; in a
run of no more steps than that, all but one rise.
"""

from collections.abc import Sequence

import optax

from jaxeff.errors import UsageError


def constant(lr: float, warmup_steps: int = 0) -> optax.Schedule:
    """`lr` throughout, as schedule-free optimizers want it.

    Raises:
      UsageError: a number is out of range, as for all schedules.
    """
    _check(lr, 1, warmup_steps)
    return _warmed_up(lr, warmup_steps, optax.constant_schedule(lr))


def exponential(
    lr: float, total_steps: int, decay: float = 1e-3, warmup_steps: int = 0
) -> optax.Schedule:
    """`lr * decay ** t`, with `t` the fraction of the steps that are done: the paper's smooth one.

    Args:
      lr: the highest rate.
      total_steps: steps of the whole run.
      decay: the rate after the last step over the first.
      warmup_steps: steps of linear rise from 0, among `total_steps`.
    """
    warmup_steps, steps = _after_warmup(lr, total_steps, warmup_steps)
    return _warmed_up(lr, warmup_steps, optax.exponential_decay(lr, steps, decay))


def step(
    lr: float,
    total_steps: int,
    factor: float = 0.1,
    milestones: Sequence[float] = (1 / 3, 2 / 3),
    warmup_steps: int = 0,
) -> optax.Schedule:
    """`lr`, times `factor` from each milestone on: every 30 of 90 epochs in the paper.

    Args:
      lr: the highest rate.
      total_steps: steps of the whole run.
      factor: what the rate is multiplied with at each milestone.
      milestones: when, as fractions of the steps after the warm-up.
      warmup_steps: steps of linear rise from 0, among `total_steps`.
    """
    warmup_steps, steps = _after_warmup(lr, total_steps, warmup_steps)
    boundaries = {round(steps * milestone): factor for milestone in milestones}
    return _warmed_up(lr, warmup_steps, optax.piecewise_constant_schedule(lr, boundaries))


def cosine(lr: float, total_steps: int, warmup_steps: int = 0) -> optax.Schedule:
    """`lr * (1 + cos(pi t)) / 2` (Loshchilov & Hutter 2017), 0 after the last step.

    Args:
      lr: the highest rate.
      total_steps: steps of the whole run.
      warmup_steps: steps of linear rise from 0, among `total_steps`.
    """
    warmup_steps, steps = _after_warmup(lr, total_steps, warmup_steps)
    return _warmed_up(lr, warmup_steps, optax.cosine_decay_schedule(lr, steps))


def trapezoid(
    lr: float, total_steps: int, decay_steps: int, warmup_steps: int = 0
) -> optax.Schedule:
    """A rise, `lr`, and a linear fall to 0 after the last step.

    Zhai et al. 2021 ("Scaling Vision Transformers", Section 3.5) and Hägele et al. 2024, who find a
    fall of a fifth of the steps as good as the cosine's: runs of several lengths share all before
    it.

    Args:
      lr: the highest rate.
      total_steps: steps of the whole run.
      decay_steps: steps of the fall, the last of the run.
      warmup_steps: steps of linear rise from 0, the first of the run.

    Raises:
      UsageError: rise and fall have more steps than the run.
    """
    _check(lr, total_steps, warmup_steps)
    if not 0 < decay_steps <= total_steps - warmup_steps:
        raise UsageError(
            f"a rise of {warmup_steps} and a fall of {decay_steps} steps in a run of "
            f"{total_steps}: give a fall of 1 to {total_steps - warmup_steps} steps"
        )
    start = total_steps - decay_steps - warmup_steps
    parts = [optax.constant_schedule(lr), optax.linear_schedule(lr, 0.0, decay_steps)]
    return _warmed_up(lr, warmup_steps, optax.join_schedules(parts, [start]))


def one_cycle(
    lr: float,
    total_steps: int,
    *,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    anneal: str = "cosine",
    three_phase: bool = False,
) -> optax.Schedule:
    """A rise from `lr / div_factor` to `lr` and a fall far below where it began.

    Smith & Topin 2017, as `torch.optim.lr_scheduler.OneCycleLR(max_lr=lr)` has it, whose arguments
    and defaults these are (without its cycle of the momentum): the first step has the initial rate
    and the last one the lowest, `lr / (div_factor * final_div_factor)`.

    Args:
      lr: the highest rate.
      total_steps: steps of the whole run.
      pct_start: fraction of the steps that rise.
      div_factor: highest rate over initial one.
      final_div_factor: initial rate over lowest one.
      anneal: `cosine` or `linear`: how the rate goes from one to the next.
      three_phase: falls back to the initial rate in as many steps as it rose, and in the others to
        the lowest, as in the article; otherwise at one go.

    Raises:
      UsageError: there is no such anneal, or a part has no steps.
    """
    _check(lr, total_steps, 0)
    if anneal not in _ANNEALS:
        raise UsageError(f"one-cycle anneal {anneal!r}: give {' or '.join(_ANNEALS)}")
    peak, last = pct_start * total_steps - 1, total_steps - 1
    initial, lowest = lr / div_factor, lr / (div_factor * final_div_factor)
    ends = [peak, 2 * peak, last] if three_phase else [peak, last]
    rates = [initial, lr, initial, lowest] if three_phase else [initial, lr, lowest]
    starts = [0, *ends[:-1]]
    if not all(start < end for start, end in zip(starts, ends, strict=True)):
        raise UsageError(
            f"a one-cycle schedule of {total_steps} steps, {pct_start} of them rising: a part has "
            "no steps; give more steps or another pct_start"
        )
    parts = [
        _ANNEALS[anneal](rates[i], rates[i + 1], ends[i] - starts[i]) for i in range(len(ends))
    ]
    return optax.join_schedules(parts, starts[1:])


def _cosine_between(first, last, steps):
    return optax.cosine_decay_schedule(first, steps, alpha=last / first)


_ANNEALS = {"cosine": _cosine_between, "linear": optax.linear_schedule}


def _check(lr, total_steps, warmup_steps):
    if not lr > 0:
        raise UsageError(f"learning rate {lr}: give a number above 0")
    if total_steps < 1:
        raise UsageError(f"a schedule of {total_steps} steps: give 1 or more")
    if warmup_steps < 0:
        raise UsageError(f"a warm-up of {warmup_steps} steps: give 0 or more")


def _after_warmup(lr, total_steps, warmup_steps):
    """The steps of the warm-up, and how many are left after it."""
    _check(lr, total_steps, warmup_steps)
    warmup_steps = min(warmup_steps, total_steps - 1)
    return warmup_steps, total_steps - warmup_steps


def _warmed_up(lr, warmup_steps, schedule):
    if warmup_steps == 0:
        return schedule
    rising = optax.linear_schedule(0.0, lr, warmup_steps)
    return optax.join_schedules([rising, schedule], [warmup_steps])
