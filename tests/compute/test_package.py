"""Counting needs nothing but JAX, and neither compiles nor runs a program."""

import os
import subprocess
import sys

COUNT = """
import importlib.metadata, re, sys

needed = {"jax", "jaxeff"} | {
    re.match(r"[\\w.-]+", line)[0].replace("-", "_")
    for line in importlib.metadata.requires("jax")
    if "extra ==" not in line
}
# JAX finds its own plugins (jax_plugins, jax_cuda13_plugin) by entry points, and insists on them.
installed = {
    name for name in importlib.metadata.packages_distributions() if not name.startswith("jax_")
}
assert "flax" in installed - needed

class NothingElse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in installed - needed:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, NothingElse())

import jax, jax.numpy as jnp
import numpy as np
from jax import lax
from jaxeff import compute

compiled = []

def listen(event, seconds, **details):
    if event == "/jax/core/compile/backend_compile_duration":
        compiled.append(event)

jax.monitoring.register_event_duration_secs_listener(listen)

def step(w, x):
    def loss(w):
        x_w = jax.checkpoint(lambda w: jnp.tanh(x @ w))(w)
        noise = jax.random.normal(jax.random.key(0), x_w.shape)  # its erf_inv has no rule
        return lax.scan(lambda c, _: (jnp.sin(c), None), x_w + noise, None, length=3)[0].mean()

    return w - 0.1 * jax.grad(loss)(w)

args = np.ones((4, 4), np.float32), np.ones((5, 4), np.float32)
assert compute.step_cost(step, *args).uncounted == ()
assert compute.count_macs(step, *args) == 3 * 80
assert compute.count_activations(step, *args) == 20 + 20 + 16
assert compute.count_bytes(step, *args) > 4 * (16 + 20 + 16)
assert compute.xla_flops(step, *args) > 2 * 3 * 80
assert compute.peak_flops_per_second("TPU v4", "bfloat16")
assert compute.teraflop_s_days(compute.paper_flops(1.0, 1.0)) > 0
assert not compiled, compiled

jax.jit(step)(*args)
assert compiled  # so the listener would have heard

ours = {name for name in sys.modules if name.partition(".")[0] == "jaxeff"}
print(*sorted(name for name in ours if not name.startswith("jaxeff.compute")))
"""


def test_counting_imports_jax_alone_and_compiles_nothing():
    on_cpu = os.environ | {"JAX_PLATFORMS": "cpu"}  # a GPU's libraries are blocked
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, env=on_cpu)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["jaxeff", "jaxeff.cells", "jaxeff.errors"]
