"""Mean and deviation of a data set's own images, to normalise with instead of ImageNet's."""

import dataclasses

import numpy as np

from jaxeff.data.augment import decode
from jaxeff.data.concurrency import in_threads
from jaxeff.data.dataset import Dataset, Source
from jaxeff.errors import UsageError

MOST_MEASURED = 10_000
# The last digits of a sum depend on the decoder's version.
_DIGITS = 5


def with_measured_normalisation(dataset: Dataset, progress=iter) -> Dataset:
    """The data set with mean and deviation of its training images in place of ImageNet's.

    As `measure` says.

    Args:
      dataset: any.
      progress: wraps the iteration over the images, to show how far it is.

    Raises:
      UsageError: an image cannot be read, or a channel is the same everywhere.
    """
    mean, std = measure(dataset.train, progress)
    if not all(std):
        raise UsageError(
            f"--normalise=measured: the training images of {dataset.name} have one value in a "
            f"channel (deviation {std}); leave the flag out"
        )
    return dataclasses.replace(dataset, mean=mean, std=std)


def measure(source: Source, progress=iter) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and standard deviation on the 0..1 scale, rounded to five decimals.

    They are over all pixels of the decoded images, each image counting the same whatever its size.
    Of more than `MOST_MEASURED` images, that many at equal distances in the source's order are
    measured: image `i * N // MOST_MEASURED`. The result is the same on every start.

    Args:
      source: labelled images.
      progress: wraps the iteration over the images, to show how far it is.

    Returns:
      Mean and deviation, three numbers each.

    Raises:
      UsageError: an image cannot be read.
    """
    count = min(len(source), MOST_MEASURED)
    indices = [i * len(source) // count for i in range(count)]

    levels = np.arange(256)

    def moments(index):
        """Mean of the pixels, and of their squares, for each channel: `[2, 3]`."""
        counts = np.reshape(decode(source[index]["image"]).histogram(), (3, 256))
        return np.stack([counts @ levels, counts @ levels**2]) / counts[0].sum()

    first, second = sum(in_threads(moments, indices, progress)) / count
    mean, std = first / 255, np.sqrt(np.maximum(second - first * first, 0)) / 255
    return tuple(mean.round(_DIGITS).tolist()), tuple(std.round(_DIGITS).tolist())
