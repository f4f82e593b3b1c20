"""Batches of images for training and validation.

What is promised (and tested under these words):

- The training stream is one seeded shuffle of all images after the other, a new one each epoch.
  Every epoch contains every image once; batches run on across the end of an epoch.
- Global batch k is the same images with the same augmentation however many processes, workers
  and threads make it: both depend on nothing but the seed and the position in the stream.
- The step alone is the state: `start_example=k` goes on where k examples left off, at no cost.
- Validation sees every image once, over all processes together.
- An image that cannot be read ends the iteration with a UsageError that names the file, from
  wherever it was read.
- Closing or dropping an iterator ends its threads and processes.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import grain
import numpy as np

from jaxeff.data.augment import decode, evaluation_image, train_crop, train_image
from jaxeff.data.batches import Batches
from jaxeff.data.cache import EvaluationCrops
from jaxeff.data.concurrency import loader_threads
from jaxeff.data.dataset import Dataset, Source
from jaxeff.data.options import WHOLE_BATCH, Augmentation, Shard, StreamOptions
from jaxeff.data.shuffle import ShuffledStream
from jaxeff.errors import UsageError

# More unreadable images than this in a row are no accident, and stop the run.
MOST_SKIPPED = 8
# Drawing a crop takes microseconds, so a few batches ahead of their use cost next to nothing.
_CROP_BATCHES_AHEAD = 4
_CROP_BYTES = 40
# As good as endless. Grain rounds `sys.maxsize` images in batches of one up to more than `len` may
# return.
_ENDLESS = 2**62


def train_batches(
    dataset: Dataset,
    image_size: int,
    augmentation: Augmentation,
    options: StreamOptions,
    shard: Shard = WHOLE_BATCH,
) -> Batches:
    """The endless stream of training batches, this process's part of each.

    Reading starts at once, in the background.

    Args:
      dataset: where the images come from.
      image_size: side of the square images, pixels.
      augmentation: how the images vary.
      options: batch size, seed, and how the batches are made.
      shard: this process's part of each batch; all of it by default.

    Returns:
      An iterator over `{"image": uint8 [n, image_size, image_size, 3], "label": int32 [n]}`, with n
      = `options.batch_size` / `shard.process_count`.

    Raises:
      UsageError: the batch does not divide among the processes or, while iterating, an image cannot
        be read.
    """
    example = _train_example if options.on_bad_image == "stop" else _train_example_or_next
    return _training_stream(
        dataset.train,
        functools.partial(example, size=image_size, augmentation=augmentation),
        options,
        shard,
        num_threads=loader_threads(dataset.train),
        example_bytes=image_size**2 * 3,
    )


def crop_batches(
    dataset: Dataset,
    augmentation: Augmentation,
    options: StreamOptions,
    shard: Shard = WHOLE_BATCH,
) -> Batches:
    """The stream of `train_batches`, as boxes in cached images instead of pixels.

    Args:
      dataset: one whose training images are in memory (`cache.in_memory`).
      augmentation: as in `train_batches`.
      options: as in `train_batches`; `num_workers`, `prefetch` and `on_bad_image` have no effect,
        because nothing is decoded here.
      shard: as in `train_batches`.

    Returns:
      An iterator over `{"index": int32 [n], "box": int32 [n, 4], "offset": int32 [n, 2], "flip":
      bool [n], "label": int32 [n]}`, for `cache.crop_and_flip`.

    Raises:
      UsageError: the batch does not divide among the processes, or `augmentation.pixels` asks for
        what only the host can do.
    """
    if augmentation.pixels:
        names = ", ".join(getattr(t, "__name__", type(t).__name__) for t in augmentation.pixels)
        raise UsageError(
            f"--cache=device crops and flips only, and the host makes {names}: give --cache=memory"
        )
    return _training_stream(
        dataset.train,
        functools.partial(_crop_example, augmentation=augmentation),
        dataclasses.replace(options, num_workers=0, prefetch=_CROP_BATCHES_AHEAD),
        shard,
        num_threads=1,
        example_bytes=_CROP_BYTES,
    )


def validation_batches(
    dataset: Dataset,
    image_size: int,
    *,
    batch_size: int,
    num_workers: int = 0,
    shard: Shard = WHOLE_BATCH,
) -> Batches:
    """All validation images once, in the data set's order, this process's part of each batch.

    The last batch is padded with black images of label 0 whose mask is False. Every process gets
    the same number of batches, ceil(images / batch_size).

    Args:
      dataset: where the images come from, and how much of each is shown.
      image_size: side of the square images, pixels.
      batch_size: images in a global batch, over all processes.
      num_workers: worker processes that decode; 0 decodes in threads of this process. Of no effect
        where the images are kept as crops of this size (`cache.with_evaluation_crops`).
      shard: this process's part of each batch; all of it by default.

    Returns:
      An iterator over `{"image": uint8 [n, image_size, image_size, 3], "label": int32 [n], "mask":
      bool [n]}`, with n = `batch_size` / `shard.process_count`.

    Raises:
      UsageError: as `train_batches`, or a number is out of range.
    """
    options = StreamOptions(batch_size, num_workers=num_workers, prefetch=1)
    local_batch_size = shard.local_batch_size(batch_size)
    source = dataset.validation
    batch_count = -(-len(source) // batch_size)
    if isinstance(source, EvaluationCrops):
        if source.size == image_size:
            batch = functools.partial(_kept_batch, crops=source, batch_size=batch_size, shard=shard)
            return Batches(
                grain.MapDataset.range(batch_count).map(batch),
                dataclasses.replace(options, num_workers=0),
                num_threads=1,
                batch_bytes=local_batch_size * image_size**2 * 3,
            )
        source = source.original
    example = functools.partial(
        _validation_example,
        source=source,
        size=image_size,
        crop_fraction=dataset.evaluation_crop_fraction,
    )
    return Batches(
        _OfShard(grain.MapDataset.range(batch_count * batch_size), batch_size, shard)
        .map(example)
        .batch(local_batch_size),
        options,
        num_threads=loader_threads(source),
        batch_bytes=local_batch_size * image_size**2 * 3,
    )


def _training_stream(
    source: Source,
    example: Callable[..., dict[str, Any]],
    options: StreamOptions,
    shard: Shard,
    *,
    num_threads: int,
    example_bytes: int,
) -> Batches:
    """Batches of what `example(position, rng, source=…, stream=…)` makes, without end."""
    # Two independent random streams from one seed, and no two seeds have one in common.
    order_seed, augmentation_seed = (
        int(child.generate_state(1, np.uint64)[0])
        for child in np.random.SeedSequence(options.seed).spawn(2)
    )
    stream = ShuffledStream(len(source), order_seed)
    local_batch_size = shard.local_batch_size(options.batch_size)
    examples = grain.MapDataset.range(_ENDLESS).random_map(
        functools.partial(example, source=source, stream=stream), seed=augmentation_seed
    )
    return Batches(
        _OfShard(examples, options.batch_size, shard, options.start_example).batch(
            local_batch_size
        ),
        options,
        num_threads=num_threads,
        batch_bytes=local_batch_size * example_bytes,
    )


class _OfShard(grain.MapDataset):
    """The elements of `parent`, from `start` on, in this process's part of each global batch."""

    def __init__(self, parent: grain.MapDataset, batch_size: int, shard: Shard, start: int = 0):
        super().__init__(parent)
        self._elements, self._batch_size, self._shard = parent, batch_size, shard
        self._start = start

    def __len__(self):
        return (len(self._elements) - self._start) // self._shard.process_count

    def __getitem__(self, index):
        return self._elements[self._start + self._shard.position(index, self._batch_size)]


def _train_example(
    position: int,
    rng: np.random.Generator,
    *,
    source: Source,
    stream: ShuffledStream,
    size: int,
    augmentation: Augmentation,
) -> dict[str, Any]:
    example = source[stream.index(position)]
    flip = _alternating_flip(augmentation, stream, position)
    image = train_image(example["image"], size, augmentation, rng, flip)
    return {"image": image, "label": np.int32(example["label"])}


def _train_example_or_next(
    position: int,
    rng: np.random.Generator,
    *,
    source: Source,
    stream: ShuffledStream,
    size: int,
    augmentation: Augmentation,
) -> dict[str, Any]:
    """The first readable image from `position` on in its epoch, and the indices passed over.

    Which image that is depends on nothing but the position, so it is the same for every worker.
    """
    skipped = np.full(MOST_SKIPPED, -1, np.int64)
    last = min(MOST_SKIPPED, len(source) - 1)
    for further in range(last + 1):
        index = stream.index(position, further)
        example = source[index]
        flip = _alternating_flip(augmentation, stream, position, further)
        try:
            image = train_image(example["image"], size, augmentation, rng, flip)
        except UsageError as error:
            if further == last:
                raise UsageError(
                    f"{further + 1} images in a row cannot be read; the last: {error}"
                ) from error
            skipped[further] = index
        else:
            return {"image": image, "label": np.int32(example["label"]), "skipped": skipped}
    raise AssertionError("the loop returns or raises")


def _crop_example(
    position: int,
    rng: np.random.Generator,
    *,
    source: Source,
    stream: ShuffledStream,
    augmentation: Augmentation,
) -> dict[str, Any]:
    index = stream.index(position)
    example = source[index]
    height, width = example["image"].shape[:2]
    flip = _alternating_flip(augmentation, stream, position)
    drawn = train_crop(height, width, augmentation, rng, flip)
    return {
        "index": np.int32(index),
        "box": np.array(drawn.box, np.int32),
        "offset": np.array(drawn.offset, np.int32),
        "flip": np.bool_(drawn.flip),
        "label": np.int32(example["label"]),
    }


def _alternating_flip(augmentation, stream, position, further=0):
    return augmentation.flip == "alternating" and stream.alternating_flip(position, further)


def _validation_example(
    position: int, *, source: Source, size: int, crop_fraction: float
) -> dict[str, Any]:
    if position >= len(source):
        black = np.zeros((size, size, 3), np.uint8)
        return {"image": black, "label": np.int32(0), "mask": np.bool_(False)}
    example = source[position]
    image = evaluation_image(decode(example["image"]), size, crop_fraction)
    return {"image": image, "label": np.int32(example["label"]), "mask": np.bool_(True)}


def _kept_batch(
    number: int, *, crops: EvaluationCrops, batch_size: int, shard: Shard
) -> dict[str, Any]:
    """This process's part of global batch `number`, of images that are kept as crops."""
    local_batch_size = shard.local_batch_size(batch_size)
    first = shard.position(number * local_batch_size, batch_size)
    images = crops.images[first : first + local_batch_size]
    labels = crops.labels[first : first + local_batch_size]
    missing = local_batch_size - len(labels)
    if missing:
        images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
        labels = np.concatenate([labels, np.zeros(missing, np.int32)])
    return {
        "image": images,
        "label": labels,
        "mask": np.arange(local_batch_size) < local_batch_size - missing,
    }
