import gc
import os
import tempfile

import pytest

# Before JAX is imported: tests compile the same small programs again and again, in this process and
# in those that they start.
_CACHE = tempfile.TemporaryDirectory(prefix="jaxeff-test-cache-")
os.environ |= {
    # On an accelerator: JAX_PLATFORMS=cuda,cpu JAX_DEFAULT_MATMUL_PRECISION=highest pytest
    "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu"),
    "JAX_COMPILATION_CACHE_DIR": _CACHE.name,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    # Compiles in two thirds of the time; the programs run long enough in none of the tests.
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    # Each core has a process of the tests already.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

from jaxeff.cpu import ynnpack  # noqa: E402

ynnpack.keep_products_alone()


@pytest.fixture(scope="module", autouse=True)
def _garbage_of_a_file_alone():
    """Garbage is sought among what a file makes, not in a million objects of imports and caches."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _shared_compilation_cache():
    yield
    if _CACHE is not None:
        _CACHE.cleanup()
