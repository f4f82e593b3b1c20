import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeff.nn import BatchNorm, native_forms


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


@pytest.mark.parametrize("devices", [1, 4])
def test_gradients_on_cpu_are_those_that_jax_derives_from_the_native_form(devices):
    """Of the result and of the running statistics, in float64; the last channel is constant."""
    rng = np.random.default_rng(1)
    images = _images().astype(np.float64).reshape(devices, -1, 3, 3, 5)
    images[..., 4] = 0.3
    layer = BatchNorm(axis_name="devices" if devices > 1 else None)
    variables = layer.init(jax.random.key(0), images[0])
    variables["params"] = jax.tree.map(
        lambda leaf: rng.uniform(0.5, 2, leaf.shape).astype(np.float32), variables["params"]
    )
    weights = rng.standard_normal(images.shape)

    def loss(params, part, weights):
        stats = {"batch_stats": variables["batch_stats"]}
        got, updated = layer.apply(
            {"params": params, **stats}, part, train=True, mutable=["batch_stats"]
        )
        return (got * weights).sum() + sum(
            (leaf * 7).sum() for leaf in jax.tree.leaves(updated["batch_stats"])
        )

    def gradients():
        gradient = jax.grad(loss, argnums=(0, 1))
        if devices == 1:
            return gradient(variables["params"], images[0], weights[0])
        mapped = jax.vmap(gradient, in_axes=(None, 0, 0), axis_name="devices")
        return mapped(variables["params"], images, weights)

    with jax.enable_x64(True):
        ours = gradients()
        with native_forms():
            expected = gradients()
    for got, want in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert np.abs(want).max() > 0.1
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
