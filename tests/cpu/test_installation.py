import os
import subprocess
import sys

import pytest

from jaxeff import cpu

USER = """
import warnings
warnings.simplefilter("error")
import jaxeff.cpu
print(jaxeff.cpu.install())
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "install() must not start JAX"
import jax, jax.numpy as jnp

@jax.jit
def step(images, kernel):
    def loss(kernel):
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=8).sum()
    return jax.grad(loss)(kernel)

print(float(step(jnp.ones((2, 8, 8, 8)), jnp.ones((3, 3, 1, 8))).sum()))
"""


def test_a_users_own_jit_computes_with_the_kernels_and_the_compilation_cache_on(tmp_path):
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": "",
    }
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", USER], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        installed, total = done.stdout.splitlines()
        assert installed.startswith("cpu: ")
        # 2 images x 8 channels x (8 + 7 + 7)^2 products of ones.
        assert float(total) == 2 * 8 * 22**2
        assert not done.stderr


def test_installing_again_replaces_and_uninstalling_restores(kernels):
    kernels(*cpu.NAMES)
    assert cpu.installed() == cpu.install()
    assert "channel_sum" not in cpu.install(without=["channel_sum"])
    cpu.uninstall()
    assert cpu.installed() == "xla"


def test_an_unknown_kernel_is_named_beside_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown kernels.*'sum'.*channel_sum"):
        cpu.install(without=["sum"])
