"""Grouped convolutions by oneDNN, which jaxlib's CPU backend carries on x86-64 Linux.

A custom call reaches the library, and runs on XLA's own threads. It is nobody's public interface,
so it is used only in the versions of jaxlib that it was tried with, after a trial on the machine at
hand, and never with dilated windows: with a dilated depthwise kernel of one pixel oneDNN has
written beyond its result. XLA cannot serialise a program with such a call, so JAX's compilation
cache does not hold it.
"""

import functools
import importlib.metadata
import json
import pathlib
import platform
import re
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

# Of jaxlib, whose calls passed `available`'s trial. Another version may read the settings
# otherwise, and ends the process where it makes no sense of them.
VERSIONS = ((0, 10), (0, 12))

# Why the trial failed, if it did.
_failures: list[str] = []


def supports(dtype: jnp.dtype) -> bool:
    """Whether oneDNN is there and multiplies numbers of `dtype` on this processor."""
    if dtype == jnp.bfloat16:
        # Without these instructions oneDNN ends the process.
        return available() and "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text()
    return dtype == jnp.float32 and available()


def is_expected() -> bool:
    """Whether this jaxlib should carry oneDNN, and the trial, if it was made, went well."""
    of_that_kind = sys.platform == "linux" and platform.machine() == "x86_64"
    return of_that_kind and VERSIONS[0] <= jaxlib_version() <= VERSIONS[1] and not _failures


@functools.cache
def available() -> bool:
    """Whether jaxlib carries oneDNN, in a version that computes the trial convolution rightly."""
    if not is_expected():
        return False
    # Neither window nor strides nor images are square: no other reading of the settings fits.
    images = np.arange(2 * 7 * 4 * 6, dtype=np.float32).reshape(2, 7, 4, 6) % 7
    kernel = np.arange(3 * 2 * 3 * 16, dtype=np.float32).reshape(3, 2, 3, 16) % 5
    expected = [
        sum(
            images[:, i : i + 5 : 2, j : j + 3, inputs] @ kernel[i, j, :, outputs]
            for i in range(3)
            for j in range(2)
        )
        for inputs, outputs in ((slice(3), slice(8)), (slice(3, 6), slice(8, 16)))
    ]
    trial = jax.jit(functools.partial(convolution, strides=(2, 1), groups=2))
    cpu = jax.local_devices(backend="cpu")[0]
    try:
        with jax.ensure_compile_time_eval(), jax.default_device(cpu):
            got = np.asarray(trial(images, kernel))
    except jax.errors.JaxRuntimeError as error:
        _failures.append(str(error))
        return False
    if not np.array_equal(got, np.concatenate(expected, -1)):
        _failures.append("oneDNN computes the trial convolution wrongly")
    return not _failures


def jaxlib_version() -> tuple[int, ...]:
    """The first two numbers of jaxlib's version."""
    numbers = re.findall(r"\d+", importlib.metadata.version("jaxlib"))
    return tuple(int(number) for number in numbers[:2])


def convolution(
    images: jax.Array,
    kernel: jax.Array,
    *,
    strides: Sequence[int] = (1, 1),
    padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
    groups: int = 1,
) -> jax.Array:
    """Cross-correlates `images` with `kernel`.

    Args:
      images: `[N, H, W, C]`, float32 or bfloat16.
      kernel: `[kh, kw, C / groups, F]`, of the same dtype.
      strides: vertical and horizontal step.
      padding: zeros before and after, vertically and horizontally, none negative.
      groups: number of channel groups that do not see each other.

    Returns:
      `[N, H', W', F]`, of that dtype. No gradient is defined.
    """
    size = [
        (images.shape[1 + axis] + sum(padding[axis]) - kernel.shape[axis]) // strides[axis] + 1
        for axis in (0, 1)
    ]
    data = {"data": {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}}
    filters = {"input_feature_dim": 2, "output_feature_dim": 3, "spatial_dims": [0, 1]}
    settings = {
        "dims": 4,
        "feature_groups": groups,
        "input": data,
        "kernel": {"filter": filters},
        "output": data,
        "window": {
            "pad_left": [before for before, _ in padding],
            "pad_right": [after for _, after in padding],
            "strides": list(strides),
            # Left out they are 0, which ends the process.
            "window_dilations": [1, 1],
        },
    }
    call = jax.ffi.ffi_call(
        "__onednn$convolution",
        jax.ShapeDtypeStruct((images.shape[0], *size, kernel.shape[3]), images.dtype),
        custom_call_api_version=2,
        legacy_backend_config=json.dumps({"onednn_conv_config": settings}),
    )
    return call(images, kernel)
