"""What a data set is: two random-access sources and the facts that training needs about them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

# Per-channel mean and deviation of ImageNet's training images on the 0..1 scale, as the paper uses.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# In sets of these names, an image flipped left to right is another sign, or none.
NOT_FLIPPED = ("mnist", "svhn", "digits", "kuzushiji", "omniglot", "gtsrb", "letters", "dsprites")
# Images up to this many pixels wide are shown whole and at their own size.
_SMALL = 96


class Source(Protocol):
    """Random access to labelled images. Must survive pickling: worker processes get a copy."""

    def __len__(self) -> int:
        """The number of images."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Image `index` as `{"image": …, "label": int}`.

        The image is anything `jaxeff.data.augment.decode` takes: the path or the bytes of an image
        file, or an array uint8 `[height, width, 3]`.
        """


@dataclass(frozen=True, eq=False)
class ArraySource:
    """A source whose images are in memory.

    Attributes:
      images: uint8 `[N, height, width, 3]`.
      labels: int32 `[N]`.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.images[index], "label": int(self.labels[index])}


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set with a fixed split.

    Attributes:
      name: the name that `jaxeff.data.load` knows it by.
      train: the images to train on.
      validation: the images to measure accuracy on.
      class_names: the name of each label, in label order.
      image_size: side in pixels of the square image that the network sees, unless told otherwise.
      target: the accuracy that counts as reached, such as `"top1:0.95"`; None where the user has
        to say.
      fingerprint: SHA-256 in hex of the content and of the split; two runs with the same
        fingerprint saw the same images with the same labels.
      horizontal_flip: whether an image flipped left to right keeps its label.
      evaluation_crop_fraction: side of the evaluation crop over the short side of the resized
        image; 1.0 shows a square image whole.
      in_memory: the images are decoded arrays, so one process reads them fast enough.
      mean: per-channel mean on the 0..1 scale, to normalise with.
      std: per-channel standard deviation on the 0..1 scale, to normalise with.
      settings: what else was chosen about it, as JSON values, for the record's task.
      notes: what a user should hear of it at the start of a run, a line each.
    """

    name: str
    train: Source
    validation: Source
    class_names: tuple[str, ...]
    image_size: int
    target: str | None
    fingerprint: str
    horizontal_flip: bool
    evaluation_crop_fraction: float
    in_memory: bool
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    settings: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """The number of classes; labels are 0 … num_classes − 1."""
        return len(self.class_names)


def shown(name: str, height: int | None, width: int | None) -> dict[str, Any]:
    """How images of a set that does not say so itself are shown, as fields of a `Dataset`.

    Small square images are shown whole and at their own size; all others as in the paper, at 224
    pixels out of a short side of 256. Images are flipped unless the set's name says that they are
    signs (`NOT_FLIPPED`).

    Args:
      name: the set's.
      height: of every image, in pixels; None where they differ or are not known.
      width: likewise.
    """
    small = height is not None and height == width and height <= _SMALL
    return {
        "image_size": height if small else 224,
        "evaluation_crop_fraction": 1.0 if small else 224 / 256,
        "horizontal_flip": not any(word in name.lower() for word in NOT_FLIPPED),
    }


def fingerprint_arrays(train: ArraySource, validation: ArraySource) -> str:
    """SHA-256 in hex over both splits' shapes, pixels and labels.

    The same on every machine: shapes and labels are hashed as little-endian int64, and the two
    splits one after the other, so that moving an image across the split changes the result.
    """
    digest = hashlib.sha256()
    for split in (train, validation):
        digest.update(np.asarray(split.images.shape, "<i8").tobytes())
        digest.update(np.ascontiguousarray(split.images, np.uint8).tobytes())
        digest.update(np.asarray(split.labels, "<i8").tobytes())
    return digest.hexdigest()
