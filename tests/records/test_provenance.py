"""What a record says of the machine."""

import os

import pytest

from jaxeff.records import environment


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_the_number_of_cores_is_told_since_sums_are_split_between_them():
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        alone = environment("xla").cpu_model
    finally:
        os.sched_setaffinity(0, cores)
    assert alone.endswith(", 1 core")
    several = environment("xla").cpu_model
    assert several.startswith(alone.removesuffix(" core").removesuffix("1"))
    assert several.endswith(f"{len(cores)} cores") or len(cores) == 1
