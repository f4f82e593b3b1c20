"""Each rule of the table against XLA's analysis of that operation alone, and a worked number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxeff.compute import step_cost, xla_rules
from jaxeff.compute.operations import operations
from jaxeff.compute.xla import xla_cost
from jaxeff.compute.xla_rules import rule
from tests.compute.programs import shape

X = shape(4, 5)
I = shape(4, 5, dtype=jnp.int32)  # noqa: E741
B = shape(4, 5, dtype=bool)
SCALAR = shape()

# primitive: (function, arguments, operations, transcendental functions). An element-wise operation
# on 20 elements is 20.
RULES = {
    "abs": (lax.abs, (X,), 20, 0),
    "add": (lax.add, (X, X), 20, 0),
    "add_any": (lambda x: jax.vjp(lambda x: (x, x), x)[1]((x, x)), (X,), 20, 0),
    "and": (lax.bitwise_and, (B, B), 20, 0),
    "atan2": (lax.atan2, (X, X), 0, 20),
    "bitcast_convert_type": (lambda x: lax.bitcast_convert_type(x, jnp.int32), (X,), 20, 0),
    "broadcast_in_dim": (lambda x: lax.broadcast(x, (3,)), (X,), 0, 0),
    "cbrt": (lax.cbrt, (X,), 0, 20),
    "ceil": (lax.ceil, (X,), 20, 0),
    "clamp": (lambda x: lax.clamp(0.0, x, 1.0), (X,), 20, 0),
    "clz": (lax.clz, (I,), 20, 0),
    "concatenate": (lambda x: lax.concatenate([x, x], 0), (X,), 0, 0),
    "conv_general_dilated": (
        lambda x, k: lax.conv(x, k, (1, 1), "SAME"),
        (shape(1, 2, 4, 4), shape(3, 2, 3, 3)),
        2 * 2 * 3 * (3 * 4 - 2) ** 2,
        0,
    ),
    "convert_element_type": (lambda x: x.astype(jnp.bfloat16), (X,), 20, 0),
    "copy": (jnp.copy, (X,), 0, 0),
    "cos": (lax.cos, (X,), 0, 20),
    "cummax": (lambda x: lax.cummax(x, 1), (X,), 20 * 4, 0),
    "cummin": (lambda x: lax.cummin(x, 0), (X,), 20 * 3, 0),
    "cumprod": (lambda x: lax.cumprod(x, 1, reverse=True), (X,), 20 * 4, 0),
    "cumsum": (lambda x: lax.cumsum(x, 1), (X,), 20 * 4, 0),
    "div": (lax.div, (X, X), 20, 0),
    "dot_general": (lambda x, y: lax.dot(x, y), (X, shape(5, 6)), 2 * 4 * 5 * 6, 0),
    "dynamic_slice": (
        lambda x, i: lax.dynamic_slice_p.bind(x, i, i, slice_sizes=(2, 2)),
        (X, shape(dtype=jnp.int32)),
        0,
        0,
    ),
    "dynamic_update_slice": (
        lambda x, y, i: lax.dynamic_update_slice_p.bind(x, y, i, i),
        (X, shape(2, 2), shape(dtype=jnp.int32)),
        0,
        0,
    ),
    "eq": (lax.eq, (X, X), 20, 0),
    "erf": (lax.erf, (X,), 0, 20),
    "exp": (lax.exp, (X,), 0, 20),
    "exp2": (lax.exp2, (X,), 20, 20),
    "expm1": (lax.expm1, (X,), 0, 20),
    "floor": (lax.floor, (X,), 20, 0),
    "ge": (lax.ge, (X, X), 20, 0),
    "gt": (lax.gt, (I, I), 20, 0),
    "integer_pow": (lambda x: lax.integer_pow(x, 7), (X,), 20 * 4, 0),
    "iota": (lambda: lax.iota(jnp.int32, 5), (), 0, 0),
    "is_finite": (lax.is_finite, (X,), 20, 0),
    "le": (lax.le, (X, X), 20, 0),
    "log": (lax.log, (X,), 0, 20),
    "log1p": (lax.log1p, (X,), 0, 20),
    "logistic": (lax.logistic, (X,), 60, 20),
    "lt": (lax.lt, (X, X), 20, 0),
    "max": (lax.max, (X, X), 20, 0),
    "min": (lax.min, (X, X), 20, 0),
    "mul": (lax.mul, (X, X), 20, 0),
    "ne": (lax.ne, (X, X), 20, 0),
    "neg": (lax.neg, (X,), 20, 0),
    "not": (lax.bitwise_not, (B,), 20, 0),
    "or": (lax.bitwise_or, (B, B), 20, 0),
    "pad": (lambda x, y: lax.pad(x, y, ((1, 1, 0), (0, 0, 1))), (X, SCALAR), 0, 0),
    "population_count": (lax.population_count, (I,), 20, 0),
    "pow": (lax.pow, (X, X), 0, 20),
    "reduce_and": (lambda x: lax.reduce_and(x, (0,)), (B,), 20 - 5, 0),
    "reduce_max": (lambda x: lax.reduce_max(x, (1,)), (X,), 20 - 4, 0),
    "reduce_min": (lambda x: lax.reduce_min(x, (0, 1)), (X,), 20 - 1, 0),
    "reduce_or": (lambda x: lax.reduce_or(x, (1,)), (B,), 20 - 4, 0),
    "reduce_precision": (lambda x: lax.reduce_precision(x, 5, 10), (X,), 20, 0),
    "reduce_prod": (lambda x: lax.reduce_prod(x, (1,)), (X,), 20 - 4, 0),
    "reduce_sum": (lambda x: lax.reduce_sum(x, (0,)), (X,), 20 - 5, 0),
    "reduce_xor": (lambda x: lax.reduce_xor(x, (0,)), (I,), 20 - 5, 0),
    "reduce_window_max": (
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 3), (1, 1), "SAME"),
        (X,),
        20 * (6 - 1),
        0,
    ),
    "reduce_window_min": (
        lambda x: lax.reduce_window(x, jnp.inf, lax.min, (2, 2), (2, 2), "VALID"),
        (X,),
        4 * (4 - 1),
        0,
    ),
    "reduce_window_sum": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 2), (1, 1), "VALID"),
        (X,),
        12 * (4 - 1),
        0,
    ),
    "rem": (lax.rem, (X, X), 20, 0),
    "reshape": (lambda x: lax.reshape(x, (20,)), (X,), 0, 0),
    "rev": (lambda x: lax.rev(x, (0,)), (X,), 0, 0),
    "round": (lax.round, (X,), 20, 0),
    "rsqrt": (lax.rsqrt, (X,), 0, 20),
    "select_and_scatter_add": (
        lambda y, x: jax.vjp(
            lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (2, 2), "VALID"), x
        )[1](y)[0],
        (shape(2, 2), X),
        4 * 4,
        0,
    ),
    "select_n": (lax.select, (B, X, X), 20, 0),
    "shift_left": (lax.shift_left, (I, I), 20, 0),
    "shift_right_arithmetic": (lax.shift_right_arithmetic, (I, I), 20, 0),
    "shift_right_logical": (lax.shift_right_logical, (I, I), 20, 0),
    "sign": (lax.sign, (X,), 20, 0),
    "sin": (lax.sin, (X,), 0, 20),
    "slice": (lambda x: lax.slice(x, (1, 1), (3, 4)), (X,), 0, 0),
    "sort": (lax.sort, (X,), 20 * 5, 0),
    "split": (lambda x: lax.split(x, (2, 3), 1), (X,), 0, 0),
    "sqrt": (lax.sqrt, (X,), 0, 20),
    "square": (lax.square, (X,), 20, 0),
    "squeeze": (lambda x: lax.squeeze(x, (0,)), (shape(1, 5),), 0, 0),
    "stop_gradient": (lax.stop_gradient, (X,), 0, 0),
    "sub": (lax.sub, (X, X), 20, 0),
    "tan": (lax.tan, (X,), 0, 20),
    "tanh": (lax.tanh, (X,), 0, 20),
    "tile": (lambda x: jnp.tile(x, (2, 1)), (X,), 0, 0),
    "top_k": (lambda x: lax.top_k(x, 2), (X,), 0, 0),
    "transpose": (lambda x: lax.transpose(x, (1, 0)), (X,), 0, 0),
    "xor": (lax.bitwise_xor, (B, B), 20, 0),
}
FURTHER = {
    "convert to the same type": (lambda x: lax.convert_element_type(x, jnp.float32), (X,), 0, 0),
    "power, negative": (lambda x: lax.integer_pow(x, -2), (X,), 20 * 2, 0),
    "power, first": (lambda x: lax.integer_pow(x, 1), (X,), 0, 0),
    "power, integer exponent": (lax.pow, (X, I), 20, 20),
    "power, scalar base": (lambda i: lax.pow(jnp.float32(0.9), i), (I,), 20, 20),
    "product of integers": (lax.dot, (I, shape(5, 6, dtype=jnp.int32)), 240, 0),
    "product in bfloat16": (
        lambda x, y: lax.dot(x, y, preferred_element_type=jnp.float32),
        (shape(4, 5, dtype=jnp.bfloat16), shape(5, 6, dtype=jnp.bfloat16)),
        240,
        0,
    ),
    "selection among three": (
        lambda i, x, y, z: lax.select_n(i, x, y, z),
        (I, X, X, X),
        20 * 4,
        0,
    ),
    "selection by a number": (
        lambda i, x, y: lax.select_n(i, x, y),
        (shape(4, 5, dtype=jnp.int32), X, X),
        20 * 2,
        0,
    ),
    "sort by key": (lambda x, y: lax.sort((x, y), num_keys=1), (X, X), 20 * 5, 0),
    "sum of one": (lambda x: lax.reduce_sum(x, (0,)), (shape(1, 5),), 0, 0),
}


@pytest.mark.parametrize("name", [*RULES, *FURTHER])
def test_the_rule_is_what_xla_counts(name):
    function, args, flops, transcendentals = {**RULES, **FURTHER}[name]
    traced = jax.jit(function).trace(*args)
    steps = operations(traced.jaxpr).operations
    if name in RULES and steps:  # JAX itself drops some that do nothing
        assert name in {step.primitive for step in steps}
    ours = [rule(step.eqn) for step in steps]
    assert sum(each.flops for each in ours) == flops
    assert sum(each.transcendentals for each in ours) == transcendentals
    xla = xla_cost(traced)
    assert (xla.flops, xla.transcendentals) == (flops, transcendentals)


def test_every_rule_of_the_table_is_tested():
    between_devices = set(
        """all_gather all_gather_invariant all_to_all pbroadcast pcast platform_index pmax pmin
        ppermute psum psum_invariant pvary reduce_scatter reshard sharding_constraint device_put
        copy_p expand_dims""".split()  # noqa: SIM905
    )
    table = {*xla_rules._MOVES, *xla_rules._ELEMENTWISE, *xla_rules._TRANSCENDENTAL}
    assert {*table, *xla_rules._EXACT} - between_devices == set(RULES)


def test_what_xla_expands_is_read_off_xla():
    traced = jax.jit(lax.erf_inv).trace(X)
    (step,) = operations(traced.jaxpr).operations
    assert rule(step.eqn).kind == xla_rules.EXPANDED
    assert rule(step.eqn).flops == xla_cost(traced).flops > 20


def test_what_xla_does_not_count_is_named():
    factors = step_cost(lambda x: lax.linalg.lu(x)[0], shape(4, 4))
    assert factors.uncounted == ("LuDecomposition in the function itself",)


def test_positions_of_a_convolution_are_those_of_all_pairs():
    random = np.random.default_rng(0)
    for _ in range(500):
        inputs, taps, outputs = random.integers(0, 10, 3)
        hole, stride, dilation = random.integers(1, 7, 3)
        first = np.arange(taps) * dilation - random.integers(-4, 10)
        position = np.arange(outputs)[:, None] * stride + first
        valid = (position % hole == 0) & (position >= 0) & (position < inputs * hole)
        settings = {"hole": int(hole), "stride": int(stride)}
        assert xla_rules._valid_pairs(first, inputs, int(outputs), **settings) == valid.sum()


def test_a_convolution_as_long_as_its_sequence_needs_no_array_of_pairs():
    n = 2**17

    def causal(x, kernel):
        numbers = ("NWC", "WIO", "NWC")
        return lax.conv_general_dilated(
            x, kernel, (1,), ((n - 1, 0),), dimension_numbers=numbers, feature_group_count=2
        )

    cost = step_cost(causal, shape(1, n, 2), shape(n, 1, 2))
    assert cost.macs == 2 * n * n
    assert cost.flops == 2 * 2 * (n * (n + 1) // 2)
