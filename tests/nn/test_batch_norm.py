import jax
import jax.numpy as jnp
import numpy as np

from jaxeff.nn import BatchNorm


def _images(batch=8):
    rng = np.random.default_rng(0)
    return (rng.standard_normal((batch, 3, 3, 5)) * 4 + 2).astype(np.float32)


def test_training_normalises_and_updates_as_pytorch_does():
    images = _images()
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), images)
    got, updated = layer.apply(variables, images, train=True, mutable=["batch_stats"])
    mean, variance = images.mean((0, 1, 2)), images.var((0, 1, 2))
    unbiased = images.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(got, (images - mean) / np.sqrt(variance + 1e-5), atol=1e-4)
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 * 1 + 0.1 * unbiased, rtol=1e-5)


def test_evaluation_uses_running_statistics_and_leaves_them():
    images = _images()
    layer = BatchNorm()
    variables = {
        "params": {"scale": jnp.full(5, 2.0), "bias": jnp.full(5, 3.0)},
        "batch_stats": {"mean": jnp.full(5, 1.0), "var": jnp.full(5, 4.0)},
    }
    got = layer.apply(variables, images, train=False)
    np.testing.assert_allclose(got, (images - 1) / np.sqrt(4 + 1e-5) * 2 + 3, rtol=1e-5, atol=1e-5)


def test_statistics_are_those_of_the_global_batch_however_it_is_split():
    images = _images()
    whole, split = BatchNorm(), BatchNorm(axis_name="devices")
    variables = whole.init(jax.random.key(0), images)

    def apply(layer, images):
        return layer.apply(variables, images, train=True, mutable=["batch_stats"])

    expected, stats = apply(whole, images)
    got, split_stats = jax.vmap(lambda part: apply(split, part), axis_name="devices")(
        images.reshape(4, 2, 3, 3, 5)
    )
    np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    for one, four in zip(jax.tree.leaves(stats), jax.tree.leaves(split_stats), strict=True):
        np.testing.assert_allclose(four, np.broadcast_to(one, four.shape), rtol=1e-5)


def test_statistics_stay_float32_in_bfloat16():
    layer = BatchNorm(dtype=jnp.bfloat16)
    images = _images().astype(jnp.bfloat16)
    variables = layer.init(jax.random.key(0), images)
    got, updated = layer.apply(variables, images, train=True, mutable=["batch_stats"])
    assert got.dtype == jnp.bfloat16
    leaves = jax.tree.leaves((variables, updated))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}
