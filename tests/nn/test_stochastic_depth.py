import jax
import jax.numpy as jnp
import numpy as np

from jaxeff.nn import StochasticDepth

KEY = jax.random.key(3)
IMAGES = 2 + np.arange(8 * 3 * 3 * 5, dtype=np.float32).reshape(8, 3, 3, 5)


def _apply(inputs, rate=0.5, axis_name=None, key=KEY):
    layer = StochasticDepth(rate, axis_name)
    return layer.apply({}, inputs, train=True, rngs={"dropout": key})


def test_an_image_is_kept_whole_or_zeroed_whole():
    outputs = np.asarray(_apply(IMAGES))
    kept = (outputs != 0).all((1, 2, 3))
    assert 0 < kept.sum() < 8
    np.testing.assert_array_equal(outputs[kept], 2 * IMAGES[kept])
    np.testing.assert_array_equal(outputs[~kept], 0)


def test_drops_the_given_share_and_keeps_the_expected_value():
    outputs = np.asarray(_apply(np.ones((20_000, 1), np.float32), rate=0.2))
    assert abs((outputs == 0).mean() - 0.2) < 0.012  # Four standard errors.
    np.testing.assert_allclose(np.unique(outputs), [0, 1 / 0.8], rtol=1e-6)
    assert abs(outputs.mean() - 1) < 0.015


def test_evaluation_passes_through():
    outputs = StochasticDepth(0.5).apply({}, IMAGES, train=False)
    np.testing.assert_array_equal(outputs, IMAGES)


def test_rate_zero_passes_through_without_a_random_key():
    outputs = StochasticDepth(0.0).apply({}, IMAGES, train=True)
    np.testing.assert_array_equal(outputs, IMAGES)


def test_the_choice_does_not_depend_on_how_the_batch_is_split():
    whole = _apply(IMAGES)
    for devices in (2, 4, 8):
        shares = IMAGES.reshape(devices, 8 // devices, 3, 3, 5)
        split = jax.vmap(lambda share: _apply(share, axis_name="devices"), axis_name="devices")
        np.testing.assert_array_equal(jax.jit(split)(shares).reshape(IMAGES.shape), whole)


def test_the_choice_changes_from_step_to_step():
    ones = np.ones((64, 1), np.float32)
    first, second = (_apply(ones, key=jax.random.fold_in(KEY, step)) for step in range(2))
    assert (first != second).any()


def test_a_dropped_image_passes_no_gradient():
    gradient = jax.grad(lambda inputs: _apply(inputs).sum())(jnp.asarray(IMAGES))
    np.testing.assert_array_equal(gradient, np.where(_apply(IMAGES) == 0, 0, 2))


def test_keeps_the_dtype():
    assert _apply(jnp.asarray(IMAGES, jnp.bfloat16)).dtype == jnp.bfloat16
