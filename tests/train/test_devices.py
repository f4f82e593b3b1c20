import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeff.train import devices


@pytest.mark.parametrize("keep_names", [False, True])
def test_the_program_has_names_only_for_a_profile(compiled_programs, keep_names):
    def function(x):
        with jax.named_scope("a_layer"):
            return jnp.tanh(x) * 2

    run = devices.parallel(function, keep_names=keep_names)
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 8)
    np.testing.assert_allclose(run(x), np.tanh(x) * 2, rtol=1e-6)
    (program,) = compiled_programs
    assert ("a_layer" in program.as_text()) == keep_names
