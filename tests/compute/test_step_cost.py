import json
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.experimental import pallas

from jaxeff.compute import cost as terms
from jaxeff.compute import step_cost
from jaxeff.errors import UsageError


def shape(*dims, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), strides=2, use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=False)(x)
        x = nn.relu(x)
        x = nn.Conv(16, (3, 3), padding="VALID")(x)
        x = nn.relu(x).mean((1, 2))
        return nn.Dense(10)(x)


def training_step(module, images, optimizer):
    """A step as training makes it, and the shapes of its arguments."""
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    state = jax.eval_shape(optimizer.init, variables["params"])

    def step(variables, state, images, labels):
        images = images / 255

        def loss(params):
            logits, updates = module.apply(
                {**variables, "params": params}, images, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), updates

        gradients, updates = jax.grad(loss, has_aux=True)(variables["params"])
        changes, new = optimizer.update(gradients, state, variables["params"])
        params = optax.apply_updates(variables["params"], changes)
        return {**updates, "params": params}, new

    labels = shape(images.shape[0], dtype=jnp.int32)
    return step, (variables, state, images, labels)


@pytest.fixture(scope="module")
def network_cost():
    step, args = training_step(Net(), shape(4, 9, 9, 3), optax.sgd(0.1, momentum=0.9))
    return step_cost(step, *args)


CONV_0 = 4 * (5 * 5) * 9 * 3 * 8
CONV_1 = 4 * (3 * 3) * 9 * 8 * 16
DENSE = 4 * 16 * 10


def test_the_two_counts_of_a_training_step_are_fully_reconciled(network_cost):
    cost = network_cost
    assert cost.unseen == ()
    assert cost.unexplained == 0
    assert sum(cost.breakdown.values()) == cost.xla_flops == cost.flops
    assert cost.xla_transcendentals == cost.transcendentals
    assert cost.breakdown[terms.MACS] == 2 * cost.macs


def test_modules_and_phases_of_a_training_step(network_cost):
    macs = {
        (line.source, line.phase): line.cost.macs for line in network_cost.lines if line.cost.macs
    }
    assert macs == {
        ("Net/Conv_0", "forward"): CONV_0,
        ("Net/Conv_0", "gradient to weights"): CONV_0,
        ("Net/Conv_1", "forward"): CONV_1,
        ("Net/Conv_1", "gradient to inputs"): CONV_1,
        ("Net/Conv_1", "gradient to weights"): CONV_1,
        ("Net/Dense_0", "forward"): DENSE,
        ("Net/Dense_0", "gradient to inputs"): DENSE,
        ("Net/Dense_0", "gradient to weights"): DENSE,
    }
    assert network_cost.macs == 3 * (CONV_0 + CONV_1 + DENSE) - CONV_0


def test_the_first_convolutions_input_gradient_is_not_computed(network_cost):
    first = {line.phase for line in network_cost.lines if line.source == "Net/Conv_0"}
    assert "gradient to inputs" not in first


def test_the_update_is_two_products_and_two_sums_a_parameter(network_cost):
    parameters = 9 * 3 * 8 + 2 * 8 + 9 * 8 * 16 + 16 + 16 * 10 + 10
    assert network_cost.by_phase()["update"].flops == 4 * parameters


def test_padding_zeros_are_the_difference_of_the_convolutions(network_cost):
    # Conv_0 is 5 outputs from 9 inputs at stride 2 with a padding of 1 on each side: of 15
    # products along an edge, 13 meet the image. It is computed forward and for its weights.
    padded = CONV_0 - 4 * 13 * 13 * 3 * 8
    assert network_cost.breakdown[terms.PADDING] == -2 * 2 * padded


def test_the_parts_add_up_to_the_whole(network_cost):
    for parts in network_cost.by_source, network_cost.by_phase, network_cost.by_primitive:
        assert sum(parts().values(), terms.Cost()) == network_cost.total()


def test_the_table_names_modules_phases_and_the_reconciliation(network_cost):
    text = str(network_cost)
    assert text == network_cost.table()
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert rows["Net/Conv_1"][1:4] == [f"{CONV_1:,}"] * 3
    assert rows["Net/Conv_0"][1:4] == [f"{CONV_0:,}", "-", f"{CONV_0:,}"]
    assert rows["XLA's count, FLOPs"][-1] == f"{network_cost.xla_flops:,}"
    assert rows["unexplained"][-1] == "+0"


def test_an_attentions_products_of_activations_have_no_weight_gradient():
    class Attention(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.MultiHeadDotProductAttention(2)(nn.Dense(8)(x)))

    variables = jax.eval_shape(Attention().init, jax.random.key(0), shape(3, 5, 8))
    cost = step_cost(
        jax.grad(lambda v, x: Attention().apply(v, x).sum()), variables, shape(3, 5, 8)
    )
    phases = cost.by_phase()
    products = 2 * 3 * 2 * 5 * 5 * 4
    dense = 3 * 5 * 8 * 8
    assert phases["gradient to weights"].macs == 5 * dense + 3 * 5 * 8
    # The first layer has no input gradient, each product of activations has two.
    assert phases["gradient to inputs"].macs == 4 * dense + 3 * 5 * 8 + 2 * products
    assert cost.unexplained == 0


@pytest.mark.parametrize("length", [1, 1000])
def test_a_scan_multiplies_and_xlas_single_pass_is_reconciled(length):
    def loop(x):
        return lax.scan(lambda c, _: (c @ c, c.sum()), x, None, length=length)

    cost = step_cost(loop, shape(4, 4))
    body = 2 * 4**3 + 15
    assert cost.macs == 64 * length
    assert cost.flops == body * length
    assert cost.xla_flops == body + 2  # compare and increment
    assert cost.breakdown[terms.LOOPS] == -body * (length - 1)
    assert cost.breakdown[terms.LOOP_COUNTERS] == 2
    assert cost.unexplained == 0


@pytest.mark.parametrize("unroll", [2, 3, 7, 10, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_unrolled_scans_are_reconciled(unroll, reverse):
    def loop(x, xs):
        return lax.scan(lambda c, t: (c @ t, t * 2), x, xs, unroll=unroll, reverse=reverse)

    cost = step_cost(loop, shape(4, 4), shape(10, 4, 4))
    assert cost.macs == 640
    assert cost.unexplained == 0


def test_a_recurrent_networks_gradients_are_told_apart():
    def loss(w, x):
        return lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=10)[0].sum()

    phases = step_cost(jax.grad(loss), shape(4, 4), shape(5, 4)).by_phase()
    assert {name: cost.macs for name, cost in phases.items()} == {
        "forward": 800,
        "gradient to inputs": 800,
        "gradient to weights": 800,
    }


def test_recomputation_is_a_phase_of_its_own():
    def loss(w, x):
        return jnp.sin(jnp.sin(x @ w) @ w).sum()

    cost = step_cost(jax.value_and_grad(jax.checkpoint(loss)), shape(4, 4), shape(5, 4))
    assert {name: part.macs for name, part in cost.by_phase().items()} == {
        "forward": 160,
        "forward, recomputed": 160,
        "gradient to inputs": 80,
        "gradient to weights": 160,
    }
    assert cost.unexplained == 0


def test_a_rematerialised_scan_of_modules():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.tanh(nn.Dense(8)(x)), None

    stack = nn.scan(
        nn.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=5
    )()
    variables = jax.eval_shape(stack.init, jax.random.key(0), shape(3, 8), None)
    step = jax.value_and_grad(lambda v, x: stack.apply(v, x, None)[0].sum())
    cost = step_cost(step, variables, shape(3, 8))
    assert {name: part.macs for name, part in cost.by_phase().items()} == {
        "forward": 5 * 192,
        "forward, recomputed": 5 * 192,
        "gradient to inputs": 5 * 192,
        "gradient to weights": 5 * 192,
    }
    assert cost.unexplained == 0


def test_batch_norm_by_hand():
    def batch_norm(x, scale, bias):
        distance = x - x.mean(0)
        variance = lax.square(distance).mean(0)
        return distance * (lax.rsqrt(variance + 1e-5) * scale) + bias

    cost = step_cost(batch_norm, shape(6, 4), shape(4), shape(4))
    mean = (24 - 4) + 4
    assert cost.flops == mean + 24 + 24 + mean + 4 + 4 + 24 + 24
    assert cost.transcendentals == 4
    assert cost.unexplained == 0


def test_softmax_by_hand():
    def softmax(x):
        exponentials = jnp.exp(x - x.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)

    cost = step_cost(softmax, shape(4, 5))
    assert cost.flops == (20 - 4) + 20 + (20 - 4) + 20
    assert cost.transcendentals == cost.xla_transcendentals == 20
    assert cost.unexplained == 0


def test_pooling_by_hand():
    x = shape(1, 4, 4, 3)
    average = step_cost(lambda x: nn.avg_pool(x, (2, 2), (2, 2)), x)
    assert average.flops == 12 * 3 + 12
    largest = step_cost(lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME"), x)
    assert largest.flops == 12 * 8
    # For each output three comparisons choose among four inputs, and one sum adds to the chosen.
    gradient = jax.grad(lambda x, y: (nn.max_pool(x, (2, 2), (2, 2)) * y).sum())
    backward = step_cost(gradient, x, shape(1, 2, 2, 3))
    assert backward.flops == 12 * 4
    for cost in average, largest, backward:
        assert cost.unexplained == 0
        assert cost.macs == 0


def test_a_tpus_branch_is_the_one_counted():
    def either(x):
        return lax.platform_dependent(x, cpu=lambda x: x @ x @ x, default=lambda x: x @ x)

    cost = step_cost(either, shape(4, 4))
    assert cost.macs == 64
    assert cost.xla_flops == 128
    assert cost.unexplained == 0
    assert cost.notes == ()


def test_a_cond_counts_at_its_dearest_branch_and_says_so():
    def either(choose, x):
        return lax.cond(choose, lambda x: jnp.exp(x), lambda x: x @ x, x)

    cost = step_cost(either, shape(dtype=bool), shape(4, 4))
    assert cost.macs == 64
    assert cost.unexplained == 0
    assert "dearest branch, 0 of 2" in cost.notes[0]


def test_a_while_loop_of_unknown_length_is_named():
    def until(x):
        with jax.named_scope("solver"):
            return lax.while_loop(lambda c: c.sum() < 10, lambda c: c @ c, x)

    cost = step_cost(until, shape(4, 4))
    assert cost.unseen == ("while loop of unknown length (counted as one pass) in solver",)
    assert cost.macs == 64
    assert cost.unexplained == 0
    assert "not counted: while loop" in str(cost)


def test_callbacks_kernels_and_library_calls_are_named():
    callback = step_cost(lambda x: jax.pure_callback(np.sin, x, x @ x), shape(4, 4))
    assert callback.macs == 64
    assert callback.xla_flops is None
    assert callback.unexplained is None
    assert any("pure_callback" in name for name in callback.unseen)
    assert "pure_callback" in str(callback)

    def kernel(estimate):
        def copy(x_ref, y_ref):
            y_ref[...] = x_ref[...] * 2

        return lambda x: pallas.pallas_call(copy, out_shape=x, cost_estimate=estimate)(x)

    blind = step_cost(kernel(None), shape(8, 128))
    assert blind.unseen == ("pallas_call without a cost estimate in the function itself",)
    estimate = pallas.CostEstimate(flops=1024, transcendentals=0, bytes_accessed=8192)
    estimated = step_cost(kernel(estimate), shape(8, 128))
    assert estimated.unseen == ()
    assert estimated.flops == 1024
    assert estimated.breakdown[terms.HIDDEN_KERNELS] == -1024
    assert estimated.unexplained == 0

    factors = step_cost(lambda x: lax.linalg.lu(x)[0], shape(4, 4))
    assert factors.unseen == ("LuDecomposition in the function itself",)
    ragged = step_cost(lax.ragged_dot, shape(6, 4), shape(2, 4, 5), shape(2, dtype=jnp.int32))
    assert any("ragged_dot" in name for name in ragged.unseen)


def test_the_count_is_exact_where_xlas_is_rounded():
    # 2^25 + 3 is no number of single precision, in which XLA adds up.
    cost = step_cost(lambda x: (x @ x)[:1, :3] + 1, shape(256, 256))
    assert cost.flops == 2**25 + 3
    assert cost.xla_flops == 2**25 + 4
    assert cost.unexplained == 1


def test_jitted_and_plain_functions_cost_the_same():
    step, args = training_step(Net(), shape(2, 5, 5, 3), optax.adam(1e-3))
    plain, jitted = step_cost(step, *args), step_cost(jax.jit(step, donate_argnums=(0, 1)), *args)
    assert plain == jitted
    assert plain.unexplained == 0


def test_a_function_that_cannot_be_traced_is_one_clear_error():
    with pytest.raises(UsageError, match="cannot trace"):
        step_cost(lambda x: x @ x, shape(3, 4))


FOUR_DEVICES = """
import json
import jax, jax.numpy as jnp
from jax import lax
from jaxeff.compute import count_macs, step_cost, xla_flops
from jaxeff.compute import cost as terms

def gradient(w, x):
    return jax.grad(lambda w: jnp.tanh(jnp.tanh(x @ w) @ w).sum())(w)

def one(w, x):
    return w - 0.1 * gradient(w, x)

def replica(w, x):
    return w - 0.1 * lax.psum(gradient(w, x), "devices")

w = jnp.ones((4, 4))
x = jax.device_put(jnp.ones((20, 4)), jax.devices()[3])
single = step_cost(one, w, x)
spread = jax.pmap(replica, "devices", in_axes=(None, 0), out_axes=None)
four = step_cost(spread, w, x.reshape(4, 5, 4))
mesh = jax.make_mesh((4,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
P = jax.sharding.PartitionSpec
sharded = jax.shard_map(
    replica, mesh=mesh, in_specs=(P(), P("devices")), out_specs=P(), check_vma=False
)
print(json.dumps({
    "devices": jax.device_count(),
    "single": [single.macs, single.xla_flops, single.unexplained],
    "four": [four.macs, four.xla_flops, four.unexplained],
    "phases": [
        {name: cost.macs for name, cost in which.by_phase().items()} for which in (single, four)
    ],
    "sharded": [count_macs(sharded, w, x), xla_flops(sharded, w, x)],
    "devices term": four.breakdown[terms.DEVICES],
}))
"""


def test_a_step_over_four_devices_costs_what_it_costs_on_one():
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["devices"] == 4
    macs = 5 * 20 * 4 * 4  # two products forward, one gradient to inputs, two to weights
    # Each product; w's two gradients are added; 1 - tanh(y)^2, twice, times the cotangent once
    # (the other is all ones); the update.
    assert seen["single"][0] == macs
    assert seen["single"] == [macs, *step_on_this_machine()]
    assert seen["four"][0] == macs
    assert seen["phases"][0] == seen["phases"][1]
    # One device's share: a quarter of the batch, and the whole of the update and of the exchange.
    assert seen["four"][1] == 2 * macs // 4 + (seen["single"][1] - 2 * macs - 48) // 4 + 48 + 16
    assert seen["four"][2] == seen["single"][2] == 0
    assert seen["devices term"] == -3 * seen["four"][1]
    assert seen["sharded"] == seen["four"][:2]


def step_on_this_machine():
    def one(w, x):
        return w - 0.1 * jax.grad(lambda w: jnp.tanh(jnp.tanh(x @ w) @ w).sum())(w)

    cost = step_cost(one, shape(4, 4), shape(20, 4))
    return [cost.xla_flops, cost.unexplained]
