import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxeff.compute import xla_flops
from jaxeff.errors import UsageError
from tests.compute.programs import shape


def dense(x, kernel, bias):
    return x @ kernel + bias


DENSE = shape(5, 3), shape(3, 4), shape(4)
DENSE_FLOPS = 2 * 5 * 3 * 4 + 5 * 4


def test_a_dense_layer_is_two_operations_a_product_and_one_a_sum():
    assert xla_flops(dense, *DENSE) == DENSE_FLOPS


def test_arrays_shapes_and_nested_arguments_count_alike():
    arrays = [np.ones(leaf.shape, leaf.dtype) for leaf in DENSE]
    assert xla_flops(dense, *arrays) == DENSE_FLOPS
    assert xla_flops(dense, *map(jnp.asarray, arrays)) == DENSE_FLOPS
    layer = dict(zip(("x", "kernel", "bias"), DENSE, strict=True))
    assert xla_flops(lambda layer: dense(**layer), layer) == DENSE_FLOPS
    assert xla_flops(dense, DENSE[0], kernel=DENSE[1], bias=DENSE[2]) == DENSE_FLOPS


def test_jitted_functions_keep_their_static_arguments():
    power = jax.jit(lambda x, n: x**n, static_argnums=1)
    assert xla_flops(power, shape(6), 3) == 12


def test_nothing_is_run():
    def fails_when_run(x):
        return lax.cond(x.sum() > 0, lambda: x @ x, lambda: x)

    assert xla_flops(fails_when_run, shape(2**20, 2**20)) > 2 * 2**60


@pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="JAX answers None where its default backend is no CPU"
)
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_count_is_that_of_jax_lowering_for_any_platform(platform):
    def layer(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    gradient = jax.grad(lambda x, kernel: (layer(x, kernel) ** 2).sum(), (0, 1))
    args = shape(2, 9, 8, 4), shape(3, 3, 4, 8)
    lowered = jax.jit(gradient).trace(*args).lower(lowering_platforms=(platform,))
    assert xla_flops(gradient, *args) == lowered.cost_analysis()["flops"]


def test_the_count_does_not_need_the_current_backends_analysis(monkeypatch):
    # On GPUs and TPUs JAX answers None.
    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", lambda self: None)
    assert xla_flops(dense, *DENSE) == DENSE_FLOPS


def test_the_count_does_not_need_a_cpu_among_jaxs_platforms(monkeypatch):
    from jaxeff.compute import xla

    def no_cpu(platform):
        raise RuntimeError("Unknown backend cpu")

    xla._client.cache_clear()
    monkeypatch.setattr(xla.jax_backend, "get_backend", no_cpu)
    assert xla_flops(dense, *DENSE) == DENSE_FLOPS
    xla._client.cache_clear()


def test_a_tpus_branch_is_counted_on_every_machine():
    def either(x):
        return lax.platform_dependent(x, cpu=lambda x: x + 1, default=lambda x: x @ x)

    assert xla_flops(either, shape(4, 4)) == 2 * 4**3


def test_no_arithmetic_is_zero():
    assert xla_flops(lambda x: x.T, shape(4, 5)) == 0


def test_what_cannot_be_counted_is_an_error_and_no_number():
    with pytest.raises(UsageError, match="LuDecomposition"):
        xla_flops(lambda x: lax.linalg.lu(x)[0], shape(4, 4))
    with pytest.raises(UsageError, match="callbacks to Python"):
        xla_flops(lambda x: jax.pure_callback(np.sin, x, x), shape(4))


def test_arguments_that_do_not_fit_are_one_clear_error():
    with pytest.raises(UsageError, match=r"float32\[5, 3\], float32\[5, 3\]") as error:
        xla_flops(lambda x, y: x @ y, shape(5, 3), shape(5, 3))
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="missing 1 required"):
        xla_flops(lambda x, y: x, shape(5))
    with pytest.raises(UsageError, match="cannot trace"):
        xla_flops(lambda x: x if x > 0 else -x, shape())


@pytest.mark.parametrize("flops", [{"flops": -1.0}, {"flops": float("nan")}, {}, None])
def test_an_unusable_analysis_is_an_error_and_no_number(monkeypatch, flops):
    from jaxlib import _jax

    monkeypatch.setattr(_jax, "hlo_module_cost_analysis", lambda client, module: flops)
    with pytest.raises(UsageError, match="no count"):
        xla_flops(dense, *DENSE)
