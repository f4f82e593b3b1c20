import dataclasses
import importlib.metadata
import os
import pathlib

import pytest

from jaxeff import records


def test_software_names_the_versions_that_count():
    software = records.software()
    for name in ("jax", "jaxlib", "flax", "optax"):
        assert getattr(software, name) == importlib.metadata.version(name)
    assert {"python", "jaxeff", "git_commit", "git_dirty"} <= dataclasses.asdict(software).keys()


def test_the_environment_says_what_decides_the_rounding(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_some=1")
    environment = records.environment("cpu: some kernel")
    assert environment.xla_flags == "--xla_some=1"
    assert environment.kernels == "cpu: some kernel"
    assert environment.matmul_precision is None


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="Linux tells of its processor")
def test_the_processors_arithmetic_is_named_and_nothing_else():
    flags = set(records.environment("xla").cpu_flags)
    words = set(pathlib.Path("/proc/cpuinfo").read_text().split())
    arithmetic = {"avx2", "avx512f", "fma", "f16c", "amx_tile", "asimd", "sve", "sse4_2"}
    assert flags & arithmetic == words & arithmetic
    assert not flags & {"fpu", "apic", "smep", "smap", "aes"}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_the_number_of_cores_is_told_since_sums_are_split_between_them():
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        alone = records.environment("xla").cpu_model
    finally:
        os.sched_setaffinity(0, cores)
    assert alone.endswith(", 1 core")
    several = records.environment("xla").cpu_model
    assert several.startswith(alone.removesuffix(" core").removesuffix("1"))
    assert several.endswith(f"{len(cores)} cores") or len(cores) == 1
