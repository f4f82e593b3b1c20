"""The data sets there are, by name. A new one is a file with a `load` function and a row here."""

import dataclasses
import difflib
from collections.abc import Callable
from pathlib import Path

from jaxeff.data import arrays, digits, hf, image_folder, synthetic, tfds
from jaxeff.data.dataset import Dataset
from jaxeff.errors import UsageError

# These bring their own images.
_BUNDLED: dict[str, Callable[[], Dataset]] = {
    "digits": digits.load,
    "synthetic": synthetic.load,
}
# These read the user's images, from the folder that they are called with.
_FROM_FOLDER: dict[str, Callable[[Path], Dataset]] = {
    "image_folder": image_folder.load,
    "hf": hf.load,
}
# This one reads them from a file.
_ARRAYS = "arrays"
# What the folder or the file contains.
_CONTENT = {
    "image_folder": "the folder that contains train/ and validation/",
    "hf": "the folder that datasets.save_to_disk wrote, or that contains the Parquet files",
    _ARRAYS: "an .npz file of images and labels",
}


def names() -> tuple[str, ...]:
    """The names that `load` knows, the default one first."""
    return (*_BUNDLED, *_FROM_FOLDER, _ARRAYS, tfds.IMAGENET)


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    image_size: int | None = None,
    train_split: str | None = None,
    validation_split: str | None = None,
    split_seed: int | None = None,
) -> Dataset:
    """The data set called `name`.

    Args:
      name: one of `names()`, or any classification set of TensorFlow Datasets.
      data_dir: folder with the images, or file, for the data sets that read one.
      image_size: side in pixels that replaces the data set's own `image_size`.
      train_split: of a set of TensorFlow Datasets, the split or slice to train on.
      validation_split: likewise, the one to measure on.
      split_seed: of arrays that have no split, the seed of the one that is made; 0 by default.

    Raises:
      UsageError: the name is unknown, `data_dir` is missing, not a folder, not wanted or does not
        hold what the data set expects, a split is wrong or not the user's to choose, there is one
        class alone, or `image_size` is not positive.
    """
    if image_size is not None and image_size < 1:
        raise UsageError(f"--image_size={image_size}: expected a positive number of pixels")
    dataset = _load(name, data_dir, train_split, validation_split, split_seed)
    if dataset.num_classes < 2:
        raise UsageError(
            f"{dataset.name} has one class, {dataset.class_names[0]!r}, so every network is right: "
            "give images of two classes or more"
        )
    if image_size is not None:
        dataset = dataclasses.replace(dataset, image_size=image_size)
    return dataset


def _load(name, data_dir, train_split, validation_split, split_seed) -> Dataset:
    if split_seed is not None and name != _ARRAYS:
        raise UsageError(
            f"--split_seed={split_seed}: data set {name!r} has a split; leave --split_seed out"
        )
    for flag, split in (("train", train_split), ("validation", validation_split)):
        if split is not None and (name in _BUNDLED or name in _CONTENT):
            raise UsageError(
                f"--{flag}_split={split}: data set {name!r} has a split of its own; leave "
                f"--{flag}_split out (it is for sets of TensorFlow Datasets)"
            )
    if name in _BUNDLED:
        if data_dir is not None:
            raise UsageError(
                f"--data_dir={data_dir}: data set {name!r} brings its own images; leave "
                "--data_dir out, or give --dataset=image_folder to read yours"
            )
        return _BUNDLED[name]()
    if name in _FROM_FOLDER:
        return _FROM_FOLDER[name](_existing(name, data_dir, folder=True))
    if name == _ARRAYS:
        return arrays.load(_existing(name, data_dir, folder=False), split_seed or 0)
    if name == tfds.IMAGENET:
        return tfds.load(name, data_dir, train_split, validation_split)
    return _other(name, data_dir, train_split, validation_split)


def _other(name: str, *arguments) -> Dataset:
    try:
        return tfds.load(name, *arguments)
    except tfds.UnknownDatasetError as error:
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names())}"
        raise UsageError(f"{error}; {hint}") from error


def _existing(name: str, data_dir: str | Path | None, folder: bool) -> Path:
    kind = "folder" if folder else "file"
    if data_dir is None:
        raise UsageError(
            f"data set {name!r} needs to know where the images are: give "
            f"--data_dir={kind.upper()}, {_CONTENT[name]}"
        )
    if "://" in str(data_dir):
        raise UsageError(
            f"--data_dir={data_dir}: {name!r} is read from a disk; copy it there first, such as by "
            f"`gcloud storage cp -r {data_dir} .` (TFDS sets are read from gs:// as they are)"
        )
    path = Path(data_dir).expanduser()
    if not (path.is_dir() if folder else path.is_file()):
        problem = f"is not a {kind}" if path.exists() else "does not exist"
        raise UsageError(f"--data_dir={data_dir} {problem}; give {_CONTENT[name]}")
    return path
