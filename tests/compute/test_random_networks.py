"""Random convolutional networks through both counters."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxeff.compute import count_macs, step_cost
from tests.compute.programs import macs_by_phase, shape, training_step

ACTIVATIONS = {"relu": nn.relu, "silu": nn.silu, "gelu": nn.gelu, "tanh": nn.tanh}

convolutions = st.fixed_dictionaries(
    {
        "kind": st.just("conv"),
        "kernel": st.sampled_from([(1, 1), (3, 3), (2, 3), (5, 1)]),
        "strides": st.sampled_from([1, 2, (1, 2)]),
        "padding": st.sampled_from(["SAME", "CIRCULAR", ((1, 2), (0, 1)), ((2, 2), (4, 4))]),
        "dilation": st.sampled_from([1, 1, 2]),
        "width": st.sampled_from([1, 2, 3]),
        "groups": st.sampled_from(["one", "two", "depthwise"]),
        "bias": st.booleans(),
    }
)
layers = st.one_of(
    convolutions,
    convolutions,
    st.fixed_dictionaries(
        {
            "kind": st.just("pool"),
            "pool": st.sampled_from([nn.max_pool, nn.avg_pool]),
            "window": st.sampled_from([(2, 2), (3, 3)]),
            "strides": st.sampled_from([(1, 1), (2, 2)]),
        }
    ),
    st.fixed_dictionaries(
        {"kind": st.just("activation"), "name": st.sampled_from(sorted(ACTIVATIONS))}
    ),
    st.fixed_dictionaries({"kind": st.sampled_from(["norm", "residual", "transposed", "concat"])}),
)


class Random(nn.Module):
    """A first convolution, the drawn layers, a mean and a classifier."""

    layers: tuple
    remat: bool

    @nn.compact
    def __call__(self, x):
        conv = nn.remat(nn.Conv) if self.remat else nn.Conv
        x = nn.Conv(4, (3, 3))(x)
        for layer in self.layers:
            channels = x.shape[-1]
            if layer["kind"] == "conv":
                groups = {"one": 1, "two": 2, "depthwise": channels}[layer["groups"]]
                x = conv(
                    channels * layer["width"] if channels < 16 else channels,
                    layer["kernel"],
                    layer["strides"],
                    layer["padding"],
                    kernel_dilation=layer["dilation"],
                    feature_group_count=groups,
                    use_bias=layer["bias"],
                )(x)
            elif layer["kind"] == "pool":
                x = layer["pool"](x, layer["window"], layer["strides"], "SAME")
            elif layer["kind"] == "activation":
                x = ACTIVATIONS[layer["name"]](x)
            elif layer["kind"] == "norm":
                x = nn.BatchNorm(use_running_average=False)(x)
            elif layer["kind"] == "residual":
                x = x + conv(channels, (3, 3))(x)
            elif layer["kind"] == "transposed":
                x = nn.ConvTranspose(channels, (2, 2), (2, 2))(x)
            elif layer["kind"] == "concat":
                x = jnp.concatenate([x, nn.relu(nn.Conv(2, (1, 1))(x))], -1)
        return nn.Dense(3)(x.mean((1, 2)))


def has_pixels(module, images):
    """Whether no layer shrinks its image to nothing, which has no mean."""
    _, layers = jax.eval_shape(
        partial(module.init_with_output, capture_intermediates=True), jax.random.key(0), images
    )
    return all(0 not in image.shape for image in jax.tree.leaves(layers["intermediates"]))


def the_two_counts_agree(layers, batch, size, optimizer, dtype, remat):
    module = Random(tuple(layers), remat)
    images = shape(batch, size, size + 1, 3, dtype=dtype)
    assume(has_pixels(module, images))
    step, args = training_step(module, images, optimizer)
    cost = step_cost(step, *args)
    assert cost.uncounted == ()
    assert abs(cost.unexplained) < 1e-3 * cost.xla_flops
    # The gradients cost twice the forward pass, but for the first layer's input.
    inference = count_macs(partial(module.apply, mutable=["batch_stats"]), args[0], images)
    first = batch * size * (size + 1) * 9 * 3 * 4
    phases = macs_by_phase(cost)
    rematerialised = phases.pop("forward, rematerialised", 0)
    assert phases == {
        "forward": inference,
        "gradient to inputs": inference - first,
        "gradient to weights": inference,
        "update": 0,
    }
    assert 0 <= rematerialised <= inference


networks = st.tuples(
    st.lists(layers, min_size=1, max_size=5),
    st.integers(1, 3),
    st.integers(5, 9),
    st.sampled_from([optax.sgd(0.1), optax.sgd(0.1, 0.9, nesterov=True), optax.adamw(1e-3)]),
    st.sampled_from([jnp.float32, jnp.bfloat16]),
    st.booleans(),
)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(networks)
def test_the_two_counts_agree_on_any_convolutional_network(network):
    the_two_counts_agree(*network)


@pytest.mark.slow  # half a minute: pytest -m slow tests/compute/test_random_networks.py
@settings(max_examples=200, deadline=None)
@given(networks)
def test_the_two_counts_agree_on_many_convolutional_networks(network):
    the_two_counts_agree(*network)
