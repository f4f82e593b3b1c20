"""The choice between XLA's native form of an operation and one that its CPU backend runs faster.

`jax.lax.platform_dependent` keeps both in one program; each platform compiles only its own. TPU and
GPU take the native form, which is also the one that the canonical FLOP count is lowered from.
"""

import contextlib
import contextvars
from collections.abc import Callable

import jax

_NATIVE_ONLY = contextvars.ContextVar("native_only", default=False)


def by_platform(*arrays: jax.Array, cpu: Callable | None, native: Callable):
    """`cpu(*arrays)` on CPU and `native(*arrays)` elsewhere; `cpu=None` is native everywhere."""
    if cpu is None or _NATIVE_ONLY.get():
        return native(*arrays)
    return jax.lax.platform_dependent(*arrays, cpu=cpu, default=native)


@contextlib.contextmanager
def native_forms():
    """Everything that is traced inside takes XLA's native form on every platform.

    For measuring what the other forms are worth.
    """
    token = _NATIVE_ONLY.set(True)
    try:
        yield
    finally:
        _NATIVE_ONLY.reset(token)
