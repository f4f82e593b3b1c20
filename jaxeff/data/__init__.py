from jaxeff.data.augment import Augmentation
from jaxeff.data.dataset import Dataset
from jaxeff.data.datasets import load, names
from jaxeff.data.loader import (
    Batches,
    loader_processes,
    train_batches,
    validation_batches,
)

__all__ = [
    "Augmentation",
    "Batches",
    "Dataset",
    "load",
    "loader_processes",
    "names",
    "train_batches",
    "validation_batches",
]
