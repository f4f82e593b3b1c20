import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxeff import train
from jaxeff.train.description import describe
from jaxeff.train.optimizers import sgd


def test_sgd_takes_pytorchs_steps():
    """torch.optim.SGD's documented update, written out in NumPy."""
    rates, momentum, decay = [0.1, 0.1, 0.02], 0.9, 1e-2
    rng = np.random.default_rng(0)
    start = {"kernel": rng.standard_normal((3, 2)), "bias": rng.standard_normal(2)}
    gradients = [{k: rng.standard_normal(v.shape) for k, v in start.items()} for _ in rates]

    tx = sgd(lambda step: np.float32(rates)[step], momentum, decay)
    params = {k: v.astype(np.float32) for k, v in start.items()}
    state = tx.init(params)
    for gradient in gradients:
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)

    for key, p in start.items():
        buffer = None
        for rate, gradient in zip(rates, gradients, strict=True):
            g = gradient[key] + decay * p
            buffer = g if buffer is None else momentum * buffer + g
            p = p - rate * buffer
        np.testing.assert_allclose(params[key], p, rtol=1e-5)


def _mask(params):
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


@pytest.mark.parametrize(
    ("tx", "expected"),
    [
        (
            optax.chain(optax.clip_by_global_norm(1.0), optax.scale(-0.1)),
            {"chain": [{"clip_by_global_norm": {"max_norm": 1.0}}, {"scale": {"step_size": -0.1}}]},
        ),
        (
            optax.masked(optax.add_decayed_weights(0.05), _mask),
            {"masked": {"inner": {"add_decayed_weights": {"weight_decay": 0.05}}, "mask": "_mask"}},
        ),
        (optax.identity(), "identity"),
    ],
)
def test_a_description_is_the_call_that_made_the_transformation(tx, expected):
    assert describe(tx) == expected


NUMBERS = {
    "adamw": (optax.adamw(0.0123, b1=0.87, b2=0.98, weight_decay=0.056, mask=_mask), 4),
    "lamb": (optax.lamb(0.0123, b1=0.87, b2=0.98, weight_decay=0.056), 4),
    "lion": (optax.lion(0.0123, b1=0.87, b2=0.98, weight_decay=0.056), 4),
    "adafactor": (optax.adafactor(0.0123, decay_rate=0.87, clipping_threshold=0.98), 3),
    "muon": (optax.contrib.muon(0.0123, beta=0.87, adam_b1=0.98), 3),
    "schedule_free": (optax.contrib.schedule_free_sgd(0.0123, b1=0.87), 2),
    "lookahead": (optax.lookahead(optax.sgd(0.0123), 7, 0.87), 2),
    "MultiSteps": (optax.MultiSteps(optax.sgd(0.0123, 0.87), 3), 2),
    "inject": (optax.inject_hyperparams(optax.adam)(0.0123, b1=0.87), 2),
    "schedule": (optax.sgd(optax.warmup_cosine_decay_schedule(0.0123, 0.87, 5, 50)), 2),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_of_an_optimizer_is_in_its_description(name):
    tx, count = NUMBERS[name]
    text = json.dumps(describe(tx), allow_nan=False)
    for number in ("0.0123", "0.87", "0.98", "0.056")[:count]:
        assert number in text, text


ARGUMENTS = ((), (0.1,), (0.1, 10, 0.5), (0.1, {3: 0.1}), (optax.sgd(0.1),), (optax.sgd(0.1), 3))


def _made_by(constructor):
    """What a function of Optax returns for the first arguments that suit it; None without any."""
    for arguments in ARGUMENTS:
        try:
            made = constructor(*arguments)
        except Exception:  # Which arguments it wants is its own affair.
            continue
        if hasattr(made, "update") and hasattr(made, "init"):
            return made
        if "schedule" in constructor.__name__ and callable(made):
            return made
    return None


@pytest.mark.filterwarnings("ignore")
def test_everything_that_optax_makes_can_be_described():
    described = 0
    for module in (optax, optax.contrib):
        for name, constructor in inspect.getmembers(module, inspect.isfunction):
            made = None if name.startswith("_") else _made_by(constructor)
            if made is not None:
                text = json.dumps(describe(made), allow_nan=False)
                assert " at 0x" not in text, (name, text)
                described += 1
    assert described > 100


def test_two_optimizers_that_differ_in_one_number_differ_in_their_description():
    assert describe(optax.adamw(0.1)) != describe(optax.adamw(0.1, eps=1e-7))
    assert describe(optax.scale_by_schedule(optax.cosine_decay_schedule(0.1, 10))) != describe(
        optax.scale_by_schedule(optax.cosine_decay_schedule(0.1, 11))
    )


def test_arrays_are_described_by_their_digest():
    def table(values):
        return optax.scale_by_schedule(lambda step: values[step])

    first, second = describe(table(jnp.arange(3.0))), describe(table(jnp.arange(3.0) + 1))
    assert first != second
    assert "sha256" in json.dumps(first)


def test_the_recipes_optimizer_is_described_with_its_schedule():
    recipe = train.resolve("small", "tiny", train_examples=640, epochs=2, lr=0.3)
    text = json.dumps(describe(recipe.optimizer))
    for part in ('"weight_decay": 0.0005', '"decay": 0.9', '"init_value": 0.3', "cosine_decay"):
        assert part in text
