import numpy as np
import pytest

from jaxeff.errors import UsageError
from jaxeff.train import RECIPES, resolve
from jaxeff.train.optimizer import SCHEDULES, learning_rate


def test_paper_recipe_is_the_pytorch_example_with_a_smooth_decay():
    recipe = resolve("paper", "resnet50")
    assert (recipe.epochs, recipe.batch_size, recipe.momentum, recipe.weight_decay) == (
        90,
        256,
        0.9,
        1e-4,
    )
    rate = learning_rate(recipe, total_steps=900, steps_per_epoch=10)
    np.testing.assert_allclose(rate(0), 0.1, rtol=1e-6)
    np.testing.assert_allclose(rate(450), 0.1 / np.sqrt(1000), rtol=1e-5)
    np.testing.assert_allclose(rate(900), 0.1 / 1000, rtol=1e-5)


def test_alexnet_steps_down_by_ten_every_thirty_epochs_from_a_hundredth():
    recipe = resolve("paper", "alexnet")
    rate = learning_rate(recipe, total_steps=900, steps_per_epoch=10)
    rates = [float(rate(step)) for step in (0, 299, 301, 599, 601, 899)]
    np.testing.assert_allclose(rates, [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4], rtol=1e-5)


@pytest.mark.parametrize("model", ["googlenet", "vgg11"])
def test_the_others_without_normalisation_fall_smoothly_from_a_hundredth(model):
    recipe = resolve("paper", model)
    assert (recipe.lr, recipe.schedule) == (0.01, "exponential")


def test_warmup_rises_linearly_before_the_schedule():
    recipe = resolve("small", "shufflenet_v2", lr=1.0)
    rate = learning_rate(recipe, total_steps=200, steps_per_epoch=10)
    np.testing.assert_allclose([rate(0), rate(5), rate(10)], [0, 0.5, 1], atol=1e-6)
    np.testing.assert_allclose([rate(105), rate(200)], [0.5, 0], atol=1e-6)


def test_a_run_shorter_than_its_warmup_has_a_schedule():
    recipe = resolve("small", "shufflenet_v2", epochs=0.5)
    rate = learning_rate(recipe, total_steps=5, steps_per_epoch=10)
    assert all(np.isfinite(rate(step)) for step in range(6))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_a_known_schedule(name):
    assert RECIPES[name].schedule in SCHEDULES


def test_what_the_user_sets_wins_over_the_exceptions():
    assert resolve("paper", "alexnet", lr=0.3).lr == 0.3


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("papr", {}, "unknown recipe 'papr': did you mean paper"),
        ("paper", {"lr": -1.0}, "--lr=-1.0: give a number above 0"),
        ("paper", {"epochs": float("nan")}, "--epochs=nan"),
    ],
)
def test_a_wrong_recipe_or_value_says_what_to_do(name, overrides, message):
    with pytest.raises(UsageError, match=message):
        resolve(name, "resnet50", **overrides)
