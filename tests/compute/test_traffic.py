"""The bytes of small programs, worked out by hand from the rules in `jaxeff.compute.traffic`."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxeff.compute import count_bytes
from jaxeff.errors import UsageError
from tests.compute.programs import shape

N = 64
SQUARE = 4 * N * N
MATRIX = jax.ShapeDtypeStruct((N, N), jnp.float32)


def _of(fn, *shapes):
    return count_bytes(fn, *(shapes or (MATRIX, MATRIX)))


def test_a_product_reads_both_factors_and_writes_its_result():
    a, b = jax.ShapeDtypeStruct((8, 16), jnp.bfloat16), jax.ShapeDtypeStruct((16, 4), jnp.bfloat16)
    assert _of(jnp.dot, a, b) == 2 * (8 * 16 + 16 * 4 + 8 * 4)


def test_what_is_element_wise_before_and_after_a_product_moves_nothing_more():
    assert _of(lambda x, w: jnp.tanh(jnp.exp(x) @ (2 * w)) + 1) == 3 * SQUARE


def test_a_chain_of_element_wise_operations_is_one_pass():
    assert _of(lambda x, y: jnp.sin(x) * jnp.cos(y) + x) == 3 * SQUARE


def test_an_element_wise_result_of_many_arrays_is_written_where_that_moves_less():
    def once(a, b, c, w):
        return (a + b + c) @ w

    def often(a, b, c, w):
        x = a + b + c
        return x @ w, x @ w.T, x.T @ w, x.T @ w.T

    assert _of(once, *[MATRIX] * 4) == 5 * SQUARE
    # Three read, one written; then four products of two factors each. Not 4 x (3 + 1 + 1).
    assert _of(often, *[MATRIX] * 4) == (3 + 1 + 4 * 3) * SQUARE


def test_reductions_of_one_array_are_one_pass():
    small = 4 * N
    counted = _of(lambda x: (x.mean(0), jnp.square(x).mean(0)), MATRIX)
    assert SQUARE + 2 * small <= counted <= SQUARE + 8 * small


def test_what_a_product_hands_on_is_not_read_again():
    # Batch norm's statistics, as the product's result leaves it.
    sums = 2 * 4 * N
    assert _of(lambda x, w: ((y := x @ w), y.sum(0), (y * y).sum(0))) == 3 * SQUARE + sums
    # Nothing but the sum of the product is wanted, so that it is never in memory.
    assert _of(lambda x, w: (x @ w).sum(0)) == 2 * SQUARE + 4 * N


def test_an_optimizers_update_reads_and_writes_each_array_once():
    def momentum(params, trace, gradient):
        trace = 0.9 * trace + gradient
        return params - 0.1 * trace, trace

    # Parameters come of three arrays and the trace of two of them.
    assert _of(momentum, *[MATRIX] * 3) <= (3 + 2 + 2) * SQUARE


def test_what_is_concatenated_is_read_from_where_it_is():
    # Two to read, a factor, and a result of twice the size.
    assert _of(lambda x, y: jnp.concatenate([x, y]) @ y) == (2 + 2) * SQUARE
    # One that is wanted itself is written.
    assert _of(lambda x, y: jnp.concatenate([x, y])) == 4 * SQUARE


def test_of_a_slice_the_part_is_read():
    quarter = SQUARE // 4
    assert _of(lambda x, y: x[: N // 4] @ y) == quarter + SQUARE + quarter
    assert _of(lambda x, y: (2 * x + y)[: N // 4] @ y) == quarter + SQUARE + quarter
    assert _of(lambda x: lax.dynamic_slice(x, (3, 0), (N // 4, N)), MATRIX) <= 2 * quarter + 8
    # Slices of slices; parts that overlap are not read twice.
    assert _of(lambda x: jnp.exp(x)[: N // 2][: N // 4].T, MATRIX) == 2 * quarter
    assert _of(lambda x: x[:-1] + x[1:], MATRIX) == SQUARE + SQUARE - 4 * N
    # Both parts of a split, each for itself.
    assert _of(lambda x: jnp.split(x, [N // 4])[1].sum(0), MATRIX) == 3 * quarter + 4 * N


def test_a_dense_block_moves_each_layers_result_as_often_as_it_is_read():
    def block(x, *weights):
        for w in weights:
            x = jnp.concatenate([x, x @ w], axis=1)
        return x.sum(0)

    sides = [N, N + 8, N + 16]
    weights = [jax.ShapeDtypeStruct((side, 8), jnp.float32) for side in sides]
    # Three products and the sum read all before them, but the last result is summed as it comes.
    read = [4 * N * side for side in [*sides, N + 16]]
    written = 2 * 4 * N * 8 + 4 * (N + 24)
    assert _of(block, MATRIX, *weights) == sum(read) + sum(4 * 8 * s for s in sides) + written


def test_half_the_type_is_half_the_bytes():
    half = jax.ShapeDtypeStruct((N, N), jnp.bfloat16)
    assert 2 * _of(jnp.dot, half, half) == _of(jnp.dot)


def test_a_loop_moves_its_bytes_each_time():
    def loop(x, w):
        return lax.scan(lambda x, _: (x @ w, None), x, None, length=5)[0]

    assert _of(loop) == 5 * 3 * SQUARE


def test_what_cannot_be_traced_is_one_clear_error():
    with pytest.raises(UsageError):
        _of(lambda x, y: jnp.dot(x, y[1:]))


def _zeros_like(x):
    return lax.select(x > 0, x, jnp.zeros_like(x))


@pytest.mark.parametrize(
    ("fn", "arrays"),
    [
        (lambda x, g: jax.vjp(jax.nn.relu, x)[1](g)[0], 3),
        (lambda x, g: _zeros_like(x), 2),
        (lambda x, g: x + 2 * jnp.ones((64, 64)), 2),
        (lambda x, g: x * lax.stop_gradient(x), 2),
        (lambda x, g: x * (x + 0.0), 2),
        (lambda x, g: lax.stop_gradient(x @ g) + 1, 3),
        (lambda x, g: (x.reshape(4096).reshape(64, 64) * x) @ g, 3),
    ],
)
def test_what_xla_folds_is_no_array_in_memory(fn, arrays):
    assert count_bytes(fn, shape(64, 64), shape(64, 64)) == arrays * 4 * 64 * 64


def _recurrent(w, h, x):
    return lax.scan(lambda h, x: (jnp.tanh(x + h @ w), None), h, x)[0]


def _stacked(w, h, x):
    def one(h, x):
        h = jnp.tanh(x + h @ w)
        return h, h

    return lax.scan(one, h, x)[1]


def _layers(h, w):
    return lax.scan(lambda h, w: (jnp.tanh(h @ w), None), h, w)[0]


# Of 16 steps: a batch of 4 times 8 features, 8 × 8 weights, and all 16 inputs, in bytes.
BATCH, WEIGHTS, INPUTS = 4 * 4 * 8, 4 * 8 * 8, 16 * 4 * 4 * 8
LOOP = 16 * (3 * BATCH + WEIGHTS)


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda w, u, h, x: _recurrent(w, h, x), LOOP),
        (lambda w, u, h, x: _recurrent(w, h, x @ u), LOOP + 2 * INPUTS + WEIGHTS),
        (lambda w, u, h, x: (x.sum(0), _recurrent(w, h, x)), LOOP + INPUTS + BATCH),
        (lambda w, u, h, x: (_recurrent(w, h, x), x.sum(0)), LOOP + INPUTS + BATCH),
        (lambda w, u, h, x: _stacked(w, h, x) @ u, LOOP + 2 * INPUTS + WEIGHTS),
        # A carry that begins with zeros is written once.
        (lambda w, u, h, x: _recurrent(w, jnp.zeros_like(h), x), LOOP + BATCH),
    ],
)
def test_each_pass_of_a_loop_moves_its_part(fn, expected):
    assert count_bytes(fn, shape(8, 8), shape(8, 8), shape(4, 8), shape(16, 4, 8)) == expected


def test_stacked_weights_are_read_whole_outside_of_the_loop_over_them():
    weights, each = shape(6, 8, 8), 2 * BATCH + WEIGHTS
    for fn in (lambda h, w: (_layers(h, w), w * 0.9), lambda h, w: (w * 0.9, _layers(h, w))):
        assert count_bytes(fn, shape(4, 8), weights) == 6 * each + 2 * 6 * WEIGHTS


def test_a_carry_is_read_in_each_pass_whatever_it_was_made_of():
    def powers(w):
        return lax.fori_loop(0, 5, lambda i, c: c @ w, jnp.exp(w))

    assert count_bytes(powers, shape(8, 8)) == 2 * WEIGHTS + 5 * 3 * WEIGHTS
