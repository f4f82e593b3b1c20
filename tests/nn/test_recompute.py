import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxeff.nn import BatchNorm, Conv, forms_of_backend, native_forms, onednn, recomputed
from jaxeff.train import devices

LAYERS = 6
SHAPE = (8, 16, 16, 24)


class Layers(nn.Module):
    """Batch norm, SiLU and a convolution, several times; `wrap` takes one of these triples."""

    wrap: callable
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x):
        def triple(module, x, layer):
            norm = BatchNorm(self.axis_name, name=f"norm{layer}")
            return Conv(x.shape[-1], 1, name=f"conv{layer}")(nn.silu(norm(x, train=True)))

        for layer in range(LAYERS):
            x = self.wrap(lambda module, x, layer=layer: triple(module, x, layer))(self, x)
        return x


def _kept(function):
    return function


def _images():
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def _variables():
    return Layers(_kept).init(jax.random.key(0), _images())


def _gradient(wrap, axis_name=None):
    """The function of parameters, running statistics and images."""
    module = Layers(wrap, axis_name)

    def loss(params, batch_stats, images):
        variables = {"params": params, "batch_stats": batch_stats}
        got, updated = module.apply(variables, images, mutable=["batch_stats"])
        return jnp.square(got).mean(), updated

    return jax.grad(loss, has_aux=True)


def test_gradients_and_statistics_stay_and_memory_shrinks(compiled_programs):
    arguments = devices.replicate((*_variables().values(), _images()))
    results = []
    for wrap in (_kept, recomputed):
        step = _gradient(wrap)
        results.append(jax.tree.leaves(devices.parallel(step)(*arguments)))
    for kept, again in zip(*results, strict=True):
        np.testing.assert_allclose(again, kept, rtol=1e-5, atol=1e-7)
    kept, again = (program.memory_analysis().temp_size_in_bytes for program in compiled_programs)
    # Of each triple the convolution's result stays, its input and the sigmoid do not.
    array = 4 * np.prod(SHAPE)
    assert again < kept - LAYERS * array


def test_statistics_of_a_batch_that_is_split_are_those_of_all(monkeypatch):
    monkeypatch.setenv(onednn.SWITCH, "0")  # Its programs cannot be cached, of which JAX warns.
    variables, images = _variables(), _images().reshape(4, -1, *SHAPE[1:])
    results = []
    for wrap in (_kept, recomputed):
        with forms_of_backend():
            step = jax.vmap(_gradient(wrap, "axis"), (None, None, 0), axis_name="axis")
            results.append(jax.tree.leaves(jax.jit(step)(*variables.values(), images)))
    for kept, again in zip(*results, strict=True):
        np.testing.assert_allclose(again, kept, rtol=1e-5, atol=1e-7)


def test_names_of_parameters_stay():
    with forms_of_backend():
        variables = Layers(recomputed).init(jax.random.key(0), _images())
    assert jax.tree.structure(variables) == jax.tree.structure(_variables())


def test_counts_and_programs_for_several_platforms_compute_nothing_twice():
    def function(module, x):
        return x

    assert recomputed(function) is function
    with native_forms():
        assert recomputed(function) is function
    with forms_of_backend():
        assert recomputed(function) is not function
