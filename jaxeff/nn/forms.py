"""The choice between XLA's native form of an operation and one that its CPU backend runs faster.

`jax.lax.platform_dependent` keeps both in one program; each platform compiles only its own. TPU and
GPU take the native form, which is also the one that the canonical FLOP count is lowered from.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import jax

# The platform, "cpu" or "native", whose form alone is traced; None for both in one program.
_ONLY = contextvars.ContextVar("only", default=None)


def by_platform(*arrays: jax.Array, cpu: Callable | None, native: Callable):
    """`cpu(*arrays)` on CPU and `native(*arrays)` elsewhere; `cpu=None` is native everywhere."""
    only = _ONLY.get()
    if cpu is None or only == "native":
        return native(*arrays)
    if only == "cpu":
        return cpu(*arrays)
    return jax.lax.platform_dependent(*arrays, cpu=cpu, default=native)


def cpu_forms_alone() -> bool:
    """Whether what is traced now holds the CPU's forms and no others."""
    return _ONLY.get() == "cpu"


def native_forms() -> contextlib.AbstractContextManager[None]:
    """Everything that is traced inside takes XLA's native form on every platform.

    For counting, and for measuring what the other forms are worth.
    """
    return _trace_only("native")


def forms_of_backend() -> contextlib.AbstractContextManager[None]:
    """What is traced inside holds the forms of JAX's default backend alone, and runs nowhere else.

    The same program in the end, traced in less time. An enclosing choice stays as it is.
    """
    own = "cpu" if jax.default_backend() == "cpu" else "native"
    return _trace_only(_ONLY.get() or own)


@contextlib.contextmanager
def _trace_only(platform: str) -> Iterator[None]:
    token = _ONLY.set(platform)
    try:
        yield
    finally:
        _ONLY.reset(token)
