import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxeff import train
from jaxeff.errors import UsageError
from jaxeff.train import RECIPES, Recipe, Timetable, check_optimizer, phase, resolve
from jaxeff.train.description import describe
from models.vgg import VARIANTS


def _rates(name, model, *, epochs=90, steps_per_epoch=10, **given):
    recipe = resolve(
        name, model, train_examples=256 * steps_per_epoch, epochs=epochs, batch_size=256, **given
    )
    return recipe.schedule


def test_paper_recipe_is_the_pytorch_example_with_a_smooth_decay():
    recipe = resolve("paper", "resnet50", train_examples=2560)
    assert (recipe.epochs, recipe.batch_size, recipe.lr) == (90, 256, 0.1)
    chain = str(describe(recipe.optimizer))
    assert "'decay': 0.9" in chain
    assert "'weight_decay': 0.0001" in chain
    rate = _rates("paper", "resnet50")
    np.testing.assert_allclose(rate(0), 0.1, rtol=1e-6)
    np.testing.assert_allclose(rate(450), 0.1 / np.sqrt(1000), rtol=1e-5)
    np.testing.assert_allclose(rate(900), 0.1 / 1000, rtol=1e-5)


def test_alexnet_steps_down_by_ten_every_thirty_epochs_from_a_hundredth():
    rate = _rates("paper", "alexnet")
    rates = [float(rate(step)) for step in (0, 299, 301, 599, 601, 899)]
    np.testing.assert_allclose(rates, [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4], rtol=1e-5)


@pytest.mark.parametrize("model", ["googlenet", "vgg11", "vgg16"])
def test_those_of_a_low_rate_fall_smoothly_from_a_hundredth(model):
    rate = _rates("paper", model)
    np.testing.assert_allclose([rate(0), rate(450)], [0.01, 0.01 / np.sqrt(1000)], rtol=1e-5)


@pytest.mark.parametrize("name", ["small", "cifar"])
def test_every_vgg_without_batch_norm_is_trained_alike(name):
    recipes = {model: resolve(name, model, train_examples=1000) for model in VARIANTS}
    chains = {model: str(describe(recipe.optimizer)) for model, recipe in recipes.items()}
    for model, recipe in recipes.items():
        alike = "vgg11_bn" if model.endswith("_bn") else "vgg11"
        assert (recipe.lr, chains[model]) == (recipes[alike].lr, chains[alike])
    assert "scale_by_adam" in chains["vgg19"]
    assert "scale_by_adam" not in chains["vgg19_bn"]


def test_the_step_schedule_is_of_every_model():
    rate = _rates("paper_step", "resnet50")
    np.testing.assert_allclose([rate(299), rate(301)], [0.1, 0.01], rtol=1e-5)


def test_warmup_rises_linearly_before_the_schedule():
    rate = _rates("small", "shufflenet_v2", epochs=20, lr=1.0)
    np.testing.assert_allclose([rate(0), rate(5), rate(10)], [0, 0.5, 1], atol=1e-6)
    np.testing.assert_allclose([rate(105), rate(200)], [0.5, 0], atol=1e-6)


def test_a_run_shorter_than_its_warmup_has_a_schedule():
    rate = _rates("small", "shufflenet_v2", epochs=0.5)
    assert all(np.isfinite(rate(step)) for step in range(6))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_any_model(name):
    recipe = resolve(name, "a_users_own", train_examples=1000)
    assert recipe.name == name
    check_optimizer(recipe.optimizer)


def test_what_the_user_sets_wins_over_the_exceptions():
    assert resolve("paper", "alexnet", train_examples=1000, lr=0.3).lr == 0.3
    assert resolve("small", "resnet50", train_examples=1000, batch_size=32).batch_size == 32


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("papr", {}, "unknown recipe 'papr': did you mean paper"),
        ("paper", {"lr": -1.0}, "--lr=-1.0: give a number above 0"),
        ("paper", {"epochs": float("nan")}, "--epochs=nan"),
        (lambda model_name, steps_per_epoch: _own(), {"lr": 0.1}, "takes no argument lr"),
        (lambda model_name, steps_per_epoch: 3, {}, "returned int: return a jaxeff.train.Recipe"),
        (lambda name, steps: _own(batch_size=round(1e4 / steps)), {}, "another batch size each"),
    ],
)
def test_a_wrong_recipe_or_value_says_what_to_do(name, overrides, message):
    with pytest.raises(UsageError, match=message):
        resolve(name, "resnet50", train_examples=1000, **overrides)


def _own(**fields):
    values = {"name": "own", "epochs": 2, "batch_size": 50, "optimizer": optax.sgd(0.1)}
    return Recipe(**values | fields)


def test_a_recipe_is_told_the_steps_of_an_epoch_of_its_own_batch_size():
    told = []

    def recipe(model_name, steps_per_epoch, train_examples, num_classes):
        told.append((model_name, steps_per_epoch, train_examples, num_classes))
        return _own()

    facts = {"num_classes": 7, "image_size": 32}
    resolve(recipe, "net", train_examples=1000, facts=facts)
    assert told[-1] == ("net", 20.0, 1000, 7)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"phases": (phase(1, batch_size=0),)}, "batch_size is 0"),
        ({"phases": (phase(2),)}, r"phases begin at epochs \[2\]"),
        ({"phases": (phase(1), phase(0.5))}, "phases begin"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"label_smoothing": 0.1, "loss": lambda logits, labels: 0.0}, "beside label_smoothing"),
        ({"ema": train.Ema(1.0)}, "decay of the average is 1.0"),
        ({"optimizer": 0.1}, "optimizer is of type float: give an Optax"),
    ],
)
def test_a_recipe_out_of_range_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        _own(**fields)


@pytest.mark.parametrize(
    ("tx", "message"),
    [
        (optax.scale(jnp.nan), "number 1 is not finite"),
        (optax.scale_by_schedule(lambda step: jnp.where(step == 1, jnp.inf, 1.0)), "number 2"),
        (
            optax.stateless(lambda updates, _: jax.tree.map(lambda u: u.ravel(), updates)),
            "shapes of the parameters",
        ),
    ],
)
def test_a_broken_optimizer_is_found_before_it_costs(tx, message):
    with pytest.raises(ValueError, match=message):
        check_optimizer(tx)


@pytest.mark.parametrize("seed", range(20))
def test_a_timetable_is_what_counting_step_by_step_gives(seed):
    """An oracle takes steps one by one and looks at the examples seen."""
    rng = np.random.default_rng(seed)
    examples, epochs = int(rng.integers(5, 200)), float(rng.choice([1.0, 2.5, 4.0]))
    starts = sorted({round(float(start), 2) for start in rng.uniform(0, epochs * 0.9, 3)})
    phases = tuple(
        phase(start, batch_size=int(rng.integers(1, 40)), image_size=8 * i)
        for i, start in enumerate(starts)
    )
    table = Timetable(examples, epochs, int(rng.integers(1, 40)), phases)

    seen, sizes, at = 0, [], []
    while seen < epochs * examples - 1e-6:
        begun = [p for p in phases if seen >= p.from_epoch * examples - 1e-6]
        sizes.append(begun[-1].batch_size if begun else table.batch_size)
        at.append(begun[-1].changes if begun else {})
        seen += sizes[-1]
    assert table.total_steps == len(sizes)
    by_span = [
        (span.batch_size, dict(span.changes), span.from_example + i * span.batch_size)
        for span in table.spans()
        for i in range(span.to_step - span.from_step)
    ]
    passed = np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist()
    assert by_span == list(zip(sizes, at, passed, strict=True))
    for step in range(len(sizes)):
        assert table.span_at(step).batch_size == sizes[step]


def test_an_average_warms_up_and_then_decays():
    """In 64 bits, by the words of its docstring."""
    ema, expected, average = train.Ema(0.9), np.float64(5.0), {"a": jnp.float32(5.0)}
    for step, value in enumerate(np.linspace(1, 2, 150)):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        average = ema.update(average, {"a": jnp.float32(value)}, jnp.int32(step))
        if step == 4:  # It has all but forgotten where it began.
            assert abs(float(average["a"]) - value) < 0.1
    np.testing.assert_allclose(average["a"], expected, rtol=1e-5)


def test_recipes_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        _own().epochs = 3
