"""Small data sets kept decoded: in memory, or on the devices, which then crop and flip.

The devices make the crops that the host would make: it still draws boxes and flips with the same
random numbers, and sends these instead of pixels. The pixels agree within one grey level.

Validation images are kept as the crops that evaluation sees, which are the same pixels every time.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxeff.data.augment import decode, evaluation_image
from jaxeff.data.concurrency import in_threads
from jaxeff.data.dataset import ArraySource, Dataset, Source
from jaxeff.data.options import Crop, PadAndCrop
from jaxeff.errors import UsageError

MOST_BYTES = 8 * 2**30


def in_memory(dataset: Dataset, progress=iter) -> Dataset:
    """The data set with its training images decoded, for sets whose images are all of one size.

    The fingerprint stays that of the files. Validation images are read as before.

    Args:
      dataset: any.
      progress: wraps the iteration over the images, to show how far it is.

    Raises:
      UsageError: the images differ in size, are too many, or one cannot be read.
    """
    if isinstance(dataset.train, ArraySource):
        return dataset
    return dataclasses.replace(dataset, train=_decoded(dataset.train, progress))


def _decoded(source: Source, progress) -> ArraySource:
    first = np.asarray(decode(source[0]["image"]))
    size = len(source) * first.nbytes
    if size > MOST_BYTES:
        raise UsageError(
            f"--cache: {len(source):,} images of {first.shape[1]} x {first.shape[0]} pixels are "
            f"{size / 2**30:.0f} GiB decoded, and {MOST_BYTES / 2**30:.0f} are kept at most"
        )
    images = np.empty((len(source), *first.shape), np.uint8)
    labels = np.empty(len(source), np.int32)

    def keep(index):
        example = source[index]
        pixels = np.asarray(decode(example["image"]))
        if pixels.shape != first.shape:
            raise UsageError(
                f"--cache wants images of one size: {example['image']!r:.200} has "
                f"{pixels.shape[1]} x {pixels.shape[0]} pixels, the first {first.shape[1]} x "
                f"{first.shape[0]}"
            )
        images[index], labels[index] = pixels, example["label"]

    in_threads(keep, range(len(source)), progress)
    return ArraySource(images, labels)


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationCrops(ArraySource):
    """Validation images as evaluation sees them at one size.

    Attributes:
      images: uint8 `[N, size, size, 3]`.
      labels: int32 `[N]`.
      original: the images that they are of, for other sizes.
    """

    original: Source

    @property
    def size(self) -> int:
        """Side of the crops, pixels."""
        return self.images.shape[1]


def with_evaluation_crops(dataset: Dataset, progress=iter) -> Dataset:
    """The data set with its validation images kept as crops at `dataset.image_size`.

    An evaluation then decodes nothing, and its batches are bit for bit the same. Where training
    images and crops would be more than `MOST_BYTES` together, validation is read as before.

    Args:
      dataset: any.
      progress: wraps the iteration over the images, to show how far it is.

    Raises:
      UsageError: an image cannot be read.
    """
    source, size = dataset.validation, dataset.image_size
    if isinstance(source, EvaluationCrops) and source.size == size:
        return dataset
    kept = dataset.train.images.nbytes if isinstance(dataset.train, ArraySource) else 0
    if kept + len(source) * size * size * 3 > MOST_BYTES:
        return dataset
    images = np.empty((len(source), size, size, 3), np.uint8)
    labels = np.empty(len(source), np.int32)

    def keep(index):
        example = source[index]
        images[index] = evaluation_image(
            decode(example["image"]), size, dataset.evaluation_crop_fraction
        )
        labels[index] = example["label"]

    in_threads(keep, range(len(source)), progress)
    crops = EvaluationCrops(images, labels, source)
    return dataclasses.replace(dataset, validation=crops)


def crop_and_flip(
    images: jax.Array, crops: Mapping[str, jax.Array], size: int, crop: Crop
) -> jax.Array:
    """Crops of cached images, resized as PIL does and flipped where asked for.

    Args:
      images: uint8 `[N, H, W, 3]`.
      crops: a batch of `crop_batches`: `index` int32 `[B]`, which image; `box` int32 `[B, 4]`, top,
        left, height and width in its pixels; `offset` int32 `[B, 2]`, top and left in the padded
        square; `flip` bool `[B]`.
      size: side of the result.
      crop: the augmentation's, which says how the square is padded.

    Returns:
      uint8 `[B, size, size, 3]`.

    Raises:
      UsageError: the square is too small for the padding.
    """
    box, flip = crops["box"], crops["flip"]
    rows = _weights(box[:, 0], box[:, 2], images.shape[1], size)
    columns = _weights(box[:, 1], box[:, 3], images.shape[2], size)
    if isinstance(crop, PadAndCrop):
        crop.check(size)
        rows = _moved(rows, crops["offset"][:, 0], crop)
        columns = _moved(columns, crops["offset"][:, 1], crop)
    columns = jnp.where(flip[:, None, None], columns[:, ::-1], columns)
    chosen = images[crops["index"]].astype(jnp.float32)
    exact = jax.lax.Precision.HIGHEST
    # PIL resizes across first, then down, and rounds in between.
    wide = jnp.einsum("bxw,bhwc->bhxc", columns, chosen, precision=exact)
    wide = jnp.floor(wide + 0.5)
    return jnp.floor(jnp.einsum("byh,bhxc->byxc", rows, wide, precision=exact) + 0.5).astype(
        jnp.uint8
    )


def _moved(weights, offset, crop):
    """The rows of `weights` that a padded image has from `offset` on; `[B, size, pixels]`."""
    size = weights.shape[1]
    padded = jnp.pad(
        weights,
        ((0, 0), (crop.padding, crop.padding), (0, 0)),
        mode="reflect" if crop.mode == "reflect" else "constant",
    )
    return jax.vmap(lambda rows, start: jax.lax.dynamic_slice_in_dim(rows, start, size))(
        padded, offset
    )


def _weights(start, length, pixels, size):
    """`[B, size, pixels]`: what each pixel of the box adds to each of the result.

    The weights form a triangle as wide as a pixel of the result, and at least as one of the image.
    """
    step = length.astype(jnp.float32)[:, None] / size
    centre = start[:, None] + (jnp.arange(size) + 0.5) * step
    distance = jnp.abs(jnp.arange(pixels) + 0.5 - centre[:, :, None])
    weights = jnp.maximum(0.0, 1.0 - distance / jnp.maximum(step, 1.0)[:, :, None])
    place = jnp.arange(pixels)
    inside = (place >= start[:, None]) & (place < (start + length)[:, None])
    weights = jnp.where(inside[:, None, :], weights, 0.0)
    return weights / weights.sum(axis=2, keepdims=True)
