"""Hand-written digits: the 1 797 real images, 8×8 pixels, that scikit-learn carries with it.

Source: E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning
Repository (1998), its test part, as `sklearn.datasets.load_digits` ships it.
"""

import importlib.metadata

import numpy as np

from jaxeff.data.dataset import ArraySource, Dataset, fingerprint_arrays

_FILE = "sklearn/datasets/data/digits.csv.gz"
_VALIDATION_EVERY = 2  # the second, fourth, … image of each class


def load() -> Dataset:
    """The data set `digits`, which needs neither a network nor files of the user's.

    The split is fixed and draws no random number: within each class, in scikit-learn's order, every
    second image is for validation, so that one of them is a tenth of a per cent of the accuracy.
    Grey levels 0..16 become 0..255 in three equal channels.
    """
    grey_levels, labels = _grey_levels_and_labels()
    grey = np.rint(grey_levels * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=-1)

    rank_in_class = np.empty(len(labels), np.int64)
    for label in range(10):
        of_class = np.flatnonzero(labels == label)
        rank_in_class[of_class] = np.arange(len(of_class))
    held_out = rank_in_class % _VALIDATION_EVERY == _VALIDATION_EVERY - 1

    train = ArraySource(images[~held_out], labels[~held_out])
    validation = ArraySource(images[held_out], labels[held_out])
    return Dataset(
        name="digits",
        train=train,
        validation=validation,
        class_names=tuple("0123456789"),
        image_size=64,
        # "AlexNet level", as launch/sweep.py --find_level proposes it: see docs/measuring.md.
        target="top1:0.89",
        fingerprint=fingerprint_arrays(train, validation),
        horizontal_flip=False,
        evaluation_crop_fraction=1.0,
        in_memory=True,
    )


def _grey_levels_and_labels():
    """Grey levels 0..16 `[1797, 8, 8]`, float64, and labels `[1797]`, int32.

    They are read from scikit-learn's file where it lies in its usual place: importing scikit-learn
    for the same takes a second.
    """
    file = importlib.metadata.distribution("scikit-learn").locate_file(_FILE)
    try:
        table = np.loadtxt(file, delimiter=",")
    except OSError:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return bunch.images, bunch.target.astype(np.int32)
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int32)
