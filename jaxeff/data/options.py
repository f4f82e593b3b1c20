"""What a stream of batches is told: what to read, how to vary it, and how to make batches of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jaxeff.errors import UsageError

ON_BAD_IMAGE = ("stop", "skip")


@dataclass(frozen=True)
class Shard:
    """Which part of each global batch this process reads: `process_count` equal parts in order.

    The devices of a run are in the order of its processes, so an image has the same place in the
    batch however many processes read it, and so the same dropout.

    Attributes:
      process_index: which process this is, 0 … process_count − 1.
      process_count: the number of processes that divide each batch among them.

    Raises:
      UsageError: there is no such process.
    """

    process_index: int = 0
    process_count: int = 1

    def __post_init__(self):
        if not 0 <= self.process_index < self.process_count:
            raise UsageError(
                f"process {self.process_index} of {self.process_count}: count them from 0"
            )

    def local_batch_size(self, batch_size: int) -> int:
        """The number of images of a global batch that this process reads.

        Raises:
          UsageError: the batch does not divide among the processes.
        """
        if batch_size % self.process_count:
            multiple = -(-batch_size // self.process_count) * self.process_count
            raise UsageError(
                f"--batch_size={batch_size} does not divide among {self.process_count} processes; "
                f"give a multiple, such as {multiple}"
            )
        return batch_size // self.process_count

    def position(self, local_position: int, batch_size: int) -> int:
        """The position in the global order of images of one in this process's order."""
        local_batch_size = self.local_batch_size(batch_size)
        batch, row = divmod(local_position, local_batch_size)
        return batch * batch_size + self.process_index * local_batch_size + row


WHOLE_BATCH = Shard()


@dataclass(frozen=True)
class StreamOptions:
    """How a stream of batches is made. Batch size and seed decide what is in it, the rest how fast.

    Attributes:
      batch_size: images in a global batch, over all processes.
      seed: not negative; decides order and augmentation.
      start_example: number of images to leave out at the start; costs nothing.
      num_workers: worker processes that decode; 0 decodes in threads of this process.
      prefetch: batches that each worker, or this process, makes ahead of their use.
      on_bad_image: what to do with an image that cannot be read: `stop` raises, `skip` takes the
        next readable one of the epoch's order in its place and adds it to `Batches.skipped`.

    Raises:
      UsageError: a value is out of range.
    """

    batch_size: int
    seed: int = 0
    start_example: int = 0
    num_workers: int = 0
    prefetch: int = 2
    on_bad_image: str = "stop"

    def __post_init__(self):
        if self.batch_size < 1:
            raise UsageError(f"--batch_size={self.batch_size}: give 1 or more")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed} is negative; give 0 or more")
        if self.start_example < 0:
            raise UsageError(f"start example {self.start_example} is negative; give 0 or more")
        if self.num_workers < 0:
            raise UsageError(f"--num_workers={self.num_workers} is negative; give 0 or more")
        if self.prefetch < 1:
            raise UsageError(f"prefetch of {self.prefetch} batches: give 1 or more")
        if self.on_bad_image not in ON_BAD_IMAGE:
            raise UsageError(
                f"--on_bad_image={self.on_bad_image}: give {' or '.join(ON_BAD_IMAGE)}"
            )


@dataclass(frozen=True)
class RandomResizedCrop:
    """A box of random area and aspect, resized to the square (Szegedy et al. 2014, Section 6).

    As torchvision's `RandomResizedCrop`, whose defaults these are.

    Attributes:
      area: smallest and largest area of the box, as fractions of the image's.
      aspect: smallest and largest width over height of the box, before it is squared.

    Raises:
      UsageError: a range is empty or reaches beyond what there is.
    """

    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self):
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise UsageError(f"crop area {self.area}: give two rising fractions of 1")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise UsageError(f"crop aspect {self.aspect}: give two rising numbers above 0")


PADDING_MODES = ("reflect", "zeros")


@dataclass(frozen=True)
class PadAndCrop:
    """The whole image resized to the square, padded, and a random square of the same size cut out.

    The convention of CIFAR (He et al. 2015, Section 4.2), with 4 pixels of zeros; for images of the
    training size it moves them by up to `padding` pixels. As torchvision's `RandomCrop`.

    Attributes:
      padding: pixels of the square, on each of the four sides.
      mode: `reflect` mirrors the image at its outermost pixels, which are not repeated; `zeros` is
        black.

    Raises:
      UsageError: the padding is negative, or there is no such mode.
    """

    padding: int = 4
    mode: str = "reflect"

    def __post_init__(self):
        if self.padding < 0:
            raise UsageError(f"padding of {self.padding} pixels: give 0 or more")
        if self.mode not in PADDING_MODES:
            raise UsageError(f"padding mode {self.mode!r}: give {' or '.join(PADDING_MODES)}")

    def check(self, size: int) -> None:
        """Raises `UsageError` where an image of side `size` has too few pixels to mirror."""
        if self.mode == "reflect" and self.padding >= size:
            raise UsageError(
                f"an image of {size} pixels cannot be padded by {self.padding} reflected ones: "
                f"give a padding of at most {size - 1}, or zeros"
            )


Crop = RandomResizedCrop | PadAndCrop

# A function of an image's pixels, uint8 `[size, size, 3]`, which it may change in place, and of a
# generator, that returns pixels of the same shape.
PixelTransform = Callable[[np.ndarray, np.random.Generator], np.ndarray]

FLIPS = ("random", "alternating", "none")


@dataclass(frozen=True)
class Augmentation:
    """How training images vary; by default as in the paper, which used torchvision's settings.

    The crop comes first, then the flip, then `pixels` in their order.

    Attributes:
      crop: how the square is cut out of the image.
      flip: `random` flips an image left to right half of the times that it is shown;
        `alternating` flips a random half of the images in the first epoch, and each image in every
        other epoch from then on (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", Section 3.6), so
        that two epochs show both sides of all; `none` flips nothing.
      pixels: what else is done on the host, such as `ColourJitter` or `RandAugment`: dataclasses,
        for the record's sake, that are called with pixels and a generator.

    Raises:
      UsageError: there is no such flip, or something is no crop or no transform.
    """

    crop: Crop = RandomResizedCrop()
    flip: str = "random"
    pixels: tuple[PixelTransform, ...] = ()

    def __post_init__(self):
        if self.flip not in FLIPS:
            raise UsageError(f"flip {self.flip!r}: give {', '.join(FLIPS[:-1])} or {FLIPS[-1]}")
        if not isinstance(self.crop, Crop):
            raise UsageError(f"crop {self.crop!r}: give a RandomResizedCrop or a PadAndCrop")
        if not isinstance(self.pixels, tuple) or not all(map(callable, self.pixels)):
            raise UsageError(
                f"pixels {self.pixels!r}: give a tuple of transforms, such as (RandAugment(),)"
            )
