"""What makes JAX fast on CPUs, registered from outside: call `install()` before JAX computes.

    import jaxeff.cpu

    jaxeff.cpu.install()

Every program that JAX lowers for a CPU afterwards uses the kernels, whoever wrote it: `jax.jit` of
one's own, Flax's layers, gradients of any order. `docs/cpu.md` says what each kernel is worth.
"""

from jaxeff.cpu.installation import NAMES as NAMES
from jaxeff.cpu.installation import install as install
from jaxeff.cpu.installation import installed as installed
from jaxeff.cpu.installation import uninstall as uninstall
