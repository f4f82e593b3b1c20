import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeff import data, tasks
from jaxeff.tasks.image_classification import cross_entropy, normalise, top_k_hits


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


@pytest.fixture(scope="module")
def task():
    return tasks.ImageClassification(data.load("synthetic"), image_size=16, label_smoothing=0.1)


def test_auxiliary_classifiers_add_three_tenths_of_their_loss(task):
    rng = np.random.default_rng(0)
    main, side = (jnp.array(rng.standard_normal((4, 10)), jnp.float32) for _ in range(2))
    batch = {"label": jnp.arange(4)}
    alone, other = task.loss(main, batch, {}), task.loss(side, batch, {})
    both = task.loss(main, batch, {"auxiliary": {"aux1": (side,)}, "batch_stats": {}})
    np.testing.assert_allclose(both, alone + 0.3 * other, rtol=1e-6)


def test_a_scalar_among_the_auxiliary_terms_is_added_as_it_is(task):
    batch = {"image": jnp.zeros((2, 4, 4, 3)), "label": jnp.array([0, 1])}
    main = jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    terms = {"auxiliary": {"block": {"balance": (jnp.float32(0.25),)}}}
    alone = task.loss(main, batch, {})
    assert task.loss(main, batch, terms) == pytest.approx(alone + 0.25)


def test_a_batch_is_what_the_task_says_it_is(task):
    options = data.StreamOptions(batch_size=6)
    batches = task.train_batches(options, data.Shard())
    batch = next(batches)
    batches.close()
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), batch)
    expected = task.batch_shapes(6)
    assert shapes == {name: (leaf.shape, leaf.dtype) for name, leaf in expected.items()}
    assert task.inputs(batch).shape == (6, 16, 16, 3)


def test_validation_loss_is_without_label_smoothing(task):
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    metrics = task.example_metrics(logits, {"label": jnp.array([0])})
    np.testing.assert_allclose(metrics["loss"], [-np.log(0.5)], rtol=1e-5)
    assert set(metrics) == {metric.name for metric in task.metrics}
