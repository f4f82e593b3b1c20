import json

import jax
import numpy as np
import pytest

from jaxeff import train
from jaxeff.errors import UsageError
from jaxeff.train import schedules
from jaxeff.train.description import describe

LR, STEPS = 0.3, 60


def rates(schedule, steps=STEPS):
    """As a training step asks for them: under `jit`, by an int32."""
    return np.array(jax.jit(jax.vmap(schedule))(np.arange(steps, dtype=np.int32)))


def torch_rates(make, steps=STEPS):
    """The rates of the steps by the scheduler that `make(optimizer, lr_scheduler)` returns."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install jaxeff[bench]")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler, used = make(optimizer, torch.optim.lr_scheduler), []
    for _ in range(steps):
        used.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return np.array(used)


def test_exponential_is_torchs():
    decay = 0.002
    expected = torch_rates(lambda o, s: s.ExponentialLR(o, gamma=decay ** (1 / STEPS)))
    np.testing.assert_allclose(rates(schedules.exponential(LR, STEPS, decay)), expected, rtol=1e-5)


def test_step_is_torchs():
    expected = torch_rates(lambda o, s: s.MultiStepLR(o, milestones=[20, 40], gamma=0.1))
    np.testing.assert_allclose(rates(schedules.step(LR, STEPS)), expected, rtol=1e-5)


def test_cosine_is_torchs_from_zero_up_and_down_again():
    def make(optimizer, schedulers):
        rising = schedulers.LambdaLR(optimizer, lambda step: step / 10)
        falling = schedulers.CosineAnnealingLR(optimizer, T_max=STEPS - 10)
        return schedulers.SequentialLR(optimizer, [rising, falling], milestones=[10])

    expected = torch_rates(lambda o, s: s.CosineAnnealingLR(o, T_max=STEPS))
    np.testing.assert_allclose(rates(schedules.cosine(LR, STEPS)), expected, rtol=1e-4, atol=1e-7)
    expected = torch_rates(make)
    ours = rates(schedules.cosine(LR, STEPS, warmup_steps=10))
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-7)


def test_trapezoid_is_torchs():
    def make(optimizer, schedulers):
        parts = [
            schedulers.LambdaLR(optimizer, lambda step: step / 5),
            schedulers.ConstantLR(optimizer, factor=1.0),
            schedulers.LinearLR(optimizer, 1.0, 0.0, total_iters=20),
        ]
        return schedulers.SequentialLR(optimizer, parts, milestones=[5, 40])

    expected = torch_rates(make)
    ours = schedules.trapezoid(LR, STEPS, decay_steps=20, warmup_steps=5)
    np.testing.assert_allclose(rates(ours), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose([ours(0), ours(5), ours(40)], [0, LR, LR], atol=1e-6)
    np.testing.assert_allclose([ours(50), ours(STEPS), ours(STEPS + 9)], [LR / 2, 0, 0], atol=1e-6)


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize(("anneal", "strategy"), [("cosine", "cos"), ("linear", "linear")])
@pytest.mark.parametrize(("pct_start", "steps"), [(0.3, 60), (0.217, 61)])
def test_one_cycle_is_torchs(anneal, strategy, three_phase, pct_start, steps):
    def make(optimizer, schedulers):
        return schedulers.OneCycleLR(
            optimizer,
            LR,
            total_steps=steps + 1,
            pct_start=pct_start,
            anneal_strategy=strategy,
            div_factor=20.0,
            final_div_factor=300.0,
            three_phase=three_phase,
            cycle_momentum=False,
        )

    # PyTorch's scheduler is asked once more than there are steps.
    ours = schedules.one_cycle(
        LR,
        steps + 1,
        pct_start=pct_start,
        div_factor=20.0,
        final_div_factor=300.0,
        anneal=anneal,
        three_phase=three_phase,
    )
    expected = torch_rates(make, steps)
    np.testing.assert_allclose(rates(ours, steps), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose([ours(0), ours(steps)], [LR / 20, LR / 6000], rtol=1e-3)


def test_constant_rises_and_stays():
    ours = rates(schedules.constant(LR, warmup_steps=4), 100)
    np.testing.assert_allclose(ours[:5], LR * np.arange(5) / 4, rtol=1e-6)
    np.testing.assert_allclose(ours[4:], LR)
    np.testing.assert_allclose(rates(schedules.constant(LR)), LR)


def test_the_papers_rates_fall_by_a_thousand_over_ninety_epochs():
    ours = schedules.exponential(0.1, 900)
    np.testing.assert_allclose(
        [ours(0), ours(450), ours(900)], [0.1, 0.1 / np.sqrt(1000), 1e-4], rtol=1e-5
    )


def test_a_run_shorter_than_its_warmup_has_a_schedule():
    for make in (schedules.exponential, schedules.step, schedules.cosine):
        ours = rates(make(LR, 5, warmup_steps=10), 5)
        np.testing.assert_allclose(ours[:4], LR * np.arange(4) / 4, rtol=1e-6)
        # All of the step schedule's milestones lie before the one step that is left.
        np.testing.assert_allclose(ours[4], LR / 10 if make is schedules.step else LR, rtol=1e-6)


MADE = {
    "constant": (schedules.constant(0.0123, 17), ("0.0123", "17")),
    "exponential": (
        schedules.exponential(0.0123, 117, 0.056, 17),
        ("0.0123", "100", "0.056", "17"),
    ),
    "step": (schedules.step(0.0123, 117, 0.056, (0.4,), 17), ("0.0123", "40", "0.056", "17")),
    "cosine": (schedules.cosine(0.0123, 117, 17), ("0.0123", "100", "17")),
    "trapezoid": (schedules.trapezoid(0.0123, 117, 23, 17), ("0.0123", "77", "23", "17")),
    "one_cycle": (
        schedules.one_cycle(0.5, 101, pct_start=0.25, div_factor=16, final_div_factor=4),
        ("24.25", "75.75", "0.03125", "0.015625", "0.5"),
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_every_number_of_a_schedule_is_in_its_description(name):
    schedule, numbers = MADE[name]
    text = json.dumps(describe(schedule), allow_nan=False)
    for number in numbers:
        assert number in text, (number, text)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: schedules.constant(0), "learning rate 0: give a number above 0"),
        (lambda: schedules.cosine(float("nan"), 9), "learning rate nan"),
        (lambda: schedules.exponential(0.1, 0), "a schedule of 0 steps"),
        (lambda: schedules.step(0.1, 9, warmup_steps=-1), "warm-up of -1 steps"),
        (lambda: schedules.trapezoid(0.1, 9, 8, 2), "a fall of 1 to 7 steps"),
        (lambda: schedules.one_cycle(0.1, 9, anneal="cos"), "anneal 'cos': give cosine or linear"),
        (lambda: schedules.one_cycle(0.1, 3), "a part has no steps"),
        (lambda: schedules.one_cycle(0.1, 90, pct_start=0.6, three_phase=True), "no steps"),
    ],
)
def test_what_cannot_be_done_is_refused(make, says):
    with pytest.raises(UsageError, match=says):
        make()


def test_a_recipe_finds_the_schedules_in_the_package():
    assert train.schedules is schedules
