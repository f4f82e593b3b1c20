"""Pallas kernels are walked over their grid, and what depends on the place in it is followed."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import pallas
from jax.experimental.pallas import tpu
from jax.experimental.pallas.ops.tpu.flash_attention import flash_attention

from jaxeff.compute import cost as terms
from jaxeff.compute import count_macs, step_cost
from tests.compute.programs import macs_by_phase, shape

QUERIES = shape(2, 8, 1024, 64)
SQUARE = 2 * 8 * 1024 * 1024 * 64


def matmul(x, w, estimate=None):
    """A product by blocks of 8 × 128 × 128, to which one is added at the end."""

    def kernel(x_ref, w_ref, out_ref, sums):
        @pallas.when(pallas.program_id(2) == 0)
        def _():
            sums[...] = jnp.zeros_like(sums)

        sums[...] += x_ref[...] @ w_ref[...]

        @pallas.when(pallas.program_id(2) == pallas.num_programs(2) - 1)
        def _():
            out_ref[...] = sums[...] + 1

    return pallas.pallas_call(
        kernel,
        grid=(x.shape[0] // 8, w.shape[1] // 128, x.shape[1] // 128),
        in_specs=[
            pallas.BlockSpec((8, 128), lambda i, j, k: (i, k)),
            pallas.BlockSpec((128, 128), lambda i, j, k: (k, j)),
        ],
        out_specs=pallas.BlockSpec((8, 128), lambda i, j, k: (i, j)),
        scratch_shapes=[tpu.VMEM((8, 128), jnp.float32)],
        out_shape=jax.ShapeDtypeStruct((x.shape[0], w.shape[1]), jnp.float32),
        cost_estimate=estimate,
    )(x, w)


X, W = shape(16, 512), shape(512, 384)


def test_a_kernel_counts_at_every_point_of_its_grid():
    cost = step_cost(matmul, X, W)
    assert cost.macs == count_macs(matmul, X, W) == 16 * 512 * 384
    # Each of the four blocks along the contracted axis is added, and one once. At each of the 24
    # points the place in the grid is tested twice: compared, and converted to choose a branch.
    scalars = 24 * 2 * 2
    assert cost.operations == 2 * cost.macs + (4 + 1) * 16 * 384 + scalars
    assert cost.uncounted == cost.notes == ()
    assert cost.unexplained == 0
    assert cost.breakdown[terms.HIDDEN_KERNELS] == -cost.flops
    assert sum(cost.breakdown.values()) == cost.xla_flops


def test_what_happens_at_some_points_counts_there():
    def count(points):
        def kernel(x_ref, out_ref):
            @pallas.when(pallas.program_id(0) * 2 + 1 < points)
            def _():
                out_ref[...] = jnp.sin(x_ref[...])

        return step_cost(
            lambda x: pallas.pallas_call(kernel, grid=(10,), out_shape=x)(x), shape(8, 128)
        ).transcendentals

    assert [count(points) // 1024 for points in (0, 1, 2, 5, 20)] == [0, 0, 1, 2, 10]


def test_a_branch_that_only_the_data_tell_counts_at_its_most_expensive():
    def kernel(x_ref, out_ref):
        @pallas.when(x_ref[0, 0] > 0)
        def _():
            out_ref[...] = jnp.sin(x_ref[...]) + 1

    cost = step_cost(
        lambda x: pallas.pallas_call(kernel, grid=(10,), out_shape=x)(x), shape(8, 128)
    )
    assert cost.transcendentals == 10 * 1024
    assert any("most expensive" in note for note in cost.notes)


def test_an_estimate_gives_the_flops_and_the_body_the_rest():
    estimate = pallas.CostEstimate(flops=1000, transcendentals=10, bytes_accessed=1)
    cost = step_cost(lambda x, w: matmul(x, w, estimate), X, W)
    assert cost.macs == 16 * 512 * 384
    assert cost.operations == step_cost(matmul, X, W).operations
    assert (cost.flops, cost.transcendentals) == (1000, 10)
    assert any("estimate" in name for name in cost.operations_breakdown)
    assert cost.unexplained == 0
    assert cost.uncounted == ()


def test_jaxs_flash_attention():
    cost = step_cost(flash_attention, QUERIES, QUERIES, QUERIES)
    assert cost.macs == 2 * SQUARE == 2_147_483_648
    assert cost.uncounted == ()
    assert cost.unexplained == 0


def test_causal_flash_attention_counts_the_blocks_that_it_computes():
    cost = step_cost(lambda *x: flash_attention(*x, causal=True), QUERIES, QUERIES, QUERIES)
    # Of 8 x 8 blocks it computes those on the diagonal and below.
    assert cost.macs == 2 * SQUARE * (8 * 9 // 2) // 64
    (note,) = cost.notes
    assert "in a Pallas kernel" in note
    assert "both counts are of all of them" not in note


def test_the_gradient_of_flash_attention_counts_seven_products_after_two():
    gradient = jax.grad(lambda *x: flash_attention(*x).sum(), (0, 1, 2))
    cost = step_cost(gradient, QUERIES, QUERIES, QUERIES)
    assert cost.macs == (2 + 7) * SQUARE
    assert macs_by_phase(cost)["forward"] == 2 * SQUARE
    assert cost.uncounted == ()


def test_a_loop_inside_a_kernel_counts_at_every_pass():
    def kernel(x_ref, out_ref):
        out_ref[...] = lax.fori_loop(0, 5, lambda i, c: c @ c, x_ref[...])

    square = shape(8, 8)
    assert count_macs(pallas.pallas_call(kernel, grid=(3,), out_shape=square), square) == 15 * 8**3


def test_an_interpreted_kernel_counts_alike_and_says_why_xlas_count_does_not():
    def kernel(x_ref, out_ref):
        out_ref[...] = x_ref[...] @ x_ref[...]

    square = shape(8, 8)
    cost = step_cost(pallas.pallas_call(kernel, out_shape=square, interpret=True), square)
    assert cost.macs == 8**3
    (note,) = cost.notes
    assert "interpreted" in note


def test_a_kernel_that_cannot_be_walked_is_named():
    def kernel(x_ref, out_ref):
        out_ref[...] = x_ref[...] * 2

    def over(size, x):
        return pallas.pallas_call(kernel, grid=(size,), out_shape=x)(x)

    cost = step_cost(over, shape(dtype=jnp.int32), shape(8, 128))
    assert any("pallas_call over a grid of unknown size" in name for name in cost.uncounted)

    def looping(x_ref, out_ref):
        out_ref[...] = lax.while_loop(lambda c: c.sum() < 10, lambda c: c @ c, x_ref[...])

    cost = step_cost(pallas.pallas_call(looping, out_shape=shape(8, 8)), shape(8, 8))
    assert any("while loop of unknown length" in name for name in cost.uncounted)


def _blocks(condition):
    """Products of 8 × 8 in those of four blocks of which the condition holds."""

    def kernel(x, out):
        out[...] = jnp.zeros_like(out)

        @pallas.when(condition(pallas.program_id(0)))
        def _():
            out[...] = x[...] @ x[...]

    def call(x):
        block = pallas.BlockSpec((8, 8), lambda i: (i, 0))
        out = jax.ShapeDtypeStruct((32, 8), jnp.float32)
        return pallas.pallas_call(kernel, out, grid=(4,), in_specs=[block], out_specs=block)(x)

    return call


def test_a_kernel_under_vmap_numbers_its_own_axes_alone():
    three_of_four, product = _blocks(lambda i: i < 3), 8**3
    for size in (2, 5):
        cost = step_cost(jax.vmap(three_of_four), shape(size, 32, 8))
        assert (cost.macs, cost.notes) == (size * 3 * product, ())
    twice = jax.vmap(jax.vmap(three_of_four), in_axes=1, out_axes=1)
    assert step_cost(twice, shape(5, 2, 32, 8)).macs == 5 * 2 * 3 * product
    last = _blocks(lambda i: i == pallas.num_programs(0) - 1)
    assert step_cost(jax.vmap(last), shape(5, 32, 8)).macs == 5 * product


def test_causal_attention_of_a_batch_is_that_of_its_examples():
    def attention(q):
        return flash_attention(q, q, q, causal=True)

    whole = step_cost(attention, shape(2, 3, 512, 64)).macs
    assert step_cost(jax.vmap(attention), shape(2, 1, 3, 512, 64)).macs == whole


def test_a_quotient_of_a_place_is_no_whole_number_unless_it_is_of_whole_numbers():
    for condition, points in (
        (lambda i: i / 4 < 0.6, 3),
        (lambda i: i / 4 > 0, 3),
        (lambda i: lax.div(i, 2) < 1, 2),
    ):
        assert step_cost(_blocks(condition), shape(32, 8)).macs == points * 8**3


def test_a_reciprocal_in_a_kernel_counts_once_an_element():
    def kernel(x, out):
        out[...] = pallas.reciprocal(x[...], approx=True)

    cost = step_cost(
        pallas.pallas_call(kernel, jax.ShapeDtypeStruct((8, 8), jnp.float32)), shape(8, 8)
    )
    assert (cost.operations, cost.flops) == (64, 64)


@pytest.mark.parametrize("values", [(1, 0), (0, 1), (2, -1)])
def test_what_a_branch_returns_is_not_taken_for_known(values):
    def kernel(x, out):
        work = lax.cond(x[0, 0] > 0, lambda: values[0], lambda: values[1])

        @pallas.when(work == values[0])
        def _():
            out[...] = x[...] @ x[...]

    def call(x):
        return pallas.pallas_call(kernel, jax.ShapeDtypeStruct((8, 8), jnp.float32), grid=(4,))(x)

    cost = step_cost(call, shape(8, 8))
    assert cost.macs == 4 * 8**3
    assert "most expensive branch" in cost.notes[0]


def test_a_grid_without_points_computes_nothing():
    def kernel(x, out):
        out[...] = x[...] * lax.cond(pallas.program_id(0) > 1, lambda: 2.0, lambda: 3.0)

    call = pallas.pallas_call(kernel, jax.ShapeDtypeStruct((8, 8), jnp.float32), grid=(0,))
    assert step_cost(call, shape(8, 8)).operations == 0
