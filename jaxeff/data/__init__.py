"""Images and labels: data sets, augmentation and batches."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from jaxeff.data.batch_transforms import CutMix, Mixup, OneOf, RandomErasing
    from jaxeff.data.batches import Batches
    from jaxeff.data.cache import crop_and_flip, in_memory, with_evaluation_crops
    from jaxeff.data.check import check_headers, check_pixels, require_readable
    from jaxeff.data.concurrency import loader_processes
    from jaxeff.data.dataset import IMAGENET_MEAN, IMAGENET_STD, Dataset
    from jaxeff.data.datasets import load, names
    from jaxeff.data.normalisation import with_measured_normalisation
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
    "IMAGENET_MEAN",
    "IMAGENET_STD",
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
    "check_headers",
    "check_pixels",
    "crop_and_flip",
    "crop_batches",
    "in_memory",
    "load",
    "loader_processes",
    "names",
    "require_readable",
    "train_batches",
    "validation_batches",
    "with_evaluation_crops",
    "with_measured_normalisation",
]
