"""Images in folders, one folder a class: `train/<class>/…` beside `validation/<class>/…`.

The validation folder may also be called `valid`, `val` or `test`, and images may lie one folder
below their class. Tiny-ImageNet's shape is read as it is distributed:
`train/<class>/images/*.JPEG`, and `val/images/*.JPEG` with the classes in
`val/val_annotations.txt`.

Labels number the class folders of `train` in byte order, and validation is labelled by the same
names, of which it may lack some. Images come class by class, within a class in byte order of their
path, whatever the file system or the locale. JPEG, PNG, WebP, TIFF and BMP files are read; hidden
files and other kinds of file are passed over, and `Dataset.notes` counts and names them. Everything
that could make a measurement wrong without a word (a class without images, a class in validation
alone, a link to nothing, an image without annotation) is an error instead.
"""

import collections
import hashlib
import json
import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxeff.cells import visible
from jaxeff.data import folder_index
from jaxeff.data.dataset import Dataset
from jaxeff.errors import UsageError

VALIDATION_FOLDERS = ("validation", "valid", "val", "test")  # the first one there is taken
ANNOTATIONS = "val_annotations.txt"

_EXTENSIONS = (b".jpeg", b".jpg", b".png", b".webp", b".tif", b".tiff", b".bmp")
_LAYOUT = "expected train/<class>/*.jpg beside validation/<class>/*.jpg (or valid, val or test)"
_SCAN_THREADS = 16  # a network file system answers one request in about a millisecond
_SCAN_AHEAD = 4 * _SCAN_THREADS
_NAMED_IN_ERRORS = 3


@dataclass(frozen=True, eq=False)
class FolderSource:
    """Labelled image files below one folder, small enough for millions of them.

    Only the part of a path that tells it from the others of its class is kept: six bytes an image
    for ImageNet.

    Attributes:
      root: the folder.
      starts: int64 `[classes + 1]`, the number of images before each class.
      begins: how all paths of a class begin, relative to `root`.
      endings: how they end.
      middles: for each class, the rest of its paths, bytes `[images of the class]`.
    """

    root: str
    starts: np.ndarray
    begins: tuple[bytes, ...]
    endings: tuple[bytes, ...]
    middles: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        label = int(np.searchsorted(self.starts, index, side="right")) - 1
        middle = bytes(self.middles[label][index - self.starts[label]])
        path = os.fsdecode(self.begins[label] + middle + self.endings[label])
        return {"image": os.path.join(self.root, path), "label": label}


class _Images(NamedTuple):
    """Some files of one split, packed: relative paths, their lengths, file sizes, and one label."""

    paths: bytes
    lengths: np.ndarray
    sizes: np.ndarray
    label: int


class _Scan(NamedTuple):
    """What is below the folder: class names, the images of each class in both splits, and notes."""

    validation_folder: bytes
    classes: list[bytes]
    train: list[_Images]
    validation: list[_Images]
    notes: list[str]


@dataclass(frozen=True)
class _Listed:
    """What a scan met beside the images. Threads write to it, each under the folder it lists.

    Attributes:
      times: when each folder and file that the scan depends on last changed, nanoseconds.
      passed_over: the files of each folder that are not read.
    """

    times: dict[bytes, int]
    passed_over: dict[bytes, list[bytes]]


def load(data_dir: Path) -> Dataset:
    """The data set `image_folder`: the images below `data_dir`, named for that folder.

    The fingerprint covers the classes and, for each split, every image's relative path, size in
    bytes and label. It does not cover `data_dir` or the name of the validation folder.

    Raises:
      UsageError: a folder, a class, an image or an annotation is missing, superfluous or cannot
        be read.
    """
    root = os.fsencode(data_dir)
    kept = folder_index.read(root)
    scan = _unpack(kept) if kept else _scan(root)
    dataset = Dataset(
        name=os.path.basename(os.path.abspath(data_dir)) or "image_folder",
        train=_source(os.path.join(root, b"train"), scan.train),
        validation=_source(os.path.join(root, scan.validation_folder), scan.validation),
        class_names=tuple(os.fsdecode(name) for name in scan.classes),
        image_size=224,
        target=None,
        fingerprint=_fingerprint(scan.classes, scan.train, scan.validation),
        horizontal_flip=True,
        evaluation_crop_fraction=224 / 256,
        in_memory=False,
        notes=tuple(scan.notes),
    )
    del kept, scan
    # The scan took five times the memory that the data set keeps.
    return dataset


def load_images(folder: Path) -> FolderSource:
    """The images in the class folders of `folder` alone, such as an image folder's `train`.

    Raises:
      UsageError: as `load`.
    """
    root, listed = os.fsencode(folder), _Listed({}, {})
    return _source(root, _scan_classes(root, _class_folders(root, listed), listed))


def _scan(root: bytes) -> "_Scan":
    listed = _Listed({}, {})
    folders, _ = _list(root, listed)
    del listed.passed_over[root]  # Beside the splits lie a read-me and archives.
    if b"train" not in folders:
        problem = (
            f"no train/ in {_show(root)}" if folders else f"{_show(root)} has no folders in it"
        )
        raise UsageError(f"{problem}; {_LAYOUT}: give --data_dir the folder that contains both")
    split = next((name for name in VALIDATION_FOLDERS if os.fsencode(name) in folders), None)
    if split is None:
        raise UsageError(
            f"no validation split in {_show(root)}: expected one of "
            f"{', '.join(f'{name}/' for name in VALIDATION_FOLDERS)} beside train/"
        )
    train_root, validation_root = os.path.join(root, b"train"), os.path.join(root, split.encode())

    classes = _class_folders(train_root, listed)
    train = _scan_classes(train_root, classes, listed)
    annotations = os.path.join(validation_root, ANNOTATIONS.encode())
    if os.path.exists(annotations):
        validation = _scan_annotated(validation_root, annotations, classes, listed)
    else:
        validation_classes = _class_folders(validation_root, listed)
        _require_known_classes(train_root, classes, validation_root, validation_classes)
        found = _scan_classes(validation_root, validation_classes, listed)
        by_class = dict(zip(validation_classes, found, strict=True))
        validation = [
            by_class.get(name, _pack([], label))._replace(label=label)
            for label, name in enumerate(classes)
        ]

    notes = _passed_over(root, listed)
    if missing := [classes[images.label] for images in validation if not len(images.lengths)]:
        notes.append(
            f"{len(missing)} of {len(classes)} classes have no image in {split}/ "
            f"({_first(missing)})"
        )
    scan = _Scan(split.encode(), classes, train, validation, notes)
    if sum(len(images.lengths) for images in train) >= folder_index.FEWEST_IMAGES:
        folder_index.write(root, _packed(scan), listed.times)
    return scan


def _passed_over(root: bytes, listed: "_Listed") -> list[str]:
    """One line on the files that are not read, by kind, and where the first of them are."""
    paths = sorted(
        os.path.join(os.path.relpath(folder, root), name)
        for folder, names in listed.passed_over.items()
        for name in names
        if not (name == ANNOTATIONS.encode() or name == b".DS_Store")
    )
    if not paths:
        return []
    kinds = collections.Counter(map(_kind, paths))
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    return [f"passed over, not read as images: {counts} ({_first(paths)})"]


def _kind(path: bytes) -> str:
    """Such as `.txt`, `hidden`, or `images in no class folder`."""
    name = os.path.basename(path)
    if name.startswith(b"."):
        return "hidden"
    if name.lower().endswith(_EXTENSIONS):
        return "images in no class folder"
    return os.fsdecode(os.path.splitext(name)[1].lower()) or "without an ending"


def _packed(scan: "_Scan") -> dict[str, np.ndarray]:
    arrays = {
        "validation_folder": np.frombuffer(scan.validation_folder, np.uint8),
        "classes": np.frombuffer(b"\0".join(scan.classes), np.uint8),
        "notes": np.frombuffer(json.dumps(scan.notes).encode(), np.uint8),
    }
    for name, split in (("train", scan.train), ("validation", scan.validation)):
        arrays |= {
            f"{name}_paths": np.frombuffer(b"".join(p.paths for p in split), np.uint8),
            f"{name}_lengths": np.concatenate([p.lengths for p in split]),
            f"{name}_sizes": np.concatenate([p.sizes for p in split]),
            f"{name}_counts": np.array([len(p.lengths) for p in split]),
        }
    return arrays


def _unpack(arrays: dict[str, np.ndarray]) -> "_Scan":
    splits = []
    for name in ("train", "validation"):
        paths, lengths = arrays[f"{name}_paths"].tobytes(), arrays[f"{name}_lengths"]
        sizes, images, first, byte = arrays[f"{name}_sizes"], [], 0, 0
        for label, count in enumerate(arrays[f"{name}_counts"].tolist()):
            here = slice(first, first + count)
            end = byte + int(lengths[here].sum())
            images.append(_Images(paths[byte:end], lengths[here], sizes[here], label))
            first, byte = first + count, end
        splits.append(images)
    classes = arrays["classes"].tobytes().split(b"\0")
    notes = json.loads(arrays["notes"].tobytes())
    return _Scan(arrays["validation_folder"].tobytes(), classes, *splits, notes)


def _class_folders(split: bytes, listed: "_Listed") -> list[bytes]:
    folders, images = _list(split, listed)
    listed.passed_over[split] += [name for name, _ in images]
    if not folders:
        found = f"only {len(images)} images" if images else "nothing"
        raise UsageError(
            f"no class folders in {_show(split)} ({found} in it); {_LAYOUT}: "
            "put each class's images into a folder named for the class"
        )
    return folders


def _scan_classes(split: bytes, classes: list[bytes], listed: "_Listed") -> list[_Images]:
    """The images of each class, in label order."""

    def images_of(label: int) -> list[tuple[bytes, int]]:
        folder = os.path.join(split, classes[label])
        subfolders, images = _list(folder, listed, above=(split,))
        for subfolder in subfolders:
            path = os.path.join(folder, subfolder)
            deeper, more = _list(path, listed, above=(split, folder))
            if deeper:
                raise UsageError(
                    f"{_show(os.path.join(path, deeper[0]))} is two folders below its class: "
                    "images may lie one folder below; move them up or remove that folder"
                )
            images += [(subfolder + b"/" + name, size) for name, size in more]
        if not images:
            raise UsageError(
                f"no images in class folder {_show(folder)} (looked for "
                f"{b', '.join(_EXTENSIONS).decode()}): add some or remove the folder"
            )
        return [(classes[label] + b"/" + name, size) for name, size in images]

    packed: list[_Images] = []
    with ThreadPoolExecutor(_SCAN_THREADS) as pool:
        while len(packed) < len(classes):
            # A few classes at a time, because a list takes many times the memory of what is kept of
            # it. This thread packs them: the C library does not return what other threads allocate.
            some = range(len(classes))[len(packed) : len(packed) + _SCAN_AHEAD]
            packed += [_pack(*found) for found in zip(pool.map(images_of, some), some, strict=True)]
    return packed


def _scan_annotated(
    split: bytes, annotations: bytes, classes: list[bytes], listed: "_Listed"
) -> list[_Images]:
    """The images of `split/images`, labelled by the file `annotations`, in label order."""
    folder = os.path.join(split, b"images")
    sizes = dict(_list(folder, listed, above=(split,))[1])
    label_of = {name: label for label, name in enumerate(classes)}
    of_class: list[list[tuple[bytes, int]]] = [[] for _ in classes]
    try:
        listed.times[annotations] = os.stat(annotations).st_mtime_ns
        with open(annotations, "rb") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise UsageError(_cannot_read(annotations, error)) from error

    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{_show(annotations)} line {number}"
        name, *rest = line.split(b"\t")
        if not rest:
            raise UsageError(f"{where}: expected a file name, a tab and a class; mend that line")
        if rest[0] not in label_of:
            raise UsageError(
                f"{where}: unknown class {_show(rest[0])}, no such folder in train/; "
                "mend that line or add the class to train/"
            )
        if name not in sizes:
            raise UsageError(
                f"{where}: no image {_show(name)} in {_show(folder)}, or it is named twice; "
                "mend that line or add the image"
            )
        of_class[label_of[rest[0]]].append((b"images/" + name, sizes.pop(name)))
    if sizes:
        raise UsageError(
            f"{len(sizes)} images in {_show(folder)} have no line in {_show(annotations)} "
            f"({_first(sorted(sizes))}): add their classes or remove them"
        )
    return [_pack(images, label) for label, images in enumerate(of_class)]


def _require_known_classes(
    train_root: bytes, train: list[bytes], validation_root: bytes, validation: list[bytes]
) -> None:
    if unknown := sorted(set(validation) - set(train)):
        raise UsageError(
            f"{len(unknown)} classes are in {_show(validation_root)} and not in "
            f"{_show(train_root)} ({_first(unknown)}): a class is known by the name of its folder "
            "in train/; rename them, or add images to train on"
        )


def _list(
    folder: bytes, listed: "_Listed", above: tuple[bytes, ...] = ()
) -> tuple[list[bytes], list[tuple[bytes, int]]]:
    """Subfolders, and images with their sizes in bytes; both in byte order, nothing hidden.

    A link back to the folder itself or to one of the folders `above` it is left out. The time at
    which the folder last changed, as of before it is read, and its other files go into `listed`.
    """
    folders, images, others = [], [], []
    try:
        listed.times[folder] = os.stat(folder).st_mtime_ns
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(b"."):
                    others.append(entry.name)
                elif entry.is_dir():
                    loops = entry.is_symlink() and any(
                        os.path.samefile(entry.path, other) for other in (folder, *above)
                    )
                    if not loops:
                        folders.append(entry.name)
                elif entry.name.lower().endswith(_EXTENSIONS):
                    status = entry.stat()
                    if not stat.S_ISREG(status.st_mode):  # Reading a pipe might never end.
                        raise UsageError(
                            f"{_show(entry.path)} is no file with an image in it: remove it"
                        )
                    images.append((entry.name, status.st_size))
                else:
                    if entry.is_symlink():
                        entry.stat()  # fails where it leads nowhere: to a folder, it may have been
                    others.append(entry.name)
    except OSError as error:
        raise UsageError(_cannot_read(folder, error)) from error
    listed.passed_over[folder] = others
    return sorted(folders), sorted(images)


def _pack(images: Iterable[tuple[bytes, int]], label: int) -> _Images:
    ordered = sorted(images)
    return _Images(
        paths=b"".join(path for path, _ in ordered),
        lengths=np.asarray([len(path) for path, _ in ordered], np.int64),
        sizes=np.asarray([size for _, size in ordered], np.int64),
        label=label,
    )


def _source(root: bytes, split: list[_Images]) -> FolderSource:
    begins, endings, middles = [], [], []
    for images in split:
        if not len(images.lengths):  # A class that validation lacks.
            begins.append(b"")
            endings.append(b"")
            middles.append(np.empty(0, "S1"))
            continue
        ends = np.cumsum(images.lengths)
        paths = [
            images.paths[end - length : end]
            for end, length in zip(ends, images.lengths, strict=True)
        ]
        begin = _common_beginning(paths)
        shortest = int(images.lengths.min()) - len(begin)
        ending = _common_beginning([path[::-1] for path in paths])[:shortest][::-1]
        begins.append(begin)
        endings.append(ending)
        middles.append(np.array([path[len(begin) : len(path) - len(ending)] for path in paths]))
    return FolderSource(
        root=os.fsdecode(root),
        starts=np.cumsum([0, *(len(images.lengths) for images in split)]),
        begins=tuple(begins),
        endings=tuple(endings),
        middles=tuple(middles),
    )


def _common_beginning(words: list[bytes]) -> bytes:
    first, last = min(words), max(words)
    differ = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(differ, min(len(first), len(last)))]


def _fingerprint(classes: list[bytes], train: list[_Images], validation: list[_Images]) -> str:
    digest = hashlib.sha256(b"\0".join(classes))
    for name, split in ((b"train", train), (b"validation", validation)):
        digest.update(b"\0\0%b\0%d\0" % (name, sum(len(images.lengths) for images in split)))
        # The lengths tell where each of the joined paths ends, so they need not be split again.
        for images in split:
            table = np.asarray([images.lengths, images.sizes], "<i8")
            digest.update(b"%d\0%d\0" % (images.label, len(images.lengths)))
            digest.update(table.tobytes() + images.paths)
    return digest.hexdigest()


def _show(path: bytes) -> str:
    """The path in quotes, on one line whatever it contains."""
    return repr(os.fsdecode(path))


def _first(names: list[bytes]) -> str:
    shown = [visible(os.fsdecode(name)) for name in names[:_NAMED_IN_ERRORS]]
    return ", ".join(chain(shown, ["…"] if len(names) > _NAMED_IN_ERRORS else []))


def _cannot_read(folder: bytes, error: OSError) -> str:
    path = os.fsencode(error.filename) if isinstance(error.filename, str | bytes) else folder
    return (
        f"cannot read {_show(path)}: {error.strerror or error}; "
        "check that it is there and that you may read it, then run the same command again"
    )
