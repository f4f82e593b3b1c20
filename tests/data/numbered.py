"""A data set whose labels number its images, so that a batch tells which ones are in it."""

import itertools

import numpy as np

from jaxeff.data import Augmentation, Shard, StreamOptions, train_batches, validation_batches
from jaxeff.data.dataset import ArraySource, Dataset

SIZE = 8


def numbered(train, validation=1):
    """`train` and `validation` are the numbers of images."""

    def source(count):
        images = np.random.default_rng(count).integers(0, 256, (count, 9, 10, 3), np.uint8)
        return ArraySource(images, np.arange(count, dtype=np.int32))

    return dataset_of(source(train), source(validation))


def dataset_of(train, validation):
    return Dataset(
        name="numbered",
        train=train,
        validation=validation,
        class_names=tuple(map(str, range(max(len(train), len(validation))))),
        image_size=SIZE,
        target=None,
        fingerprint="",
        horizontal_flip=True,
        evaluation_crop_fraction=1.0,
        in_memory=True,
    )


def training(dataset, shard=Shard(), image_size=SIZE, **options):  # noqa: B008 (frozen)
    options = StreamOptions(**({"batch_size": 8} | options))
    return train_batches(dataset, image_size, Augmentation(), options, shard)


def train(dataset, steps, *arguments, **options):
    """The first batches of the stream, as one array of images and one of labels."""
    batches = training(dataset, *arguments, **options)
    try:
        taken = list(itertools.islice(batches, steps))
    finally:
        batches.close()
    return np.stack([b["image"] for b in taken]), np.stack([b["label"] for b in taken])


def validate(dataset, image_size=SIZE, **options):
    return list(validation_batches(dataset, image_size, **({"batch_size": 8} | options)))
