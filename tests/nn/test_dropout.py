import jax
import numpy as np

from jaxeff.nn import Dropout

KEY = jax.random.key(3)


def test_keeps_the_expected_value_and_drops_the_given_fraction():
    inputs = np.ones((64, 1000), np.float32)
    kept = Dropout(0.3).apply({}, inputs, train=True, rngs={"dropout": KEY})
    assert abs((kept == 0).mean() - 0.3) < 0.01
    np.testing.assert_allclose(np.unique(kept), [0, 1 / 0.7], rtol=1e-6)


def test_evaluation_passes_through():
    inputs = np.ones((4, 10), np.float32)
    np.testing.assert_array_equal(Dropout(0.5).apply({}, inputs, train=False), inputs)


def test_the_mask_does_not_depend_on_how_the_batch_is_split():
    inputs = np.ones((8, 50), np.float32)
    whole = Dropout(0.5).apply({}, inputs, train=True, rngs={"dropout": KEY})

    def part(inputs):
        return Dropout(0.5, "devices").apply({}, inputs, train=True, rngs={"dropout": KEY})

    split = jax.vmap(part, axis_name="devices")(inputs.reshape(4, 2, 50))
    np.testing.assert_array_equal(split.reshape(8, 50), whole)


def test_images_of_a_batch_have_different_masks():
    kept = Dropout(0.5).apply({}, np.ones((2, 200)), train=True, rngs={"dropout": KEY})
    assert (kept[0] != kept[1]).any()
