"""YNNPACK, to which XLA's CPU backend hands convolutions, sums and matrix products.

In jaxlib 0.10.2 to 0.11 it computes some programs wrongly (jax-ml/jax#39103) and ends the process
in others (jax-ml/jax#39257, #40412). Its convolutions with few channels, and their gradients to the
kernel, take two to ten times as long as XLA's own. Its single matrix products are right and fast,
and stay.
"""

import os
import warnings
from collections.abc import Callable

from jaxeff.cpu.onednn import jaxlib_version

PRODUCTS_ALONE = "--xla_cpu_experimental_ynn_fusion_type=individual_dot"
# Of jaxlib, which know the flag; XLA ends the process at one that it does not know.
VERSIONS = ((0, 10), (0, 12))


def keep_products_alone() -> Callable[[], None]:
    """Sets XLA's flag, if none about YNNPACK is set; returns a function that takes it back."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_experimental_ynn" in flags or not VERSIONS[0] <= jaxlib_version() <= VERSIONS[1]:
        return lambda: None
    os.environ["XLA_FLAGS"] = f"{flags} {PRODUCTS_ALONE}".strip()
    if _jax_has_started():
        warnings.warn(
            "jaxeff.cpu.install() was called after JAX had started, too late for YNNPACK: "
            f"call it first, or set XLA_FLAGS={PRODUCTS_ALONE}",
            stacklevel=4,
        )

    def take_back():
        os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].replace(PRODUCTS_ALONE, "").strip()

    return take_back


def _jax_has_started():
    """Whether JAX has started a backend, as far as it can be told."""
    try:
        from jax._src.xla_bridge import backends_are_initialized
    except ImportError:
        return False
    return backends_are_initialized()
