"""What XLA simplifies away is not counted: against XLA's own count after it has simplified."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxeff.compute import step_cost
from tests.compute.programs import shape

# Programs of an array [4, 5], and the operations that XLA leaves.
SIMPLIFIED = {
    "times one": (lambda x: x * jnp.ones((4, 5)), 0),
    "plus zero": (lambda x: jnp.zeros((4, 5)) + x, 0),
    "minus zero": (lambda x: x - 0.0, 0),
    "over one": (lambda x: x / 1.0, 20),
    "times zero": (lambda x: x * 0.0, 20),
    "constants": (lambda x: x + jnp.sqrt(jnp.full((4, 5), 2.0)) * 3, 20),
    "one after all": (lambda x: x * (jnp.full((4, 5), 0.25) * 4), 0),
    "constants that stay": (lambda x: x + jnp.expm1(jnp.full((4, 5), 2.0)), 20),
    "in a loop": (
        lambda x: lax.scan(lambda c, _: (c * 1.0 + c, None), x, None, length=1, unroll=0)[0],
        20,
    ),
    "in a function of its own": (lambda x: jax.jit(lambda a, b: a * b)(x, 1.0), 20),
}


@pytest.mark.parametrize("name", SIMPLIFIED)
def test_what_xla_simplifies_away_is_not_counted(name):
    function, flops = SIMPLIFIED[name]
    cost = step_cost(function, shape(4, 5))
    assert cost.flops == cost.xla_flops == flops
    assert cost.unexplained == 0


def test_a_selection_by_a_constant_is_not_counted():
    def selected(x):
        return lax.select(jnp.full((4, 5), True), x, x * 2) + 1

    cost = step_cost(selected, shape(4, 5))
    # XLA also drops the operand that is not selected, which the walk does not see.
    assert cost.flops == 20 + 20
    assert cost.xla_flops == 20
    assert cost.unexplained == -20
