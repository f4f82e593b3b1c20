import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeff import nn
from jaxeff.train import devices, optimizer
from jaxeff.train.optimizer import sgd


def test_sgd_takes_pytorchs_steps():
    """torch.optim.SGD's documented update, written out in NumPy."""
    rates, momentum, decay = [0.1, 0.1, 0.02], 0.9, 1e-2
    rng = np.random.default_rng(0)
    start = {"kernel": rng.standard_normal((3, 2)), "bias": rng.standard_normal(2)}
    gradients = [{k: rng.standard_normal(v.shape) for k, v in start.items()} for _ in rates]

    ours = sgd(lambda step: np.float32(rates)[step], momentum, decay)
    params = {k: v.astype(np.float32) for k, v in start.items()}
    state = ours.init(params)
    for gradient in gradients:
        params, state = optimizer.update(ours, gradient, state, params)

    for key, p in start.items():
        buffer = None
        for rate, gradient in zip(rates, gradients, strict=True):
            g = gradient[key] + decay * p
            buffer = g if buffer is None else momentum * buffer + g
            p = p - rate * buffer
        np.testing.assert_allclose(params[key], p, rtol=1e-5)


def _two_layers(forms):
    """Three steps of a network of two layers by `pmap`: its program and the parameters."""
    rng = np.random.default_rng(0)
    ours = sgd(lambda step: 0.1 * 0.5**step, 0.9, 1e-2)
    params = {
        "first": rng.standard_normal((64, 96), np.float32),
        "last": rng.standard_normal((96, 32), np.float32),
    }
    inputs = devices.replicate(rng.standard_normal((8, 64), np.float32))
    state = devices.replicate((params, ours.init(params)))

    def step(state, inputs):
        params, opt_state = state

        def loss(params):
            return jnp.square(jnp.tanh(inputs @ params["first"]) @ params["last"]).mean()

        return optimizer.update(ours, jax.grad(loss)(params), opt_state, params)

    with forms():
        mapped = jax.pmap(step, donate_argnums=0)
        program = mapped.lower(state, inputs).compile().as_text()
        for _ in range(3):
            state = mapped(state, inputs)
    return program, devices.first_copy(state[0])


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what XLA's CPU backend makes of it")
def test_parameters_and_momentum_are_overwritten_in_place():
    """No copy of either, although the backward pass reads `last` beside its update."""
    program, params = _two_layers(nn.forms_of_backend)
    entry = program[program.index("ENTRY") :]
    assert "input_output_alias" in program
    arrays = r"f32\[1,(?:64,96|96,32)\]\S* "
    assert len(re.findall(arrays + r"parameter\(", entry)) == 4
    assert not re.findall(arrays + r"copy\(", entry)
    _, expected = _two_layers(nn.native_forms)
    for key, values in params.items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-6)


def test_an_update_that_is_not_a_number_shows_in_every_parameter():
    """On CPU, if it is the first number of its array; elsewhere only what is broken breaks."""
    ours = sgd(lambda step: 0.1, 0.9, 0.0)
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    gradient = {"a": jnp.array([jnp.nan, 0, 0]), "b": jnp.ones(2)}
    params, _ = optimizer.update(ours, gradient, ours.init(params), params)
    assert np.isnan(params["a"][0])
    assert np.isnan(params["b"]).all() == (jax.default_backend() == "cpu")
