import jax.numpy as jnp
import numpy as np
import pytest

from jaxeff.errors import UsageError
from jaxeff.train import parse_target
from jaxeff.train.steps import cross_entropy, make_evaluation_step, normalise, top_k_hits


def test_normalise_is_torchvisions_to_tensor_and_normalize():
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (images / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(normalise(images, mean, std), expected, rtol=1e-4, atol=1e-5)


def test_cross_entropy_is_minus_the_log_probability_of_the_label():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    np.testing.assert_allclose(
        cross_entropy(logits, jnp.array([0, 1])), -np.log([0.5, 0.1]), rtol=1e-5
    )


def test_label_smoothing_mixes_in_every_class():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    expected = -(0.9 * np.log(0.5) + 0.1 / 3 * (np.log(0.5) + 2 * np.log(0.25)))
    np.testing.assert_allclose(cross_entropy(logits, jnp.array([0]), 0.1), [expected], rtol=1e-5)


def test_hits_are_where_the_label_ranks():
    logits = jnp.array([[3.0, 1.0, 2.0, 0.0], [3.0, 1.0, 2.0, 0.0]])
    hits = top_k_hits(logits, jnp.array([2, 3]), 3)
    np.testing.assert_array_equal(hits, [[False, True, False], [False, False, False]])


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_network_hits_nothing(broken):
    logits = jnp.full((2, 10), broken)
    assert not top_k_hits(logits, jnp.array([0, 1]), 5).any()


def test_images_that_fill_up_a_batch_do_not_count():
    class Constant:
        def apply(self, variables, images, train):
            return jnp.tile(jnp.array([0.0, 5.0, 1.0]), (len(images), 1))

    step = make_evaluation_step(Constant(), mean=(0, 0, 0), std=(1, 1, 1), axis_name=None)
    batch = {
        "image": np.zeros((4, 2, 2, 3), np.uint8),
        "label": np.array([1, 1, 0, 1]),
        "mask": np.array([True, True, True, False]),
    }
    sums = step({}, {}, batch)
    assert {key: int(value) for key, value in sums.items() if key != "loss"} == {
        "top1": 2,
        "top5": 3,
        "images": 3,
    }
    probability = np.exp([0, 5, 1]) / np.exp([0, 5, 1]).sum()
    expected = -np.log(probability[[1, 1, 0]]).sum()
    np.testing.assert_allclose(sums["loss"], expected, rtol=1e-5)


def test_a_target_is_met_at_and_above_its_value():
    target = parse_target("top5:0.55")
    assert target.is_met({"top5": 5500 / 10000, "top1": 0.1})
    assert not target.is_met({"top5": 5499 / 10000, "top1": 0.9})
    assert str(target) == "top5:0.55"


@pytest.mark.parametrize("text", ["0.791", "top3:0.5", "top5:79.1", "top1:0", "top1:nan", "top1:"])
def test_a_wrong_target_shows_a_right_one(text):
    with pytest.raises(UsageError, match=r"such as top5:0\.791"):
        parse_target(text)
