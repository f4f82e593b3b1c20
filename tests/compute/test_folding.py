"""What XLA simplifies away is not counted: against XLA's own count after it has simplified."""

import operator
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxeff.compute import count_macs, step_cost
from tests.compute.programs import shape

X = shape(4, 5)
I = shape(4, 5, dtype=jnp.int32)  # noqa: E741
B = shape(4, 5, dtype=bool)
Z = shape(4, 5, dtype=jnp.complex64)
RAMP = np.arange(20, dtype=np.float32).reshape(4, 5)


def full(value):
    return jnp.full((4, 5), value)


# Programs of arrays [4, 5], and the operations that XLA leaves.
SIMPLIFIED = {
    "times one": (lambda x: x * jnp.ones((4, 5)), (X,), 0),
    "times a one from outside": (lambda x: x * np.ones((4, 5), np.float32), (X,), 0),
    "times one in bfloat16": (
        lambda x: x * full(jnp.bfloat16(1)),
        (X.update(dtype="bfloat16"),),
        0,
    ),
    "plus zero": (lambda x: jnp.zeros((4, 5)) + x, (X,), 0),
    "minus zero": (lambda x: x - 0.0, (X,), 0),
    "over one": (lambda x: x / 1.0, (X,), 20),
    "times zero": (lambda x: x * 0.0, (X,), 20),
    "times zero, integer": (lambda i: i * 0 + 1, (I,), 0),
    "complex times one": (lambda z: z * jnp.ones((4, 5), jnp.complex64), (Z,), 20),
    "parts put together": (lambda z: lax.complex(lax.real(z), lax.imag(z)), (Z,), 0),
    "and true": (lambda b: b & full(True), (B,), 0),
    "and false": (lambda b: b & full(False), (B,), 0),
    "or false": (lambda b: full(False) | b, (B,), 0),
    "or true": (lambda b: b | full(True), (B,), 0),
    "and itself": (lambda b: b & b, (B,), 20),
    "and all bits": (lambda i: i & full(-1), (I,), 0),
    "and some bits": (lambda i: i & full(1), (I,), 20),
    "exclusive or of itself": (lambda i: i ^ i, (I,), 0),
    "exclusive or of equal constants": (lambda: full(-1) ^ full(-1), (), 0),
    "exclusive or with false": (lambda b: full(False) ^ b, (B,), 0),
    "difference to itself, integer": (lambda i: i - i, (I,), 0),
    "difference to itself": (lambda x: x - x, (X,), 20),
    "equal to itself, integer": (lambda i: i == i, (I,), 0),
    "equal to itself": (lambda x: x == x, (X,), 20),
    "is true": (lambda b: b == full(True), (B,), 0),
    "is false": (lambda b: b == full(False), (B,), 20),
    "choice between equals": (lambda b, x: lax.select(b, x, x), (B, X), 0),
    "choice between equal constants": (lambda b: lax.select(b, full(2.0), full(2.0)), (B,), 0),
    "choice between equals, copied and reshaped": (
        lambda b, x: lax.select(b, jnp.copy(x), lax.reshape(lax.reshape(x, (20,)), (4, 5))),
        (B, X),
        0,
    ),
    "choice between equals, transposed back": (
        lambda b, x: lax.select(b, lax.stop_gradient(x), x.T.T),
        (B, X),
        0,
    ),
    "choice that is known": (lambda x, y: lax.select(full(False), x, y), (X, X), 0),
    "choice that is known for each": (
        lambda x, y: lax.select(jnp.asarray(RAMP > 5), x, y),
        (X, X),
        20,
    ),
    "what is not chosen": (
        lambda x: lax.select(full(True), x, jnp.sqrt(x * 2) @ x.T @ x) + 1,
        (X,),
        20,
    ),
    "a branch that is known": (
        lambda x: lax.cond(True, lambda x: x + 1, lambda x: x @ x.T @ x, x),
        (X,),
        20,
    ),
    "a branch that follows from constants": (
        lambda x: lax.switch(1, [lambda x: x @ x.T @ x, lambda x: x + 1], x),
        (X,),
        20,
    ),
    "constants": (lambda x: x + jnp.sqrt(full(2.0)) * 3, (X,), 20),
    "one after all": (lambda x: x * (full(0.25) * 4), (X,), 0),
    "constants that vary": (lambda x: x + (jnp.asarray(RAMP)[::-1] * 3).T.reshape(4, 5), (X,), 20),
    "a constant put together": (lambda x: x * jnp.concatenate([jnp.ones((2, 5))] * 2), (X,), 0),
    "a part of a constant": (lambda x: x * lax.slice(jnp.ones((8, 5)), (0, 0), (4, 5)), (X,), 0),
    "a part of a split constant": (lambda x: x * lax.split(jnp.ones((8, 5)), (4, 4))[1], (X,), 0),
    "a constant column and a constant row": (
        lambda x: x + (jnp.asarray(RAMP[:, 0])[:, None] <= jnp.asarray(RAMP[0])[None] + 1),
        (X,),
        20 + 20 + 20,  # the comparison, its conversion, the sum
    ),
    "an empty array, padded": (lambda x: x + lax.pad(x[:0], 0.0, ((1, 3, 0), (0, 0, 0))), (X,), 0),
    "the sum of an empty array": (lambda x: x + lax.reduce_sum(x[:0], (0, 1)), (X,), 0),
    "the product of an empty array": (lambda x: x * lax.reduce_prod(x[:0], (0,)), (X,), 0),
    "the largest of an empty array": (lambda x: lax.reduce_max(x[:0], (0,)) * 2 + x, (X,), 20),
    "choice between equals, one with nothing beside it": (
        lambda b, x: lax.select(b, x, lax.concatenate([x[:0], x, x[:0]], 0)),
        (B, X),
        0,
    ),
    "choice between equals, one with nothing put into it": (
        lambda b, x: lax.select(b, x, lax.dynamic_update_slice(x, x[:0], (1, 1))),
        (B, X),
        0,
    ),
    "choice between equals, one split into itself": (
        lambda b, x: lax.select(b, x, lax.split(x, (0, 4, 0))[1]),
        (B, X),
        0,
    ),
    "constants that stay": (lambda x: x + jnp.expm1(full(2.0)), (X,), 20),
    "a root that is not defined": (lambda x: x * jnp.sqrt(full(-1.0)), (X,), 20),
    "behind a barrier": (lambda x: x * lax.optimization_barrier(jnp.ones((4, 5))), (X,), 20),
    "in a loop": (
        lambda x: lax.scan(lambda c, _: (c * 1.0 + c, None), x, None, length=1, unroll=0)[0],
        (X,),
        20,
    ),
    "in a function of its own": (lambda x: jax.jit(lambda a, b: a * b)(x, 1.0), (X,), 20),
    "out of a function of its own": (lambda x: x * jax.jit(lambda: jnp.ones((4, 5)))(), (X,), 20),
    "in a rematerialised function": (lambda x: jax.checkpoint(operator.mul)(x, 1.0), (X,), 0),
    "in its gradient": (
        lambda x: jax.grad(lambda x: jax.checkpoint(lambda x, o: jnp.sin(x * o))(x, 1.0).sum())(x),
        (X,),
        20 + 20 + 20,  # the argument; the cotangent and the factor, which a barrier hides
    ),
}


@pytest.mark.parametrize("name", SIMPLIFIED)
def test_what_xla_simplifies_away_is_not_counted(name):
    function, args, flops = SIMPLIFIED[name]
    cost = step_cost(function, *args)
    assert cost.flops == cost.xla_flops == flops
    assert cost.unexplained == 0


def test_what_is_not_executed_has_no_multiply_accumulates():
    assert count_macs(lambda x: lax.select(full(True), x, x @ x.T @ x), X) == 0


def attention(q, k, v):
    return jax.nn.dot_product_attention(q, k, v, is_causal=True)


def test_causal_attention_and_its_gradient_are_reconciled():
    heads = shape(2, 64, 4, 16)
    for function in attention, jax.grad(lambda *x: attention(*x).sum(), (0, 1, 2)):
        cost = step_cost(function, heads, heads, heads)
        assert cost.unexplained == 0
        assert cost.flops == cost.xla_flops


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", [0, 8, (4, 3)])
def test_attention_to_a_window_is_reconciled(size, causal):
    heads = shape(2, 32, 4, 16)
    cost = step_cost(
        lambda q, k, v: jax.nn.dot_product_attention(
            q, k, v, is_causal=causal, local_window_size=size
        ),
        *[heads] * 3,
    )
    assert cost.unexplained == 0


@pytest.mark.parametrize("length", [2, 3, 4, 5, 7, 11])
@pytest.mark.parametrize("running", [lax.cumprod, lax.cummax, lax.cumlogsumexp])
def test_gradients_of_running_results_are_reconciled(running, length):
    """JAX differentiates the recursion, which goes down to empty arrays."""
    cost = step_cost(jax.grad(lambda x: running(x).sum()), shape(length, 3))
    assert cost.unexplained == 0


def test_a_cond_that_vmap_makes_a_selection_is_reconciled():
    def either(choose, x):
        return lax.cond(choose, lambda x: x @ x, lambda x: jnp.sin(x) * 2 + x, x)

    cost = step_cost(jax.vmap(either), shape(8, dtype=bool), shape(8, 4, 4))
    # Both branches, and for each element a comparison and a choice.
    assert cost.flops == 8 * (2 * 64 + 2 * 16 + 2 * 16) + 8
    assert cost.unexplained == 0


UNARY = [
    *(lax.neg, lax.square, lax.sqrt, lax.tanh, lax.sign, lax.log1p, lax.floor, jnp.copy),
    *(lax.stop_gradient, lax.log, lax.rsqrt, lax.exp),
    lambda x: lax.integer_pow(x, 1),
    lambda x: lax.integer_pow(x, 3),
    lambda x: lax.clamp(0.0, x, 1.0),
    lambda x: x.T.reshape(x.shape),
    lambda x: x.T.T,
    lambda x: lax.squeeze(x[None, :, None], (0, 2)),
    lambda x: lax.rev(x, (0,)),
    lambda x: jnp.concatenate([x[:1], x[1:]]),
    lambda x: jax.jit(lambda x: x * 1.0 + 0.0)(x),
    lambda x: x + lax.pad(x[:0], 0.0, ((1, 3, 0), (0, 0, 0))),
    lambda x: lax.concatenate([x, x[:0]], 0),
    lambda x: lax.concatenate(lax.split(x, (1, 0, 3)), 0),
    lambda x: x * jnp.asarray(RAMP[:, 0])[:, None],
]
# XLA folds the exclusive or of two different constants or not, as they happen to be ordered in the
# program.
BINARY = {
    "float": [lax.add, lax.mul, lax.sub, lax.max, lax.min, lax.div],
    "int": [lax.add, lax.mul, lax.sub, lax.max, lax.bitwise_and, lax.bitwise_or],
    "bool": [lax.bitwise_and, lax.bitwise_or, lax.eq, lax.ne],
}
CONSTANTS = {"float": (0.0, 1.0, 2.0, -1.0), "int": (0, 1, 2, -1), "bool": (False, True)}


def drawn_value(draw, kind, values):
    """A new value, with its kind, made of those that there are."""
    one, other = draw.choices(values[kind], k=2)
    match draw.randint(0, 6):
        case 0:
            return kind, jnp.full((4, 5), draw.choice(CONSTANTS[kind]))
        case 1:
            return kind, draw.choice(BINARY[kind])(one, other)
        case 2:
            return kind, lax.select(draw.choice(values["bool"]), one, other)
        case 3:
            return "bool", draw.choice([lax.eq, lax.ne, lax.lt, lax.ge])(one, other)
        case 4:
            return "float", draw.choice(UNARY)(draw.choice(values["float"]))
        case 5:
            return "float", one.astype(jnp.float32)
        case _:
            return "float", jnp.asarray(RAMP)


def drawn_program(seed):
    """A program of three arrays whose operations meet constants and equal values."""

    def program(*arrays):
        draw = random.Random(seed)
        values = {kind: [array] for kind, array in zip(BINARY, arrays, strict=True)}
        for _ in range(draw.randint(2, 12)):
            kind, value = drawn_value(draw, draw.choice(list(values)), values)
            values[kind].append(value)
        return [values[kind][-1] for kind in values]

    return program


def is_reconciled(seed):
    cost = step_cost(drawn_program(seed), X, I, B)
    assert cost.unexplained == 0
    assert cost.transcendentals == cost.xla_transcendentals


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_random_programs_with_constants_are_reconciled(seed):
    is_reconciled(seed)


@pytest.mark.slow  # two minutes: pytest -m slow tests/compute/test_folding.py
@settings(max_examples=2000, deadline=None)
@given(st.integers(0, 2**32))
def test_many_random_programs_with_constants_are_reconciled(seed):
    is_reconciled(seed)


def _full(value, dtype):
    return lax.full((), value, dtype)


@pytest.mark.parametrize(
    "predicate",
    [
        lambda: lax.integer_pow(_full(3, jnp.int32), 25) > 0,
        lambda: lax.integer_pow(_full(-3, jnp.int8), 5) < 0,
        lambda: lax.round(_full(0.49999997, jnp.float32)) > 0.5,
        lambda: lax.round(_full(-2.5, jnp.float32)) == -3,
        lambda: lax.round(_full(8388609.0, jnp.float32)) == 8388609.0,
        lambda: (1 / jnp.stack([_full(0.0, jnp.float32), _full(-0.0, jnp.float32)]))[1] < 0,
        lambda: (1 / jnp.stack([_full(0.0, jnp.bfloat16), _full(-0.0, jnp.bfloat16)]))[1] < 0,
    ],
)
def test_a_branch_that_constants_choose_is_the_one_that_is_executed(predicate):
    def step(x):
        return lax.cond(predicate(), lambda x: x @ x, lambda x: x, x)

    with jax.disable_jit():
        executed = bool(predicate())
    cost = step_cost(step, shape(8, 8))
    assert cost.macs == (512 if executed else 0)
    assert abs(cost.unexplained) <= 4  # Of 0 beside -0 XLA knows more.


def test_a_selection_of_many_constants():
    def step(x):
        cases = [jnp.full((2,), float(i)) for i in range(70)]
        return x + lax.select_n(jnp.array([69, 3], jnp.int32), *cases)

    assert step_cost(step, shape(2)).operations == 2
