"""Images and labels: data sets, augmentation and batches."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from jaxeff.data.batch_transforms import CutMix, Mixup, OneOf, RandomErasing
    from jaxeff.data.batches import Batches
    from jaxeff.data.cache import crop_and_flip, in_memory
    from jaxeff.data.concurrency import loader_processes
    from jaxeff.data.dataset import Dataset
    from jaxeff.data.datasets import load, names
    from jaxeff.data.options import (
        Augmentation,
        PadAndCrop,
        RandomResizedCrop,
        Shard,
        StreamOptions,
    )
    from jaxeff.data.pipeline import crop_batches, train_batches, validation_batches
    from jaxeff.data.pixels import ColourJitter, RandAugment

__all__ = [
    "Augmentation",
    "Batches",
    "ColourJitter",
    "CutMix",
    "Dataset",
    "Mixup",
    "OneOf",
    "PadAndCrop",
    "RandAugment",
    "RandomErasing",
    "RandomResizedCrop",
    "Shard",
    "StreamOptions",
    "crop_and_flip",
    "crop_batches",
    "in_memory",
    "load",
    "loader_processes",
    "names",
    "train_batches",
    "validation_batches",
]
