"""Layers are JAX's own operations: forward mode and higher derivatives go through all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxeff.nn import BatchNorm, Conv, Dense, average_pool, global_average_pool, max_pool


class Block(nn.Module):
    """A residual block of ResNet-18 between the layers of a small network."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        conv = functools.partial(Conv, kernel_size=3, padding=1, dtype=self.dtype)
        norm = functools.partial(BatchNorm, dtype=self.dtype)
        x = max_pool(conv(4)(x), 3, 2, 1)
        residual = nn.relu(norm()(conv(4, use_bias=False)(x), train))
        residual = norm()(conv(4, groups=4, use_bias=False)(residual), train)
        x = average_pool(nn.relu(x + residual), 2, 2)
        return Dense(3, dtype=self.dtype)(global_average_pool(x))


def _loss_of(dtype):
    module = Block(dtype)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 3)), dtype)
    variables = module.init(jax.random.key(0), images)

    @jax.jit
    def loss(params):
        logits, _ = module.apply({**variables, "params": params}, images, True, mutable=True)
        return jnp.square(logits).sum()

    return loss, jax.tree.map(lambda leaf: leaf.astype(dtype), variables["params"])


def test_the_directional_derivative_is_that_of_differences():
    with jax.enable_x64(True):
        loss, params = _loss_of(jnp.float64)
        tangent = jax.tree.map(jnp.ones_like, params)
        _, derivative = jax.jvp(loss, (params,), (tangent,))
        step = 1e-6
        ahead, behind = (
            loss(jax.tree.map(lambda p, t, s=sign * step: p + s * t, params, tangent))
            for sign in (1, -1)
        )
        np.testing.assert_allclose(derivative, (ahead - behind) / (2 * step), rtol=1e-5)


def test_a_hessian_vector_product_is_the_same_forward_over_reverse_and_reverse_over_reverse():
    loss, params = _loss_of(jnp.float32)
    tangent = jax.tree.map(jnp.ones_like, params)

    @jax.jit
    def forward(params):
        return jax.jvp(jax.grad(loss), (params,), (tangent,))[1]

    @jax.jit
    @jax.grad
    def reverse(params):
        return sum(leaf.sum() for leaf in jax.tree.leaves(jax.grad(loss)(params)))

    pairs = zip(jax.tree.leaves(forward(params)), jax.tree.leaves(reverse(params)), strict=True)
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
