"""The data sets there are, by name. A new one is a file with a `load` function and a row here."""

import dataclasses
import difflib
from collections.abc import Callable
from pathlib import Path

from jaxeff.data import digits, image_folder, synthetic, tfds
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
}


def names() -> tuple[str, ...]:
    """The names that `load` knows, the default one first."""
    return (*_BUNDLED, *_FROM_FOLDER, tfds.IMAGENET)


def load(
    name: str, *, data_dir: str | Path | None = None, image_size: int | None = None
) -> Dataset:
    """The data set called `name`.

    Args:
      name: one of `names()`, or any classification set of TensorFlow Datasets.
      data_dir: folder with the images, for the data sets that read one.
      image_size: side in pixels that replaces the data set's own `image_size`.

    Raises:
      UsageError: the name is unknown, `data_dir` is missing, not a folder, not wanted or does not
        hold what the data set expects, or `image_size` is not positive.
    """
    if image_size is not None and image_size < 1:
        raise UsageError(f"--image_size={image_size}: expected a positive number of pixels")
    if name in _BUNDLED:
        if data_dir is not None:
            raise UsageError(
                f"--data_dir={data_dir}: data set {name!r} brings its own images; leave "
                "--data_dir out, or give --dataset=image_folder to read yours"
            )
        dataset = _BUNDLED[name]()
    elif name in _FROM_FOLDER:
        dataset = _FROM_FOLDER[name](_existing_folder(name, data_dir))
    elif name == tfds.IMAGENET:
        dataset = tfds.load(name, data_dir)
    else:
        dataset = _other(name, data_dir)
    if image_size is not None:
        dataset = dataclasses.replace(dataset, image_size=image_size)
    return dataset


def _other(name: str, data_dir: str | Path | None) -> Dataset:
    try:
        return tfds.load(name, data_dir)
    except UsageError as error:
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names())}"
        raise UsageError(f"{error}; {hint}") from error


def _existing_folder(name: str, data_dir: str | Path | None) -> Path:
    if data_dir is None:
        raise UsageError(
            f"data set {name!r} needs to know where the images are: give --data_dir=FOLDER, "
            "a folder that contains train/ and validation/"
        )
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(
            f"--data_dir={data_dir} {problem}; give the folder that contains train/ and validation/"
        )
    return folder
