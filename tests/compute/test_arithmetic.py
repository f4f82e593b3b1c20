"""What the arithmetic takes, against numbers worked by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxeff.compute import step_cost
from jaxeff.compute.cost import SMALLER
from tests.compute.programs import shape

X = shape(4, 5)
I = shape(4, 5, dtype=jnp.int32)  # noqa: E741
B = shape(4, 5, dtype=bool)
Z = shape(4, 5, dtype=jnp.complex64)


def complex_shape(*dims):
    return shape(*dims, dtype=jnp.complex64)


def window(combine, start, strides=(1, 1)):
    return lambda x: lax.reduce_window(x, start, combine, (2, 3), strides, "VALID")


def transform(kind, *lengths):
    return lambda x: lax.fft(x, kind, lengths)


# Function, arguments, operations.
OPERATIONS = {
    # One for each element of the result.
    "sum": (lax.add, (X, X), 20),
    "comparison": (lax.lt, (X, X), 20),
    "choice": (lax.select, (B, X, X), 20),
    "choice by a number": (lambda i, x, y, z: lax.select_n(i, x, y, z), (I, X, X, X), 20),
    "conversion": (lambda x: x.astype(jnp.bfloat16), (X,), 20),
    "bits": (lax.bitwise_and, (I, I), 20),
    "booleans": (lax.bitwise_or, (B, B), 20),
    "transcendental": (lax.tanh, (X,), 20),
    "logistic": (lax.logistic, (X,), 20),
    "special": (lax.erf_inv, (X,), 20),
    "power": (lambda x: lax.integer_pow(x, 7), (X,), 4 * 20),
    "copies": (lambda x: jnp.tile(x.T.reshape(20)[::-1], 3), (X,), 0),
    "reinterpretation": (lambda x: lax.bitcast_convert_type(x, jnp.int32), (X,), 0),
    # n - 1 for n that are combined.
    "sum of rows": (lambda x: x.sum(1), (X,), 4 * (5 - 1)),
    "sum of all": (lambda x: lax.reduce_sum(x, (0, 1)), (X,), 20 - 1),
    "largest": (lambda x: lax.reduce_max(x, (0,)), (X,), 5 * (4 - 1)),
    "all": (lambda x: lax.reduce_and(x, (0,)), (B,), 5 * (4 - 1)),
    "place of the largest": (lambda x: lax.argmax(x, 1, jnp.int32), (X,), 4 * (5 - 1)),
    "place of the smallest": (lambda x: lax.argmin(x, 0, jnp.int32), (I,), 5 * (4 - 1)),
    "combination of one's own": (
        lambda x: lax.reduce(x, np.float32(0), lambda a, b: a * b + a, (0,)),
        (X,),
        5 * (4 - 1) * 2,
    ),
    "running sum": (lambda x: lax.cumsum(x, 1), (X,), 4 * (5 - 1)),
    "running sum from the end": (lambda x: lax.cumsum(x, 0, reverse=True), (I,), 5 * (4 - 1)),
    "running product": (lambda x: lax.cumprod(x, 0), (X,), 5 * (4 - 1)),
    "running maximum": (lambda x: lax.cummax(x, 1), (X,), 4 * (5 - 1)),
    "running minimum": (lambda x: lax.cummin(x, 1), (X,), 4 * (5 - 1)),
    "running log-sum-exp": (lambda x: lax.cumlogsumexp(x, 1), (X,), 4 * (5 - 1)),
    "running sum of nothing": (lambda x: lax.cumsum(x, 0), (shape(0, 5),), 0),
    # Five sums; and JAX puts even and odd results together by adding them, padded: 2, then 5.
    "associative scan": (lambda x: lax.associative_scan(jnp.add, x), (shape(5),), 5 + 2 + 5),
    "window": (window(lax.add, 0.0), (X,), 3 * 3 * (6 - 1)),
    "largest in a window": (window(lax.max, -jnp.inf, (2, 1)), (X,), 2 * 3 * (6 - 1)),
    "window of one's own": (
        lambda x: lax.reduce_window(
            x, np.float32(0), lambda a, b: a * b + a, (2, 2), (1, 1), "VALID"
        ),
        (X,),
        3 * 4 * (4 - 1) * 2,
    ),
    # 2 x 2 windows are compared again, and each cotangent is added.
    "gradient of a window's largest": (
        lambda x, y: jax.vjp(window(lax.max, -jnp.inf, (2, 3)), x)[1](y)[0],
        (shape(4, 6), shape(2, 2)),
        4 * (6 - 1) + 4,
    ),
    "scattered sum": (
        lambda x, i, y: x.at[i].add(y, mode="promise_in_bounds", wrap_negative_indices=False),
        (X, shape(3, dtype=jnp.int32), shape(3, 5)),
        15,
    ),
    "look-up": (
        lambda x, i: x.at[i].get(mode="fill", wrap_negative_indices=False),
        (X, shape(3, dtype=jnp.int32)),
        0,
    ),
    # n log2 n for each row.
    "sort of rows of 8": (lambda x: lax.sort(x, dimension=1), (shape(100, 8),), 100 * 8 * 3),
    "sort of columns": (lambda x: lax.sort(x, dimension=0), (shape(16, 3),), 3 * 16 * 4),
    "sort by two keys": (lambda x, y: lax.sort((x, y), num_keys=2), (shape(8), shape(8)), 8 * 3),
    "sort of 5": (lax.sort, (shape(5),), round(5 * math.log2(5))),
    "largest 4 of 16": (lambda x: lax.top_k(x, 4), (shape(3, 16),), 3 * 16 * 2),
    "largest of 16": (lambda x: lax.top_k(x, 1), (shape(3, 16),), 3 * 15),
    # 5 N log2 N for each complex transform of N points.
    "transform": (transform("FFT", 16), (complex_shape(3, 16),), 3 * 5 * 16 * 4),
    "transform back": (transform("IFFT", 16), (complex_shape(3, 16),), 3 * 5 * 16 * 4),
    "transform of an image": (jnp.fft.fft2, (complex_shape(64, 64),), 5 * 4096 * 12),
    "transform in 3-d": (transform("FFT", 4, 8, 2), (complex_shape(4, 8, 2),), 5 * 64 * 6),
    "real transform": (transform("RFFT", 16), (shape(3, 16),), 3 * 5 * 16 * 4 // 2),
    "real transform back": (transform("IRFFT", 16), (complex_shape(3, 9),), 3 * 5 * 16 * 4 // 2),
    "real transform of images": (transform("RFFT", 8, 8), (shape(3, 8, 8),), 3 * 5 * 64 * 6 // 2),
    "real transform back in 3-d": (
        transform("IRFFT", 4, 4, 4),
        (complex_shape(4, 4, 3),),
        5 * 64 * 6 // 2,
    ),
    # 2 for a multiply-accumulate, 8 for a complex one.
    "product": (jnp.matmul, (X, shape(5, 6)), 2 * 4 * 5 * 6),
    "product of integers": (jnp.matmul, (I, shape(5, 6, dtype=jnp.int32)), 2 * 4 * 5 * 6),
    "batched product": (jnp.matmul, (shape(7, 4, 5), shape(7, 5, 6)), 2 * 7 * 4 * 5 * 6),
    "complex product": (jnp.matmul, (Z, complex_shape(5, 6)), 8 * 4 * 5 * 6),
    "batched complex product": (
        jnp.matmul,
        (complex_shape(7, 4, 5), complex_shape(7, 5, 6)),
        8 * 7 * 4 * 5 * 6,
    ),
    "convolution, padded": (
        lambda x, k: lax.conv(x, k, (1, 1), "SAME"),
        (shape(1, 2, 4, 4), shape(3, 2, 3, 3)),
        2 * 16 * 9 * 2 * 3,
    ),
    # `logaddexp` and `relu` are calls; of an element each they take ten operations and one.
    "combination by a function that calls": (
        lambda x: lax.reduce(x, np.float32(-np.inf), jnp.logaddexp, (0,)),
        (X,),
        5 * (4 - 1) * 10,
    ),
    "combination after an activation": (
        lambda x: lax.reduce(x, np.float32(0), lambda a, b: jax.nn.relu(a) + b, (0,)),
        (X,),
        5 * (4 - 1) * 2,
    ),
    "windows combined by a function that calls": (
        lambda x: lax.reduce_window(x, np.float32(-np.inf), jnp.logaddexp, (1, 5), (1, 1), "VALID"),
        (X,),
        4 * (5 - 1) * 10,
    ),
    "function of chosen elements": (
        lambda x, i: x.at[i].apply(
            lambda v: jnp.exp(v) * v + v, mode="promise_in_bounds", wrap_negative_indices=False
        ),
        (shape(100), shape(7, dtype=jnp.int32)),
        7 * 3,
    ),
    "complex convolution": (
        lambda x, k: lax.conv(x, k, (1, 1), "VALID"),
        (complex_shape(1, 2, 4, 4), complex_shape(3, 2, 3, 3)),
        8 * 4 * 9 * 2 * 3,
    ),
    "ragged product": (
        lax.ragged_dot,
        (shape(6, 4), shape(2, 4, 5), shape(2, dtype=jnp.int32)),
        2 * 6 * 4 * 5,
    ),
    # The real operations of the formulas.
    "complex sum": (lax.add, (Z, Z), 2 * 20),
    "complex element-wise product": (lax.mul, (Z, Z), 6 * 20),
    "complex ratio": (lax.div, (Z, Z), 11 * 20),
    "complex magnitude": (lax.abs, (Z,), 4 * 20),
    "complex exponential": (lax.exp, (Z,), 5 * 20),
    "complex arc sine": (lax.asin, (Z,), 26 * 20),
    "complex arc cosine": (lax.acos, (Z,), 28 * 20),
    "complex arc tangent": (lax.atan, (Z,), 23 * 20),
    "complex inverse hyperbolic sine": (lax.asinh, (Z,), 23 * 20),
    "complex inverse hyperbolic cosine": (lax.acosh, (Z,), 34 * 20),
    "complex inverse hyperbolic tangent": (lax.atanh, (Z,), 22 * 20),
    "complex conjugate": (lax.conj, (Z,), 20),
    "complex cube": (lambda z: lax.integer_pow(z, 3), (Z,), 2 * 6 * 20),
    "complex sum of rows": (lambda z: lax.reduce_sum(z, (1,)), (Z,), 2 * 4 * (5 - 1)),
    "complex product of rows": (lambda z: lax.reduce_prod(z, (1,)), (Z,), 6 * 4 * (5 - 1)),
    "complex running sum": (lambda z: lax.cumsum(z, 1), (Z,), 2 * 4 * (5 - 1)),
    "parts of complex numbers": (lambda z: lax.complex(lax.imag(z), lax.real(z)), (Z,), 0),
    # Each of six values: a product and a difference for each before it, and a division.
    "triangular system": (
        lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True),
        (shape(6, 6), shape(6, 3)),
        3 * (2 * 15 + 6),
    ),
    # As above, with complex products of 8 real operations and quotients of 11.
    "complex triangular system": (
        lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True),
        (complex_shape(6, 6), complex_shape(6, 3)),
        3 * (8 * 15 + 11 * 6),
    ),
}

if hasattr(lax, "polynomial"):  # since jax 0.12
    OPERATIONS |= {
        "polynomial": (lambda x: lax.polynomial(x, [1.0, 2.0, 3.0]), (X,), 2 * 2 * 20),
        "polynomial that is a loop": (lambda x: lax.polynomial(x, [1.5] * 50), (X,), 2 * 49 * 20),
        "binary logarithm": (lax.log2, (X,), 20),
        "complex binary logarithm": (lax.log2, (Z,), 8 * 20),
        "one less a square": (lax.one_minus_square, (X,), 3 * 20),
        "one less a complex square": (lax.one_minus_square, (Z,), 10 * 20),
    }


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_operations_are_those_worked_by_hand(name):
    function, args, operations = OPERATIONS[name]
    cost = step_cost(function, *args)
    assert cost.operations == operations
    assert cost.uncounted == ()
    # XLA's count and the terms lead there.
    assert cost.flops + sum(cost.operations_breakdown.values()) == operations


def test_random_bits_count_the_integer_operations_of_the_generator():
    # Threefry-2x32 of 20 rounds, each a sum, a rotation (two shifts, an or) and an exclusive or on
    # a pair of words, one pair for each number; six times keys are added, with a round number.
    key = jax.eval_shape(lambda: jax.random.key(0))
    numbers = 10_000
    cost = step_cost(lambda key: jax.random.bits(key, (numbers,)), key)
    assert numbers * 20 * 5 < cost.operations < numbers * 130


def test_a_running_sum_is_named_where_xla_counts_its_windows():
    cost = step_cost(lambda x: lax.cumsum(x, 1), shape(8, 2048, 512))
    assert cost.flops == cost.xla_flops == 17_171_480_576
    assert cost.operations == 8_384_512
    (term,) = cost.operations_breakdown
    assert term.startswith("cumsum: ")
    assert term in str(cost)
    assert "8,384,512" in str(cost).splitlines()[-1]


def test_only_what_parts_by_more_than_one_per_cent_is_named():
    def mostly_products(z, x):
        return lax.cumsum((x @ x.T)[:3, :3], 1), z * z

    # The products take 2 * 50^3, a complex product 6 of which XLA counts 1.
    cost = step_cost(mostly_products, complex_shape(10), shape(50, 50))
    assert dict(cost.operations_breakdown) == {SMALLER: (3 * 2 - 9 * 2) + 50}
    assert SMALLER not in str(cost)
    names = step_cost(mostly_products, complex_shape(1000), shape(50, 50)).operations_breakdown
    assert [name.partition(":")[0] for name in names] == ["mul", SMALLER]


def test_every_pass_of_a_loop_counts():
    def loop(x):
        return lax.scan(lambda c, _: (lax.cumsum(c, 0), None), x, None, length=7)[0]

    assert step_cost(loop, shape(5, 4)).operations == 7 * 4 * 4


def test_operations_of_a_gradient_penalty_without_quirks_are_flops_and_transcendentals():
    def penalty(w, x):
        slope = jax.grad(lambda x: jnp.tanh(x @ w).sum())(x)
        return (slope**2).sum()

    cost = step_cost(jax.grad(penalty), shape(5, 3), shape(7, 5))
    assert cost.operations == cost.flops + cost.transcendentals
