"""The convolutions of the paper's models: values, gradients and count as natively.

Every eighth shape; `pytest -m slow tests/nn/test_shapes.py` takes all, at 64 and at 224 px.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from jaxeff.nn import conv as conv_forms
from jaxeff.nn import conv2d
from jaxeff.nn.native_conv import native_conv

pytestmark = pytest.mark.usefixtures("with_and_without_onednn")

BATCH_SIZE = 2


def _shapes(size):
    """What the models of the paper's Table 3 convolve at `size` px, if in a form of its own."""
    found = set()
    choose = conv_forms._cpu_form

    def noting(*shapes_and_library):
        form = choose(*shapes_and_library)
        if form is not None:
            found.add(shapes_and_library[:-1])
        return form

    conv_forms._cpu_form = noting
    try:
        for name in models.select("paper"):
            module = models.create(name, 10)
            images = jnp.zeros((BATCH_SIZE, size, size, 3))
            jax.eval_shape(lambda m=module, x=images: m.init(jax.random.key(0), x))
    finally:
        conv_forms._cpu_form = choose
    return sorted(found)


@pytest.mark.parametrize(
    ("size", "every"),
    [
        (64, 8),
        pytest.param(64, 1, marks=pytest.mark.slow),
        pytest.param(224, 1, marks=pytest.mark.slow),
    ],
)
def test_shapes_of_the_models_compute_and_count_as_natively(size, every):
    shapes = _shapes(size)
    assert len(shapes) > 50
    shapes = shapes[::every]
    rng = np.random.default_rng(0)
    for images_shape, kernel_shape, strides, padding, groups in shapes:
        images = rng.standard_normal(images_shape, np.float32)
        kernel = rng.standard_normal(kernel_shape, np.float32)
        form = {"strides": strides, "padding": padding, "groups": groups}

        def step(convolve, images, kernel, form=form):
            outputs, pull = jax.vjp(functools.partial(convolve, **form), images, kernel)
            gradient = np.random.default_rng(1).standard_normal(outputs.shape, np.float32)
            return outputs, *pull(gradient)

        def flops(convolve, images=images, kernel=kernel, step=step):
            traced = jax.jit(functools.partial(step, convolve)).trace(images, kernel)
            return traced.lower(lowering_platforms=("tpu",)).cost_analysis()["flops"]

        ours = jax.jit(functools.partial(step, conv2d))(images, kernel)
        native = jax.jit(functools.partial(step, native_conv))(images, kernel)
        for got, expected in zip(ours, native, strict=True):
            scale = 1e-4 * np.abs(expected).max()
            np.testing.assert_allclose(got, expected, rtol=0, atol=scale, err_msg=str(form))
        assert flops(conv2d) == flops(native_conv), form
