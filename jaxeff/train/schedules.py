"""STUB until the merge."""

import optax


def _warm(lr, falling, warmup_steps):
    if not warmup_steps:
        return falling
    return optax.join_schedules(
        [optax.linear_schedule(0.0, lr, warmup_steps), falling], [warmup_steps]
    )


def exponential(lr, steps, decay, warmup_steps=0):
    return _warm(lr, optax.exponential_decay(lr, steps - warmup_steps, decay), warmup_steps)


def step(lr, steps):
    return optax.piecewise_constant_schedule(
        lr, {round(steps * third / 3): 0.1 for third in (1, 2)}
    )


def cosine(lr, steps, warmup_steps=0):
    return _warm(lr, optax.cosine_decay_schedule(lr, steps - warmup_steps), warmup_steps)
