import jax
import jax.numpy as jnp
import numpy as np

from jaxeff.nn import gradient_apart
from jaxeff.nn.apart import apart


def _block(apart):
    """Layers that each read all that the earlier ones made."""

    def loss(x, weights):
        for weight in weights:
            x = apart(x)
            new = jnp.tanh(x * jnp.mean(x, 0)) @ weight
            x = jnp.concatenate([x, new], axis=-1)
        return jnp.sum(jnp.square(x))

    return jax.jit(jax.grad(loss, argnums=(0, 1)))


def _arguments(layers):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 8)).astype(np.float32)
    return x, [rng.standard_normal((8 + 4 * i, 4)).astype(np.float32) * 0.1 for i in range(layers)]


def test_values_and_gradients_stay():
    arguments = _arguments(5)
    expected = _block(lambda x: x)(*arguments)
    for got, wanted in zip(
        jax.tree.leaves(_block(gradient_apart)(*arguments)), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_a_gradient_that_is_not_a_number_stays_one():
    gradient = jax.grad(lambda x: jnp.sum(gradient_apart(x) * jnp.float32(jnp.nan)))(jnp.ones(3))
    assert np.isnan(gradient).all()


def test_the_program_of_a_dense_block_grows_no_faster_than_its_depth():
    def operations(apart, layers):
        program = _block(apart).lower(*_arguments(layers)).compile()
        return program.as_text().count(" = ")

    grown = operations(gradient_apart, 16) - operations(gradient_apart, 8)
    assert grown < 1.5 * operations(gradient_apart, 8)
    without = operations(lambda x: x, 16) - operations(lambda x: x, 8)
    assert without > 1.5 * grown


def test_what_stands_apart_has_its_value():
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(apart(jnp.transpose, x, after=x), np.transpose(x))
    two = apart(lambda a, b: 2 * a + b, x, jnp.ones(3), after=jnp.float32(0))
    np.testing.assert_array_equal(two, 2 * x + 1)
