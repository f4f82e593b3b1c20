import os
import tempfile

import pytest

from jaxeff import environment

# Before JAX is imported: tests compile the same small programs again and again, in this process and
# in those that they start.
_CACHE = tempfile.TemporaryDirectory(prefix="jaxeff-test-cache-")
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": _CACHE.name,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    # Compiles in two thirds of the time; the programs run long enough in none of the tests.
    "XLA_FLAGS": f"{environment.NO_YNNPACK} --xla_backend_optimization_level=0",
}


@pytest.fixture(scope="session", autouse=True)
def _shared_compilation_cache():
    yield
    if _CACHE is not None:
        _CACHE.cleanup()


@pytest.fixture
def compiled_programs(monkeypatch):
    """What is compiled ahead of time from here on, as by `devices.parallel`, in order."""
    import jax

    compiled, programs = jax.stages.Lowered.compile, []

    def compile_and_keep(lowered, *arguments, **options):
        programs.append(compiled(lowered, *arguments, **options))
        return programs[-1]

    monkeypatch.setattr(jax.stages.Lowered, "compile", compile_and_keep)
    return programs
