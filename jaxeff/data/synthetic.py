"""Coloured stripes: a small made-up data set that a small network learns in seconds.

A class is one of five directions of stripes in one of two colours. Period, phase, tint and noise
vary from image to image and say nothing about the class. Every pixel is integer arithmetic on
raw Philox output, which NumPy promises to keep, so the images and the fingerprint are the same on
every machine and with every NumPy.
"""

import functools

import numpy as np

from jaxeff.data.dataset import ArraySource, Dataset, fingerprint_arrays

TRAIN_EXAMPLES = 500
VALIDATION_EXAMPLES = 101  # prime, so no batch size divides it and the last batch is always padded
SIZE = 64

_SEED = 20050430
# 1024 × (cos, sin) of 0, 36, 72, 108 and 144 degrees: the direction across the stripes.
_DIRECTIONS = ((1024, 0), (828, 602), (316, 974), (-316, 974), (-828, 602))
_COLOURS = {"warm": (220, 140, 60), "cool": (60, 140, 220)}
_DEGREES = (0, 36, 72, 108, 144)
_CLASS_NAMES = tuple(f"{colour}_{degrees}" for degrees in _DEGREES for colour in _COLOURS)


@functools.cache
def load() -> Dataset:
    """The data set `synthetic`: ten balanced classes, made in memory in a fraction of a second.

    Once in a process; its arrays are read-only.
    """
    train = _make(range(TRAIN_EXAMPLES))
    validation = _make(range(TRAIN_EXAMPLES, TRAIN_EXAMPLES + VALIDATION_EXAMPLES))
    return Dataset(
        name="synthetic",
        train=train,
        validation=validation,
        class_names=_CLASS_NAMES,
        image_size=SIZE,
        target="top1:0.9",
        fingerprint=fingerprint_arrays(train, validation),
        horizontal_flip=False,  # flipped, 36 degrees are 144, another class
        evaluation_crop_fraction=1.0,
        in_memory=True,
    )


def _make(indices: range) -> ArraySource:
    labels = np.asarray([index % len(_CLASS_NAMES) for index in indices], np.int32)
    images = np.stack([_image(index) for index in indices])
    images.flags.writeable = labels.flags.writeable = False
    return ArraySource(images, labels)


def _image(index: int) -> np.ndarray:
    """Image `index`, uint8 `[SIZE, SIZE, 3]`; depends on nothing but the index."""
    direction, colour = divmod(index % len(_CLASS_NAMES), len(_COLOURS))
    random = np.random.Philox(key=[_SEED, index])
    draws = [int(draw) for draw in random.random_raw(5)]
    noise = random.random_raw(SIZE * SIZE * 3 // 8).astype("<u8").view(np.uint8)

    period = (10 + draws[0] % 7) * 1024  # 10 to 16 pixels
    across, down = _DIRECTIONS[direction]
    row, column = np.mgrid[:SIZE, :SIZE]
    phase = (column * across + row * down + draws[1] % period) % period
    stripes = 255 * np.abs(2 * phase - period) // period  # 0..255, a triangle wave
    tint = np.asarray(list(_COLOURS.values())[colour]) + [draw % 61 - 30 for draw in draws[2:]]
    clean = stripes[..., None] * tint // 255
    grain = noise.reshape(SIZE, SIZE, 3).astype(np.int64) * 81 // 256 - 40
    return np.clip(clean + grain, 0, 255).astype(np.uint8)
