"""Images and labels as arrays in one NumPy file, `FILE.npz`.

A file with a split holds images and labels of both parts, under any of these names:

    np.savez("mine.npz", train_images=…, train_labels=…, validation_images=…, validation_labels=…)

`x_train, y_train, x_test, y_test` (Keras) and `train_images … val_images … test_images` (MedMNIST)
are such names. A file without one holds `images` and `labels`; every fifth image of each class,
drawn by a seed, is then held out for validation. `class_names`, an array of text, is optional.

Images are uint8 `[N, H, W, 3]`, `[N, H, W, 1]` or `[N, H, W]`; labels are integers 0 … classes − 1,
`[N]` or `[N, 1]`. Nothing is converted silently, and nothing in the file is unpickled.
"""

import contextlib
import os
from pathlib import Path

import numpy as np

from jaxeff.data.dataset import ArraySource, Dataset, fingerprint_arrays, shown
from jaxeff.errors import UsageError

# The names of a split's images and labels; of the validation splits, the first one there is taken.
_TRAIN = (("train_images", "train_labels"), ("x_train", "y_train"))
_VALIDATION = tuple(
    pair
    for name in ("validation", "val", "valid", "test")
    for pair in ((f"{name}_images", f"{name}_labels"), (f"x_{name}", f"y_{name}"))
)
_WHOLE = ("images", "labels")
_CLASS_NAMES = "class_names"
_HELD_OUT_EVERY = 5
_EXPECTED = (
    "expected train_images, train_labels, validation_images and validation_labels, or x_train, "
    "y_train, x_test and y_test, or images and labels"
)


def load(file: Path, split_seed: int = 0) -> Dataset:
    """The data set `arrays`: the images in `file`, named for that file.

    The fingerprint covers pixels, labels and the split.

    Args:
      file: an `.npz` file.
      split_seed: of the split of a file that has none. The images of a class are put into the order
        of random numbers drawn from the seed and the label; of a class of n images, the first n / 5
        (rounded, at least one) are for validation, and a class of one image is for training.

    Raises:
      UsageError: the file cannot be read, or it does not hold what is described above.
    """
    with contextlib.closing(_Archive(file)) as archive:
        keys = archive.keys
        train_keys = next((pair for pair in _TRAIN if pair[0] in keys), None)
        validation_keys = next((pair for pair in _VALIDATION if pair[0] in keys), None)
        settings, used = {"source": "arrays"}, {_CLASS_NAMES}
        if train_keys and validation_keys:
            train, validation = _split(archive, *train_keys), _split(archive, *validation_keys)
            used |= {*train_keys, *validation_keys}
        elif _WHOLE[0] in keys and not (train_keys or validation_keys):
            train, validation = _halves(_split(archive, *_WHOLE), split_seed)
            used |= {*_WHOLE}
            settings["split_seed"] = split_seed
        else:
            raise UsageError(f"{file} holds {', '.join(keys) or 'nothing'}: {_EXPECTED}")
        class_names = _class_names(archive, train, validation)
    if not len(validation):
        raise UsageError(
            f"{file}: no class has two images, so none can be held out for validation: add "
            "validation_images and validation_labels"
        )
    notes = []
    if unused := sorted(set(keys) - used):
        notes.append(f"not used of {file.name}: {', '.join(unused)}")
    height, width = train.images.shape[1:3]
    if validation.images.shape[1:3] != (height, width):
        height = width = None
    return Dataset(
        name=file.stem,
        train=train,
        validation=validation,
        class_names=class_names,
        target=None,
        fingerprint=fingerprint_arrays(train, validation),
        in_memory=True,
        settings=settings,
        notes=tuple(notes),
        **shown(file.stem, height, width),
    )


class _Archive:
    """The arrays of an `.npz` file, read one by one; what goes wrong in that names the file."""

    def __init__(self, file: Path):
        self.file = file
        with self._naming_the_file():
            opened = np.load(file, allow_pickle=False)
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise UsageError(
                f"{file} is one array: save images and labels together, numpy.savez(FILE, "
                "train_images=…, train_labels=…, validation_images=…, validation_labels=…)"
            )
        self._opened, self.keys, self.close = opened, tuple(opened), opened.close

    def __getitem__(self, key: str) -> np.ndarray:
        with self._naming_the_file(key):
            size = self._opened.zip.getinfo(self._entry(key)).file_size
            if size > (memory := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")):
                raise ValueError(
                    f"{key} has {size / 1e9:,.0f} GB when it is unpacked, and this machine "
                    f"{memory / 1e9:,.0f} GB of memory"
                )
            array = self._opened[key]
        if not isinstance(array, np.ndarray):
            raise UsageError(f"{key} of {self.file} is no array: {_EXPECTED}")
        return array

    def _entry(self, key):
        """The name in the archive of the array `key`."""
        return key if key in self._opened.zip.namelist() else f"{key}.npy"

    @contextlib.contextmanager
    def _naming_the_file(self, key=None):
        try:
            yield
        except Exception as error:  # The parsers raise whatever broken bytes lead them to.
            if key is not None and "Object arrays" in str(error):
                raise UsageError(
                    f"{key} of {self.file} holds Python objects, which are never unpickled: save "
                    "an array of numbers, such as numpy.stack(list_of_images)"
                ) from error
            reason = " ".join(str(error).split())[:150] or type(error).__name__
            if "allow_pickle" in reason:  # What NumPy says of any bytes that it does not know.
                reason = "it is of another kind"
            raise UsageError(
                f"{self.file} cannot be read as an .npz file ({reason}): give one that "
                "numpy.savez wrote"
            ) from error


def _split(archive: _Archive, images_key: str, labels_key: str) -> ArraySource:
    """The images and labels of one part of the file, as they are trained on."""
    file = archive.file
    if labels_key not in archive.keys:
        raise UsageError(
            f"{file} holds {images_key} and no {labels_key}: add the label of each image"
        )
    images = _pixels(f"{images_key} of {file}", archive[images_key])
    labels = _labels(f"{labels_key} of {file}", archive[labels_key])
    if len(images) != len(labels):
        raise UsageError(
            f"{file}: {len(images):,} {images_key} and {len(labels):,} {labels_key}; give each "
            "image one label"
        )
    return ArraySource(images, labels)


def _pixels(where: str, images: np.ndarray) -> np.ndarray:
    """The images as uint8 `[N, H, W, 3]`, where they are that or grey."""
    if images.dtype != np.uint8:
        raise UsageError(f"{where} is {_described(images)}: {_to_uint8(images)}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        channels_first = images.ndim == 4 and images.shape[1] in (1, 3)
        raise UsageError(
            f"{where} is {_described(images)}: "
            + (
                "channels come last, images.transpose(0, 2, 3, 1)"
                if channels_first
                else "expected [N, H, W, 3], or [N, H, W, 1] or [N, H, W] of grey images"
            )
        )
    if images.size == 0:
        raise UsageError(f"{where} is {_described(images)}, which is empty: add images")
    return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images


def _labels(where, labels) -> np.ndarray:
    """The labels as int32 `[N]`, where they are that in another type or with an axis of one."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        hint = "one-hot labels become numbers by labels.argmax(axis=1)" if labels.ndim == 2 else ""
        raise UsageError(
            f"{where} is {_described(labels)}: expected [N], one class an image"
            + (f"; {hint}" if hint else "")
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(
            f"{where} is {_described(labels)}: give integers 0 … classes − 1; text becomes that by "
            "numpy.unique(labels, return_inverse=True)[1], and whole numbers by "
            "labels.astype('int32')"
        )
    if len(labels) and int(labels.min()) < 0:
        raise UsageError(
            f"{where}: {int((labels < 0).sum()):,} labels are below 0 (the least is "
            f"{int(labels.min())}): number the classes from 0, and leave out images without a class"
        )
    if len(labels) and int(labels.max()) > np.iinfo(np.int32).max:
        raise UsageError(f"{where}: the largest label is {int(labels.max())}: count classes from 0")
    return labels.astype(np.int32)


def _class_names(archive, train, validation) -> tuple[str, ...]:
    """The names of the classes; checks that training has images of each."""
    file = archive.file
    present = np.unique(train.labels)
    count = int(present[-1]) + 1
    if len(present) < count:
        missing = int(np.flatnonzero(present != np.arange(len(present)))[0])
        raise UsageError(
            f"{file}: the training labels go up to {count - 1} and only {len(present):,} of them "
            f"have images (none has {missing}): number the classes without gaps, "
            "numpy.unique(labels, return_inverse=True)[1]"
        )
    unknown = np.setdiff1d(validation.labels, present)
    if len(unknown):
        raise UsageError(
            f"{file}: validation has images of class {int(unknown[0])}, of which training has none "
            f"(its labels are 0 … {count - 1}): leave them out, or train on that class too"
        )
    if _CLASS_NAMES not in archive.keys:
        return tuple(map(str, range(count)))
    names = archive[_CLASS_NAMES]
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) != count:
        raise UsageError(
            f"{_CLASS_NAMES} of {file} is {_described(names)}: expected the names of {count} "
            "classes, an array of text"
        )
    return tuple(map(str, names))


def _halves(whole: ArraySource, seed: int) -> tuple[ArraySource, ArraySource]:
    """Training and validation: of each class, the share that `load` describes."""
    held_out = np.zeros(len(whole), bool)
    for label in np.unique(whole.labels):
        of_class = np.flatnonzero(whole.labels == label)
        # NumPy promises never to change raw Philox output.
        draws = np.random.Philox(key=[seed, int(label)]).random_raw(len(of_class))
        share = max(1, round(len(of_class) / _HELD_OUT_EVERY)) if len(of_class) > 1 else 0
        held_out[of_class[np.argsort(draws, kind="stable")[:share]]] = True
    return tuple(
        ArraySource(whole.images[part], whole.labels[part]) for part in (~held_out, held_out)
    )


def _to_uint8(images) -> str:
    """What to do with pixels of another type."""
    if np.issubdtype(images.dtype, np.floating):
        return (
            "store uint8 0 … 255, such as (255 * images).round().astype('uint8') of values 0 … 1, "
            "before they are normalised"
        )
    if np.issubdtype(images.dtype, np.integer):
        return (
            "store uint8, images.astype('uint8') of values 0 … 255, (images >> 8).astype('uint8') "
            "of 16 bits"
        )
    return "store pixels as uint8 0 … 255"


def _described(array: np.ndarray) -> str:
    """Such as `float32 [60000, 28, 28]`."""
    return f"{array.dtype} {list(array.shape)}"
