"""Convolutions and matrix products by oneDNN, which jaxlib's CPU backend carries on x86-64 Linux.

XLA's flag for the library has no effect there; a custom call reaches it all the same, and runs on
XLA's own threads. Against XLA's convolutions it is a third faster where they are dense, and up to a
hundred times where they are grouped or depthwise.

It is nobody's public interface. So it is used only in the versions of jaxlib that it was tried
with, after a trial on the machine at hand, for plain convolutions without spread-out windows, and
`SWITCH` turns it off. XLA fails to write a program with such a call into the persistent compilation
cache (`bad_alloc`, jaxlib 0.10): `compiled_without_cache` keeps it from trying.
"""

import contextlib
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

Pair = tuple[int, int]

# Of jaxlib, whose calls passed the trial of `available`; another may read their settings
# otherwise, and ends the process where it makes no sense of them.
VERSIONS = ((0, 10), (0, 12))

# An environment variable: 0 leaves everything to XLA.
SWITCH = "JAXEFF_ONEDNN"


def in_use() -> bool:
    """Whether oneDNN is there and nobody turned it off."""
    return os.environ.get(SWITCH, "1") != "0" and available()


def supports(*arrays: jax.Array) -> bool:
    """Whether to hand these operands to oneDNN."""
    if not all(array.size and array.dtype == arrays[0].dtype for array in arrays):
        return False
    dtype = arrays[0].dtype
    known = dtype == jnp.float32 or (dtype == jnp.bfloat16 and _has_bfloat16())
    return known and in_use()


@functools.cache
def _has_bfloat16():
    """Whether the processor multiplies bfloat16; oneDNN ends the process where it cannot."""
    information = pathlib.Path("/proc/cpuinfo")
    return information.exists() and "avx512_bf16" in information.read_text()


@functools.cache
def available() -> bool:
    """Whether this process's JAX computes on a CPU whose jaxlib carries oneDNN."""
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        return False
    release = re.findall(r"\d+", importlib.metadata.version("jaxlib"))[:2]
    if not VERSIONS[0] <= tuple(int(number) for number in release) <= VERSIONS[1]:
        return False
    if jax.default_backend() != "cpu":
        return False
    # A window that is not square and a picture that is not symmetric tell one reading of the
    # settings from another.
    images = np.arange(2 * 5 * 4 * 3, dtype=np.float32).reshape(2, 5, 4, 3) % 7
    kernel = np.arange(3 * 2 * 3 * 16, dtype=np.float32).reshape(3, 2, 3, 16) % 5
    expected = sum(
        images[:, i : i + 3, j : j + 3] @ kernel[i, j] for i in range(3) for j in range(2)
    )
    try:
        with jax.ensure_compile_time_eval(), compiled_without_cache():
            got = jax.jit(convolution)(images, kernel)
    except jax.errors.JaxRuntimeError:
        return False
    return bool(np.array_equal(got, expected))


@contextlib.contextmanager
def compiled_without_cache():
    """What is compiled inside is not written into the persistent compilation cache."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, float("inf"))
    try:
        yield
    finally:
        jax.config.update(name, before)


def convolution(
    images: jax.Array,
    kernel: jax.Array,
    *,
    strides: Pair = (1, 1),
    padding: Sequence[Pair] = ((0, 0), (0, 0)),
    groups: int = 1,
    transpose_kernel: bool = False,
) -> jax.Array:
    """Cross-correlates `images` with `kernel`.

    Args:
      images: `[N, H, W, C]`, float32 or bfloat16.
      kernel: `[kh, kw, C / groups, F]`, of the same dtype.
      strides: vertical and horizontal step.
      padding: zeros before and after, vertically and horizontally; negative numbers cut off.
      groups: number of channel groups that do not see each other.
      transpose_kernel: the kernel comes as `[kh, kw, F, C]`; only without groups.

    Returns:
      `[N, H', W', F]`, of that dtype. No gradient is defined.
    """
    cut = [tuple(max(0, -pixels) for pixels in sides) for sides in padding]
    padding = [tuple(max(0, pixels) for pixels in sides) for sides in padding]
    height, width = images.shape[1:3]
    (top, bottom), (left, right) = cut
    images = images[:, top : height - bottom, left : width - right]
    size = (
        (images.shape[1 + axis] + sum(padding[axis]) - kernel.shape[axis]) // strides[axis] + 1
        for axis in (0, 1)
    )
    pictures = {"data": {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}}
    source, target = (3, 2) if transpose_kernel else (2, 3)
    filters = {"input_feature_dim": source, "output_feature_dim": target, "spatial_dims": [0, 1]}
    settings = {
        "dims": 4,
        "feature_groups": groups,
        "input": pictures,
        "kernel": {"filter": filters},
        "output": pictures,
        "window": {
            "pad_left": [before for before, _ in padding],
            "pad_right": [after for _, after in padding],
            "strides": strides,
            # Left out they are 0, which ends the process.
            "window_dilations": [1, 1],
        },
    }
    shape = (images.shape[0], *size, kernel.shape[target])
    return _call("convolution", {"onednn_conv_config": settings}, shape, images, kernel)


def matrix_product(
    left: jax.Array,
    right: jax.Array,
    *,
    transpose_left: bool = False,
    transpose_right: bool = False,
) -> jax.Array:
    """`left @ right` of two matrices, either transposed first. No gradient is defined.

    Both are float32 or both bfloat16, and so is the result.
    """
    rows = left.shape[1 if transpose_left else 0]
    columns = right.shape[0 if transpose_right else 1]
    settings = {"transpose_a": transpose_left, "transpose_b": transpose_right}
    return _call("matmul", {"onednn_matmul_config": settings}, (rows, columns), left, right)


def _call(operation, settings, shape, *operands):
    call = jax.ffi.ffi_call(
        f"__onednn${operation}",
        jax.ShapeDtypeStruct(shape, operands[0].dtype),
        vmap_method="sequential",
        custom_call_api_version=2,
        legacy_backend_config=json.dumps(settings),
    )
    return call(*operands)
