import jax
import jax.numpy as jnp
import pytest

import models
from jaxeff.errors import UsageError


def _variables(module, size=224):
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), images), images


NAMES = [
    pytest.param(name, marks=() if name in models.select("paper") else pytest.mark.slow)
    for name in models.names()
]


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_float32_and_parameters_too_whatever_the_arithmetic(name):
    module = models.create(name, num_classes=7, dtype=jnp.bfloat16)
    variables, images = _variables(module, size=64)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    logits = jax.eval_shape(module.apply, variables, images)
    assert (logits.shape, logits.dtype) == ((1, 7), jnp.float32)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"'shufflenet_v3'.*shufflenet_v2"):
        models.create("shufflenet_v3")
