"""Causal attention is noted, however its mask is made, and nothing else is."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxeff.compute import step_cost
from tests.compute.programs import shape

QUERIES = shape(2, 16, 4, 8)  # batch, position, head, feature
MACS = 2 * (2 * 4 * 16 * 16 * 8)  # scores, and their products with the values: the whole square


def attention(mask_scores):
    def apply(q, k, v):
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(8)
        return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(mask_scores(scores)), v)

    return apply


LOWER = np.tril(np.ones((16, 16), bool))
CAUSAL = {
    "tril": lambda s: jnp.where(jnp.tril(jnp.ones((16, 16), bool)), s, -jnp.inf),
    "tril of numbers": lambda s: jnp.where(jnp.tril(jnp.ones((16, 16))) == 0, -1e9, s),
    "positions": lambda s: jnp.where(
        jnp.arange(16)[:, None] >= jnp.arange(16), s, jnp.finfo(s.dtype).min
    ),
    "positions, the other way round": lambda s: jnp.where(
        jnp.arange(16) > jnp.arange(16)[:, None], -1e10, s
    ),
    "iota": lambda s: jnp.where(
        lax.broadcasted_iota(jnp.int32, s.shape, 2) < lax.broadcasted_iota(jnp.int32, s.shape, 3),
        jnp.float32(-1e30),
        s,
    ),
    "a bias": lambda s: s + jnp.where(jnp.tril(jnp.ones((16, 16), bool)), 0.0, -1e9),
    "one minus the mask": lambda s: s + (1 - jnp.tril(jnp.ones((16, 16)))) * -1e9,
    "a constant mask": lambda s: jnp.where(LOWER, s, -jnp.inf),
    "a constant bias": lambda s: s + np.where(LOWER, 0, -1e9).astype(np.float32),
    "with a window": lambda s: jnp.where(
        (jnp.arange(16)[:, None] >= jnp.arange(16))
        & (jnp.arange(16)[:, None] - 4 < jnp.arange(16)),
        s,
        -jnp.inf,
    ),
    "a constant mask, jitted": jax.jit(lambda s: jnp.where(LOWER, s, -jnp.inf)),
    "soft capped": lambda s: jnp.where(LOWER, 50 * jnp.tanh(s / 50), -jnp.inf),
}


@pytest.mark.parametrize("mask", CAUSAL)
def test_half_of_causal_attention_is_noted_and_all_of_it_counted(mask):
    cost = step_cost(attention(CAUSAL[mask]), QUERIES, QUERIES, QUERIES)
    assert cost.macs == MACS
    (note,) = cost.notes
    assert "causal mask in the function itself: about half of the scores" in note


def test_the_fields_causal_attentions_are_noted():
    def jaxs(q, k, v):
        return jax.nn.dot_product_attention(q, k, v, is_causal=True)

    cost = step_cost(jaxs, QUERIES, QUERIES, QUERIES)
    assert cost.macs == MACS
    assert len(cost.notes) == 1

    class Linen(nn.Module):
        @nn.compact
        def __call__(self, x):
            mask = nn.combine_masks(
                nn.make_causal_mask(x[..., 0]), nn.make_attention_mask(*[x[..., 0] > 0] * 2)
            )
            return nn.MultiHeadDotProductAttention(2, name="attention")(x, mask=mask)

    variables = jax.eval_shape(Linen().init, jax.random.key(0), shape(2, 16, 8))
    training = jax.grad(lambda v, x: Linen().apply(v, x).sum())
    for fn in Linen().apply, training, jax.checkpoint(Linen().apply):
        (note,) = step_cost(fn, variables, shape(2, 16, 8)).notes
        assert note.startswith("causal mask in Linen/attention")

    def nnxs(module, x):
        return module(x, mask=nnx.make_causal_mask(x[..., 0]), decode=False)

    module = nnx.MultiHeadAttention(2, 8, rngs=nnx.Rngs(0))
    assert len(step_cost(nnxs, module, shape(2, 16, 8)).notes) == 1


def test_layers_in_a_scan_are_noted_once():
    def network(weights, x):
        mask = jnp.tril(jnp.ones((16, 16), bool))

        def layer(x, w):
            scores = jnp.where(mask, (x @ w) @ x.T, -jnp.inf)
            return jax.nn.softmax(scores) @ x, None

        return lax.scan(layer, x, weights)[0]

    assert len(step_cost(network, shape(5, 8, 8), shape(16, 8)).notes) == 1


def blockwise(q, k):
    def block(start):
        rows = start * 4 + jnp.arange(4)
        scores = lax.dynamic_slice_in_dim(q, start * 4, 4) @ k[:4].T
        return jnp.where(rows[:, None] >= jnp.arange(4), scores, -jnp.inf)

    return lax.map(block, jnp.arange(4))


def test_blocks_of_causal_attention_are_noted():
    assert len(step_cost(blockwise, shape(16, 8), shape(16, 8)).notes) == 1


def padding(lengths):
    return lambda s: jnp.where(jnp.arange(16) < lengths[:, None, None, None], s, -jnp.inf)


NOT_CAUSAL = {
    "none": (attention(lambda s: s), ()),
    "lengths": (lambda q, k, v, n: attention(padding(n))(q, k, v), (shape(2, dtype=jnp.int32),)),
    "a mask that is an argument": (
        lambda q, k, v, m: attention(lambda s: jnp.where(m, s, -jnp.inf))(q, k, v),
        (shape(2, 1, 16, 16, dtype=bool),),
    ),
    "segments": (
        lambda q, k, v, i: attention(
            lambda s: jnp.where(i[:, None, :, None] == i[:, None, None, :], s, -jnp.inf)
        )(q, k, v),
        (shape(2, 16, dtype=jnp.int32),),
    ),
    "a window to both sides": (
        attention(
            lambda s: jnp.where(
                (jnp.arange(16)[:, None] - 4 < jnp.arange(16))
                & (jnp.arange(16)[:, None] + 4 > jnp.arange(16)),
                s,
                -jnp.inf,
            )
        ),
        (),
    ),
    "the diagonal": (
        attention(lambda s: jnp.where(jnp.eye(16, dtype=bool), -jnp.inf, s)),
        (),
    ),
}


@pytest.mark.parametrize("mask", NOT_CAUSAL)
def test_other_masks_are_not_noted(mask):
    fn, more = NOT_CAUSAL[mask]
    assert step_cost(fn, QUERIES, QUERIES, QUERIES, *more).notes == ()


def test_decoding_one_position_is_not_noted():
    def decode(q, k, index):
        scores = jnp.einsum("hd,khd->hk", q, k)
        return jnp.where(jnp.arange(16) <= index, scores, -jnp.inf)

    index = shape(dtype=jnp.int32)
    assert step_cost(decode, shape(4, 8), shape(16, 4, 8), index).notes == ()


def test_one_row_of_a_causal_mask_is_not_noted():
    def decode(q, k, index):
        row = lax.dynamic_slice_in_dim(jnp.asarray(LOWER), index, 1)
        return jnp.where(row, q @ k.T, -jnp.inf)

    index = shape(dtype=jnp.int32)
    assert step_cost(decode, shape(1, 8), shape(16, 8), index).notes == ()


def test_triangular_matrices_are_not_noted():
    assert step_cost(lambda a: jnp.tril(a @ a.T), shape(8, 8)).notes == ()
    cholesky = step_cost(jax.grad(lambda a: jnp.linalg.cholesky(a @ a.T).sum()), shape(8, 8))
    assert not any("causal" in note for note in cholesky.notes)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_a_mask_of_any_type_of_number_is_noted(dtype):
    def masked(scores):
        lower = jnp.tril(jnp.ones((16, 16), bool))
        return jnp.where(lower, scores, jnp.finfo(dtype).min)

    arguments = [shape(2, 16, 4, 8, dtype=dtype)] * 3
    (note,) = step_cost(attention(masked), *arguments).notes
    assert "causal" in note
    layer = nn.MultiHeadDotProductAttention(num_heads=2, dtype=dtype)
    x, mask = shape(1, 16, 8), nn.make_causal_mask(jnp.ones((1, 16)))
    params = jax.eval_shape(layer.init, jax.random.key(0), x)
    (note,) = step_cost(lambda p, x: layer.apply(p, x, mask=mask), params, x).notes
    assert "causal" in note
