import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeff.nn import adaptive_average_pool, max_pool
from jaxeff.nn import pool as pool_forms


@pytest.mark.parametrize(("size", "window", "stride", "padding"), [(9, 3, 2, 1), (8, 2, 2, 0)])
def test_max_pool_and_its_gradient_equal_the_native_form(size, window, stride, padding):
    rng = np.random.default_rng(0)
    images = rng.permutation(2 * size * size * 3).reshape(2, size, size, 3).astype(np.float32) - 150
    form = {"window": window, "stride": stride, "padding": padding}
    weights = rng.standard_normal(max_pool(images, **form).shape).astype(np.float32)
    results = [
        jax.value_and_grad(lambda images, pool=pool: (pool(images, **form) * weights).sum())(images)
        for pool in (max_pool, pool_forms._native_max_pool)
    ]
    for ours, native in zip(*results, strict=True):
        np.testing.assert_allclose(ours, native, rtol=1e-5)


def test_max_pool_padding_never_wins():
    assert (max_pool(jnp.full((1, 4, 4, 1), -5.0), 3, 2, 1) == -5).all()


def test_adaptive_average_pool_uses_pytorchs_windows():
    rows = jnp.arange(7.0).reshape(1, 7, 1, 1).repeat(7, axis=2)
    pooled = adaptive_average_pool(rows, 3)
    # Rows 0-2, 2-4 and 4-6: floor(7 i / 3) up to ceil(7 (i + 1) / 3).
    np.testing.assert_allclose(pooled[0, :, 0, 0], [1.0, 3.0, 5.0])


def test_adaptive_average_pool_repeats_what_is_smaller():
    np.testing.assert_allclose(adaptive_average_pool(jnp.full((1, 1, 1, 2), 4.0), 6), 4.0)
    assert adaptive_average_pool(jnp.zeros((1, 1, 1, 2)), 6).shape == (1, 6, 6, 2)
