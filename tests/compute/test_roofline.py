import pytest

from jaxeff.compute import device_roofline
from jaxeff.errors import UsageError


def test_the_longer_of_arithmetic_and_memory_binds():
    step = {"flops": 275e12, "bytes_moved": 600e9}
    found = device_roofline("TPU v4", "bfloat16", **step)
    assert (found.arithmetic_seconds, found.memory_seconds) == (1.0, 0.5)
    assert (found.seconds, found.bound) == (1.0, "arithmetic")
    # An H100 in TF32: 494.7 TFLOP/s and 3.35 TB/s.
    found = device_roofline("NVIDIA H100 80GB HBM3", "float32", flops=494.7e12, bytes_moved=6.7e12)
    assert (found.seconds, found.bound) == (2.0, "memory")


def test_a_compilers_longer_estimate_replaces_both():
    step = {"flops": 275e12, "bytes_moved": 600e9}
    assert device_roofline("TPU v4", "bfloat16", compiler_seconds=1.5, **step).seconds == 1.5
    assert device_roofline("TPU v4", "bfloat16", compiler_seconds=0.1, **step).seconds == 1.0


def test_what_is_not_published_is_one_line():
    with pytest.raises(UsageError, match="no peak"):
        device_roofline("Tesla T4", "bfloat16", flops=1, bytes_moved=1)
