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

from jaxeff.data.dataset import Dataset
from jaxeff.errors import UsageError

IMAGENET = "imagenet2012"
# The paper's level, which is AlexNet's.
_TARGETS = {IMAGENET: "top5:0.791"}
# In these, an image flipped left to right is another sign, or none.
_NOT_FLIPPED = ("mnist", "svhn", "digits", "kuzushiji", "omniglot", "gtsrb", "letters", "dsprites")
_IMAGENET_FILES = "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar"
_SMALL = 96


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
        example = self.records[index]
        # Some readers give a scalar array of bytes, others bytes, and raw images are pixels.
        image = example["image"]
        if isinstance(image, np.ndarray) and image.ndim == 0:
            image = image.item()
        return {"image": image, "label": int(example["label"])}


def load(name: str, data_dir: str | os.PathLike | None) -> Dataset:
    """The set `name` of TensorFlow Datasets.

    The fingerprint covers name, version, classes and, for each split, the number of images and
    of bytes in each file.

    Args:
      name: such as `imagenet2012` or `cifar10`; `name:1.0.0` and `name/config` are taken too.
      data_dir: folder that holds prepared sets, also on `gs://`; None is that of TensorFlow
        Datasets, `~/tensorflow_datasets`.

    Raises:
      UsageError: the library is missing, the set is unknown, not prepared, or has no images with
        labels.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UsageError(
            f"--dataset={name} is read with TensorFlow Datasets, which is not installed: "
            "pip install 'jaxeff[tfds]', or pip install -e '.[tfds]' in a checkout"
        ) from error

    folder = None if data_dir is None else os.fspath(data_dir)
    try:
        builder = tfds.builder(name, data_dir=folder, file_format="array_record")
    except (tfds.core.registered.DatasetNotFoundError, ValueError, KeyError) as error:
        raise UsageError(
            f"--dataset={name}: neither jaxeff nor TensorFlow Datasets has a data set of that name "
            f"({_one_line(error)})"
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
    validation = next((split for split in ("validation", "test") if split in splits), None)
    if "train" not in splits or validation is None:
        raise UsageError(
            f"--dataset={name} has the splits {', '.join(sorted(splits))}: expected train, and "
            "validation or test"
        )

    def source(split):
        try:
            return RecordSource(
                builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
            )
        except (NotImplementedError, ValueError, OSError, ImportError) as error:
            raise UsageError(f"{_how_to_prepare(name, builder)} ({_one_line(error)})") from error

    height, width = (*features["image"].shape, None, None)[:2]
    small = height is not None and height == width and height <= _SMALL
    names = tuple(features["label"].names)
    return Dataset(
        name=name,
        train=source("train"),
        validation=source(validation),
        class_names=names,
        image_size=height if small else 224,
        target=_TARGETS.get(name),
        fingerprint=_fingerprint(info, names, ("train", validation)),
        horizontal_flip=not any(word in name for word in _NOT_FLIPPED),
        evaluation_crop_fraction=1.0 if small else 224 / 256,
        in_memory=False,
    )


def _fingerprint(info, names, splits):
    content = {
        "name": info.full_name,
        "classes": names,
        "splits": {
            split: [
                info.splits[split].num_examples,
                info.splits[split].num_bytes,
                list(info.splits[split].shard_lengths or ()),
            ]
            for split in splits
        },
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
