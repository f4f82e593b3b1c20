"""Weights, images and labels that PyTorch's side and ours can both build, from names and shapes.

Philox's raw output is what NumPy promises never to change, so the values outlive its versions.
"""

import hashlib
import math

import numpy as np

NUM_CLASSES = 10
BATCH_SIZE = 4
# A network has up to 129 million parameters: so many at a time stay in a processor's cache, and
# NumPy multiplies them in one thread.
BLOCK = 2**13


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [-1, 1), float32, that depend on `name` and `shape` alone."""
    numbers = np.empty(math.prod(shape), np.float32)
    for start, block in _blocks(name, numbers.size):
        numbers[start : start + len(block)] = block
    return numbers.reshape(shape)


def _blocks(name, size):
    """Those numbers, a block at a time: where it starts, and its numbers in float64."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    generator = np.random.Philox(key=key)
    for start in range(0, size, BLOCK):
        raw = generator.random_raw(min(BLOCK, size - start))
        yield start, raw * 2.0**-63 - 1


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A value for PyTorch's parameter or buffer `name`, such that activations keep their size."""
    numbers = uniform(name, shape)
    if name.endswith("running_mean"):
        return 0.1 * numbers
    if name.endswith("running_var"):
        return 1 + 0.5 * numbers
    if name.endswith("bias"):
        return 0.1 * numbers
    if len(shape) == 1:  # The scale of a batch norm.
        return 1 + 0.5 * numbers
    numbers *= np.float32(math.sqrt(6 / math.prod(shape[1:])))
    return numbers


def images(size: int) -> np.ndarray:
    """Normalised images `[BATCH_SIZE, size, size, 3]`, float32."""
    return 2 * uniform(f"images {size}", (BATCH_SIZE, size, size, 3))


def labels() -> np.ndarray:
    """Labels `[BATCH_SIZE]`, int64."""
    return np.array([3, 1, 4, 1])


def fingerprint(name: str, array: np.ndarray) -> list[float]:
    """Length of an array and its products with two seeded sign vectors: small, and hard to meet.

    Two arrays whose difference is the share e of their length differ by about e x length in each.
    """
    flat = np.asarray(array, np.float64).ravel()
    found = [float(np.linalg.norm(flat))]
    for i in range(2):
        products = (
            flat[start : start + len(block)] @ np.copysign(1.0, block)
            for start, block in _blocks(f"{name} signs {i}", flat.size)
        )
        found.append(float(sum(products)))
    return found
