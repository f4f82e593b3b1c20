import jax.numpy as jnp
import pytest

from jaxeff.compute import (
    arithmetic_peak,
    find_device,
    measure_matmul_peak,
    peak_flops_per_second,
)
from jaxeff.compute.hardware import PEAKS
from jaxeff.errors import UsageError


@pytest.mark.parametrize(
    ("device_kind", "dtype", "peak"),
    [
        ("TPU v2", "bfloat16", 22.5e12),
        ("TPU v3", "bfloat16", 61.5e12),
        ("TPU v4", "bfloat16", 275e12),
        ("TPU v4 lite", "bfloat16", 138e12),
        ("TPU v5", "bfloat16", 459e12),
        ("TPU v5p", "bfloat16", 459e12),
        ("TPU v5 lite", "bfloat16", 197e12),
        ("TPU v6 lite", "bfloat16", 918e12),
        ("TPU7x", "bfloat16", 1153.5e12),
        ("Tesla P100-SXM2-16GB", "float16", 21.2e12),
        ("Tesla V100-SXM2-32GB", "float16", 125e12),
        ("Tesla T4", "float32", 8.1e12),
        ("NVIDIA A100-SXM4-40GB", "tfloat32", 156e12),
        ("NVIDIA A100 80GB PCIe", "bfloat16", 312e12),
        ("NVIDIA A10", "bfloat16", 125e12),
        ("NVIDIA L4", "bfloat16", 121e12),
        ("NVIDIA L40S", "bfloat16", 362.05e12),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.4e12),
        ("NVIDIA H100 PCIe", "bfloat16", 756e12),
        ("NVIDIA H100 NVL", "bfloat16", 835.5e12),
        ("NVIDIA H200", "float32", 66.9e12),
        ("NVIDIA H200 NVL", "bfloat16", 835.5e12),
        ("NVIDIA B200", "bfloat16", 2.25e15),
        ("NVIDIA GB200", "bfloat16", 2.5e15),
    ],
)
def test_a_devices_published_peak(device_kind, dtype, peak):
    assert peak_flops_per_second(device_kind, dtype) == peak


@pytest.mark.parametrize(
    "device_kind",
    [
        "cpu",
        "",
        "TPU v9",
        "TPU v40",
        "NVIDIA A10G",
        "NVIDIA L40",
        "NVIDIA GH200 480GB",
        "Tesla V100S-PCIE-32GB",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA GeForce RTX 4090",
    ],
)
def test_a_device_that_only_resembles_one_of_the_table_has_no_peak(device_kind):
    assert peak_flops_per_second(device_kind, "bfloat16") is None


def test_precisions_that_a_device_lacks_have_no_peak():
    assert peak_flops_per_second("TPU v4", "float32") is None
    assert peak_flops_per_second("Tesla T4", "bfloat16") is None
    assert peak_flops_per_second("NVIDIA H100 80GB HBM3", "float64") is None


def test_types_are_given_as_jax_gives_them():
    for dtype in jnp.bfloat16, jnp.dtype("bfloat16"), "bfloat16":
        assert peak_flops_per_second("TPU v4", dtype) == 275e12
    with pytest.raises(UsageError, match="float99"):
        peak_flops_per_second("TPU v4", "float99")


def test_every_peak_is_traceable_and_lower_precision_is_no_slower():
    for peaks, source in PEAKS.values():
        assert source
        ladder = [peaks[name] for name in ("float32", "tfloat32", "float16") if name in peaks]
        assert ladder == sorted(ladder)
        assert all(1e12 < peak < 1e16 for peak in peaks.values())


def test_a_measured_peak_is_a_rate():
    assert 1e6 < measure_matmul_peak("float32", 64) < 1e15


def test_a_peak_that_cannot_be_measured_is_one_clear_error():
    with pytest.raises(UsageError, match="at least 1"):
        measure_matmul_peak("float32", 0)
    with pytest.raises(UsageError, match="float99"):
        measure_matmul_peak("float99", 64)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("v5e", "TPU v5e"),
        ("tpu v4", "TPU v4"),
        ("TPUv6e", "TPU v6e"),
        ("v7x", "TPU7x"),
        ("H100", "NVIDIA H100 80GB HBM3"),
        ("a100", "NVIDIA A100"),
        ("nvidia-l4", "NVIDIA L4"),
        ("TPU v5 lite", "TPU v5 lite"),
    ],
)
def test_devices_are_found_by_what_people_call_them(name, key):
    assert find_device(name) == key


def test_an_unknown_device_is_answered_with_near_ones():
    with pytest.raises(UsageError, match="did you mean"):
        find_device("h1000")


def test_jax_multiplies_float32_in_the_devices_faster_precision():
    assert arithmetic_peak("NVIDIA A100-SXM4-40GB", "float32") == (156e12, "tfloat32")
    assert arithmetic_peak("TPU v4", "float32") == (275e12, "bfloat16")
    assert arithmetic_peak("Tesla T4", "float32") == (8.1e12, "float32")
    assert arithmetic_peak("Tesla T4", "bfloat16") is None
    assert arithmetic_peak("cpu", "float32") is None
