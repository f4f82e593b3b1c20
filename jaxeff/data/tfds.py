"""Classification sets of TensorFlow Datasets, read from ArrayRecord files without TensorFlow.

ImageNet is one of them, `imagenet2012`. They must have been prepared as ArrayRecord, which allows
random access; the error message says how.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxeff import extras
from jaxeff.atomic import is_remote
from jaxeff.data.dataset import Dataset, shown
from jaxeff.errors import UsageError

IMAGENET = "imagenet2012"
# The paper's level, which is AlexNet's.
_TARGETS = {IMAGENET: "top5:0.791"}
_IMAGENET_FILES = "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar"


class UnknownDatasetError(UsageError):
    """Nothing of that name is known, or could be looked up."""


@dataclass(frozen=True, eq=False)
class RecordSource:
    """Images of one split, as the files that they came from.

    Attributes:
      records: random access to `{"image": bytes, "label": int}`.
    """

    records: Any

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            example = self.records[index]
        except Exception as error:  # Damage raises whatever the libraries trip over.
            raise UsageError(
                f"image {index} cannot be read from its ArrayRecord file ({_one_line(error)}): "
                "prepare the set again"
            ) from error
        # Some readers give a scalar array of bytes, others bytes, and raw images are pixels.
        image = example["image"]
        if isinstance(image, np.ndarray) and image.ndim == 0:
            image = image.item()
        try:
            label = int(example["label"])
        except (TypeError, ValueError):
            label = None
        if image is None or label is None:
            raise UsageError(
                f"image {index} lacks its pixels or its label in its ArrayRecord file: prepare the "
                "set again"
            )
        if label < 0:
            raise UsageError(
                f"image {index} has the label {label}, by which TensorFlow Datasets says that it "
                "has none: give splits with labels, such as --validation_split=validation"
            )
        return {"image": image, "label": label}


def load(
    name: str,
    data_dir: str | os.PathLike | None,
    train_split: str | None = None,
    validation_split: str | None = None,
) -> Dataset:
    """The set `name` of TensorFlow Datasets.

    The fingerprint covers name, version, classes and, for each split, the number of images and
    of bytes in each file; of splits that the user named, which images of which files they are.

    Args:
      name: such as `imagenet2012` or `cifar10`; `name:1.0.0` and `name/config` are taken too.
      data_dir: folder that holds prepared sets, also on `gs://`; None is that of TensorFlow
        Datasets, `~/tensorflow_datasets`.
      train_split: the images to train on, a split or a slice such as `train[:90%]`; by default
        `train`.
      validation_split: the images to measure on; by default `validation`, or else `test`.

    Raises:
      UnknownDatasetError: the library is missing, or the set is unknown.
      UsageError: the set is not prepared, or has no images with labels; there is no such split, or
        the two have images in common.
    """
    try:
        extras.require("tfds", f"--dataset={name}")
    except UsageError as error:
        raise UnknownDatasetError(str(error)) from error
    if data_dir is not None and is_remote(data_dir):
        extras.require("gcs", f"--data_dir={data_dir}")
    import tensorflow_datasets as tfds

    folder = None if data_dir is None else os.fspath(data_dir)
    try:
        builder = tfds.builder(name, data_dir=folder, file_format="array_record")
    except (tfds.core.registered.DatasetNotFoundError, ValueError, KeyError) as error:
        raise UnknownDatasetError(
            f"--dataset={name}: neither jaxeff nor TensorFlow Datasets has a data set of that name "
            f"({_one_line(error)})"
        ) from error
    except Exception as error:  # Damage raises whatever the libraries trip over.
        raise UsageError(
            f"--dataset={name}: what is prepared in {folder or '~/tensorflow_datasets'} cannot be "
            f"read ({_one_line(error)}): prepare it again"
        ) from error
    info = builder.info
    splits = dict(info.splits or {})
    if not splits:
        raise UsageError(_how_to_prepare(name, builder))
    features = info.features
    if not {"image", "label"} <= set(features or ()) or not hasattr(features["label"], "names"):
        raise UsageError(
            f"--dataset={name} has {', '.join(sorted(features or ()))}, and a classification set "
            "needs image and label"
        )
    default = next((split for split in ("validation", "test") if split in splits), None)
    train, validation = train_split or "train", validation_split or default
    if validation is None or (train_split is None and "train" not in splits):
        raise UsageError(
            f"--dataset={name} has the splits {', '.join(sorted(splits))}: expected train, and "
            "validation or test; name others by --train_split and --validation_split, such as "
            "'train[:90%]' and 'train[90%:]'"
        )
    pieces = {
        "--train_split": _pieces(name, info, "--train_split", train),
        "--validation_split": _pieces(name, info, "--validation_split", validation),
    }
    if common := _in_common(*pieces.values()):
        raise UsageError(
            f"--train_split={train} and --validation_split={validation} have {common:,} images in "
            "common: accuracy would be measured on images that were trained on; give slices that "
            "do not overlap"
        )

    def source(split):
        try:
            return RecordSource(
                builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
            )
        except Exception as error:  # As above.
            raise UsageError(f"{_how_to_prepare(name, builder)} ({_one_line(error)})") from error

    named = {"train_split": train_split, "validation_split": validation_split}
    named = {key: split for key, split in named.items() if split is not None}
    content = pieces if named else {s: _whole(info, s) for s in (train, validation)}
    names = tuple(features["label"].names)
    return Dataset(
        name=name,
        train=source(train),
        validation=source(validation),
        class_names=names,
        target=_TARGETS.get(name),
        fingerprint=_fingerprint(info, names, content),
        in_memory=False,
        settings=named,
        **shown(name, *(*features["image"].shape, None, None)[:2]),
    )


def _pieces(name, info, flag, split):
    """Which images a split is made of: the file, its first image and the one after the last."""
    try:
        instructions = info.splits[split].file_instructions
    except Exception as error:  # The parser of slices raises whatever the text leads it to.
        raise UsageError(
            f"{flag}={split}: --dataset={name} has the splits {', '.join(sorted(info.splits))}; "
            f"give one of them, or a slice such as 'train[:90%]' ({_one_line(error)})"
        ) from error
    pieces = [
        [os.path.basename(piece.filename), piece.skip, piece.skip + piece.take]
        for piece in instructions
    ]
    if not pieces:
        raise UsageError(f"{flag}={split} of --dataset={name} holds no image; give a larger slice")
    return pieces


def _in_common(train, validation):
    """How many images two lists of pieces share."""
    return sum(
        max(0, min(last, other_last) - max(first, other_first))
        for file, first, last in train
        for other_file, other_first, other_last in validation
        if file == other_file
    )


def _fingerprint(info, names, splits):
    content = {"name": info.full_name, "classes": names, "splits": splits}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _whole(info, split):
    """What the fingerprint says of a split that is taken whole."""
    split = info.splits[split]
    return [split.num_examples, split.num_bytes, list(split.shard_lengths or ())]


def _how_to_prepare(name, builder):
    folder = os.fspath(builder._data_dir_root)
    command = f"tfds build {name} --file_format=array_record --data_dir={folder}"
    steps = f"pip install tensorflow tensorflow-datasets array-record && {command}"
    if name.partition(":")[0] == IMAGENET:
        steps = (
            f"put {_IMAGENET_FILES} (image-net.org, after registration) into "
            f"{folder}/downloads/manual, then {steps}"
        )
    return f"--dataset={name} is not prepared as ArrayRecord below {folder}: {steps}"


def _one_line(error):
    text = " ".join(str(error).split())
    return text if len(text) <= 150 else text[:150] + "…"
