"""Says what hardware can do at most: by what makers publish, or by measuring it.

Peaks are for dense matrix products. `float32` is arithmetic in full single precision (on NVIDIA
GPUs the CUDA cores), `tfloat32` the tensor cores' TF32, which JAX uses for float32 arrays on
NVIDIA GPUs since A100 unless `jax_default_matmul_precision` says otherwise. TPUs multiply in
bfloat16; by default JAX does so for float32 arrays too, and their makers publish no float32 peak.
"""

import difflib
import functools
import re
import time

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxeff.errors import UsageError

# Device kind, as it occurs in `jax.Device.device_kind` -> ({precision: FLOP/s}, source).
# One JAX device is one core of a TPU v2 or v3 and one chiplet of a TPU7x, two of which are a chip.
PEAKS: dict[str, tuple[dict[str, float], str]] = {
    "TPU v2": (
        {"bfloat16": 45e12 / 2},
        "cloud.google.com/tpu/docs/v2: 45 TFLOPS a chip of two cores",
    ),
    "TPU v3": (
        {"bfloat16": 123e12 / 2},
        "cloud.google.com/tpu/docs/v3: 123 TFLOPS a chip of two cores",
    ),
    "TPU v4": ({"bfloat16": 275e12}, "cloud.google.com/tpu/docs/v4"),
    "TPU v4 lite": ({"bfloat16": 138e12}, "Jouppi et al., Ten Lessons (ISCA 2021): TPU v4i"),
    "TPU v5 lite": ({"bfloat16": 197e12}, "cloud.google.com/tpu/docs/v5e"),
    "TPU v5e": ({"bfloat16": 197e12}, "cloud.google.com/tpu/docs/v5e"),
    "TPU v5": ({"bfloat16": 459e12}, "cloud.google.com/tpu/docs/v5p"),
    "TPU v5p": ({"bfloat16": 459e12}, "cloud.google.com/tpu/docs/v5p"),
    "TPU v6 lite": ({"bfloat16": 918e12}, "cloud.google.com/tpu/docs/v6e"),
    "TPU v6e": ({"bfloat16": 918e12}, "cloud.google.com/tpu/docs/v6e"),
    "TPU7x": (
        {"bfloat16": 2307e12 / 2},
        "cloud.google.com/tpu/docs/tpu7x: 2 307 TFLOPS a chip of two devices",
    ),
    "P100-PCIE": ({"float32": 9.3e12, "float16": 18.7e12}, "NVIDIA Tesla P100 PCIe data sheet"),
    "P100-SXM2": ({"float32": 10.6e12, "float16": 21.2e12}, "NVIDIA Tesla P100 white paper"),
    "V100-PCIE": ({"float32": 14e12, "float16": 112e12}, "NVIDIA V100 data sheet"),
    "V100-SXM2": ({"float32": 15.7e12, "float16": 125e12}, "NVIDIA V100 data sheet"),
    "Tesla T4": ({"float32": 8.1e12, "float16": 65e12}, "NVIDIA T4 data sheet"),
    "NVIDIA A100": (
        {"float32": 19.5e12, "tfloat32": 156e12, "bfloat16": 312e12, "float16": 312e12},
        "NVIDIA A100 data sheet, without sparsity",
    ),
    "NVIDIA A10": (
        {"float32": 31.2e12, "tfloat32": 62.5e12, "bfloat16": 125e12, "float16": 125e12},
        "NVIDIA A10 data sheet, without sparsity",
    ),
    "NVIDIA L4": (
        {"float32": 30.3e12, "tfloat32": 60e12, "bfloat16": 121e12, "float16": 121e12},
        "NVIDIA L4 data sheet: half of the figures with sparsity",
    ),
    "NVIDIA L40S": (
        {"float32": 91.6e12, "tfloat32": 183e12, "bfloat16": 362.05e12, "float16": 362.05e12},
        "NVIDIA L40S data sheet, without sparsity",
    ),
    "NVIDIA H100 80GB HBM3": (
        {"float32": 66.9e12, "tfloat32": 494.7e12, "bfloat16": 989.4e12, "float16": 989.4e12},
        "NVIDIA H100 architecture white paper: SXM5, without sparsity",
    ),
    "NVIDIA H100 PCIe": (
        {"float32": 51.2e12, "tfloat32": 378e12, "bfloat16": 756e12, "float16": 756e12},
        "NVIDIA H100 architecture white paper: PCIe, without sparsity",
    ),
    "NVIDIA H100 NVL": (
        {"float32": 60e12, "tfloat32": 417.5e12, "bfloat16": 835.5e12, "float16": 835.5e12},
        "NVIDIA H100 data sheet: NVL, half of the figures with sparsity",
    ),
    "NVIDIA H200": (
        {"float32": 66.9e12, "tfloat32": 494.7e12, "bfloat16": 989.4e12, "float16": 989.4e12},
        "NVIDIA H200 data sheet: SXM, the compute of H100 SXM5",
    ),
    "NVIDIA H200 NVL": (
        {"float32": 60e12, "tfloat32": 417.5e12, "bfloat16": 835.5e12, "float16": 835.5e12},
        "NVIDIA H200 data sheet: NVL, half of the figures with sparsity",
    ),
    "NVIDIA B200": (
        {"float32": 75e12, "tfloat32": 1.125e15, "bfloat16": 2.25e15, "float16": 2.25e15},
        "NVIDIA HGX data sheet: an eighth of HGX B200, half of the figures with sparsity",
    ),
    "NVIDIA GB200": (
        {"float32": 80e12, "tfloat32": 1.25e15, "bfloat16": 2.5e15, "float16": 2.5e15},
        "NVIDIA GB200 NVL72 data sheet: a 72nd, half of the figures with sparsity",
    ),
}

# JAX devices of a chip, where they are not one: what is booked and paid for is the chip.
DEVICES_PER_CHIP = {"TPU v2": 2, "TPU v3": 2, "TPU7x": 2}

# Device kind -> (bytes, bytes a second, source) of a JAX device's memory. Names are matched as in
# `PEAKS`. Google's GB are GiB: the TPU compiler has 15.75 GiB of a v5e's 16 for a program.
MEMORIES: dict[str, tuple[float, float, str]] = {
    "TPU v2": (2**33, 700e9 / 2, "cloud.google.com/tpu/docs/v2: 16 GiB a chip of two cores"),
    "TPU v3": (2**34, 900e9 / 2, "cloud.google.com/tpu/docs/v3: 32 GiB a chip of two cores"),
    "TPU v4": (2**35, 1200e9, "cloud.google.com/tpu/docs/v4"),
    "TPU v4 lite": (2**33, 614e9, "Jouppi et al., Ten Lessons (ISCA 2021): TPU v4i"),
    "TPU v5 lite": (2**34, 819e9, "cloud.google.com/tpu/docs/v5e"),
    "TPU v5e": (2**34, 819e9, "cloud.google.com/tpu/docs/v5e"),
    "TPU v5": (95 * 2**30, 2765e9, "cloud.google.com/tpu/docs/v5p"),
    "TPU v5p": (95 * 2**30, 2765e9, "cloud.google.com/tpu/docs/v5p"),
    "TPU v6 lite": (2**35, 1638e9, "cloud.google.com/tpu/docs/v6e"),
    "TPU v6e": (2**35, 1638e9, "cloud.google.com/tpu/docs/v6e"),
    "TPU7x": (96 * 2**30, 7380e9 / 2, "cloud.google.com/tpu/docs/tpu7x: a chip of two devices"),
    "P100-PCIE": (16e9, 732e9, "NVIDIA Tesla P100 PCIe data sheet"),
    "P100-SXM2": (16e9, 732e9, "NVIDIA Tesla P100 white paper"),
    "V100-PCIE": (16e9, 900e9, "NVIDIA V100 data sheet: the card of 16 GB"),
    "V100-SXM2": (16e9, 900e9, "NVIDIA V100 data sheet: the module of 16 GB"),
    "Tesla T4": (16e9, 320e9, "NVIDIA T4 data sheet"),
    "NVIDIA A100": (40e9, 1555e9, "NVIDIA A100 data sheet: 40 GB"),
    "NVIDIA A100-SXM4-80GB": (80e9, 2039e9, "NVIDIA A100 data sheet: SXM, 80 GB"),
    "NVIDIA A100 80GB PCIe": (80e9, 1935e9, "NVIDIA A100 data sheet: PCIe, 80 GB"),
    "NVIDIA A10": (24e9, 600e9, "NVIDIA A10 data sheet"),
    "NVIDIA L4": (24e9, 300e9, "NVIDIA L4 data sheet"),
    "NVIDIA L40S": (48e9, 864e9, "NVIDIA L40S data sheet"),
    "NVIDIA H100 80GB HBM3": (80e9, 3.35e12, "NVIDIA H100 data sheet: SXM"),
    "NVIDIA H100 PCIe": (80e9, 2e12, "NVIDIA H100 data sheet: PCIe"),
    "NVIDIA H100 NVL": (94e9, 3.9e12, "NVIDIA H100 data sheet: NVL"),
    "NVIDIA H200": (141e9, 4.8e12, "NVIDIA H200 data sheet"),
    "NVIDIA H200 NVL": (141e9, 4.8e12, "NVIDIA H200 data sheet"),
    "NVIDIA B200": (180e9, 8e12, "NVIDIA HGX data sheet: an eighth of HGX B200"),
    "NVIDIA GB200": (186e9, 8e12, "NVIDIA GB200 NVL72 data sheet: a 72nd"),
}


# What people call a device that has several variants, or another name in `PEAKS`.
_NICKNAMES = {
    "a100-80gb": "NVIDIA A100-SXM4-80GB",
    "p100": "P100-SXM2",
    "v100": "V100-SXM2",
    "h100": "NVIDIA H100 80GB HBM3",
    "v7": "TPU7x",
    "v7x": "TPU7x",
    "7x": "TPU7x",
}

# JAX by default multiplies arrays of a dtype in the first of these precisions that a device has.
_MULTIPLIED_IN = {
    "float32": ("tfloat32", "float32", "bfloat16"),
}


def find_device(name: str) -> str:
    """Returns the key of `PEAKS` that people mean by `name`, such as `v5e`, `a100` or `TPU v4`.

    Raises:
      UsageError: people call no device of the table so.
    """
    keys = {key.lower(): key for key in (*PEAKS, *MEMORIES)}
    keys |= {re.sub(r"^(nvidia|tpu|tesla) ", "", key): full for key, full in keys.items()}
    keys |= _NICKNAMES
    asked = " ".join(name.lower().split())
    asked = re.sub(r"^tpu(?=v\d)", "tpu ", asked)
    if asked in keys:
        return keys[asked]
    stripped = re.sub(r"^(nvidia|tpu|tesla)[ -]?", "", asked)
    if stripped in keys:
        return keys[stripped]
    near = difflib.get_close_matches(stripped, keys, n=3) or ["v5e", "v6e", "a100", "h100"]
    raise UsageError(f"no peak is known of a device {name!r}: did you mean {', '.join(near)}?")


def arithmetic_peak(device_kind: str, dtype: DTypeLike | str) -> tuple[float, str] | None:
    """Returns a JAX device's peak in the precision in which JAX multiplies arrays of `dtype`.

    That is TF32 for float32 arrays on an A100, bfloat16 for float32 arrays on a TPU: unlike
    `peak_flops_per_second`, which asks for one precision by name.

    Returns:
      Floating-point operations a second and the precision's name; None where no peak is known.
    """
    for precision in _MULTIPLIED_IN.get(_precision(dtype), (dtype,)):
        peak = peak_flops_per_second(device_kind, precision)
        if peak is not None:
            return peak, str(precision)
    return None


def peak_flops_per_second(device_kind: str, dtype: DTypeLike | str) -> float | None:
    """Returns the published peak of dense matrix products on one JAX device.

    Args:
      device_kind: `jax.Device.device_kind`, for instance `TPU v5 lite` or `NVIDIA H100 80GB HBM3`.
        The row of `PEAKS` with the longest name that occurs in it, as whole words, applies: an
        A10G is no A10, an L40 no L4.
      dtype: `float32`, `bfloat16`, `float16` (a NumPy or JAX type or its name), or `tfloat32`.

    Returns:
      Floating-point operations a second, two for a multiply-accumulate. None where no peak is
      known: for CPUs, devices that the table lacks, precisions that the device lacks, and parts
      of a GPU (MIG).
    """
    row = row_of(PEAKS, device_kind)
    return None if row is None else row[0].get(_precision(dtype))


def device_memory(device_kind: str) -> tuple[float, float] | None:
    """Returns bytes and bytes a second of a JAX device's memory; None where none is published."""
    row = row_of(MEMORIES, device_kind)
    return None if row is None else row[:2]


def sources(device_kind: str) -> list[str]:
    """Where what is known of a device was published."""
    rows = [row_of(PEAKS, device_kind), row_of(MEMORIES, device_kind)]
    return list(dict.fromkeys(row[-1] for row in rows if row is not None))


def row_of(table: dict, device_kind: str):
    """The row of a table whose name is the longest that occurs in a device kind as whole words.

    None where there is none, and for parts of a GPU (MIG).
    """
    if re.search(r"\bMIG\b", device_kind):
        return None
    names = [name for name in table if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", device_kind)]
    return table[max(names, key=len)] if names else None


def measure_matmul_peak(dtype: DTypeLike | str, size: int = 4096) -> float:
    """Measures the rate of large square matrix products on the first device.

    Runs chained products of `[size, size]` matrices in one program, five times, and takes the
    fastest. Other work on the device, its clocks and its temperature change the number. Measuring
    occupies the device for about a second.

    Args:
      dtype: `float32`, `bfloat16`, `float16`, or `tfloat32`, which only NVIDIA GPUs have. `float32`
        is full precision.
      size: rows and columns; the larger, the nearer to what the device can do.

    Returns:
      Floating-point operations a second, two for a multiply-accumulate.

    Raises:
      UsageError: `size` is not positive, or the device does not multiply this type.
    """
    if size < 1:
        raise UsageError(f"size of the matrices is {size}; it must be at least 1")
    name = _precision(dtype)
    element = jnp.dtype("float32" if name == "tfloat32" else name)
    precision = {
        "float32": jax.lax.Precision.HIGHEST,
        "tfloat32": jax.lax.DotAlgorithmPreset.TF32_TF32_F32,
    }.get(name)

    @functools.partial(jax.jit, static_argnums=2)
    def chain(matrix, start, products):
        def multiply(_, value):
            return jax.lax.dot(value, matrix, precision=precision, preferred_element_type=element)

        return jax.lax.fori_loop(0, products, multiply, start)

    def seconds(products: int) -> float:
        began = time.perf_counter()
        chain(matrix, start, products).block_until_ready()
        return time.perf_counter() - began

    try:
        keys = jax.random.split(jax.random.key(0))
        # Entries of variance 1/size keep the products' entries of order one.
        matrix = (jax.random.normal(keys[0], (size, size)) / size**0.5).astype(element)
        start = jax.random.normal(keys[1], (size, size)).astype(element)
        seconds(1)
        one = min(seconds(1) for _ in range(3))
        products = max(1, min(1000, int(0.1 / one)))
        seconds(products)
        fastest = min(seconds(products) for _ in range(5))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"cannot multiply {name} matrices of {size} on {jax.devices()[0].device_kind}: {error}"
        ) from error
    return 2 * size**3 * products / fastest


def _precision(dtype: DTypeLike | str) -> str:
    if dtype == "tfloat32":
        return "tfloat32"
    try:
        return jnp.dtype(dtype).name
    except TypeError as error:
        raise UsageError(
            f"precision {dtype!r} is unknown; give float32, tfloat32, bfloat16 or float16"
        ) from error
