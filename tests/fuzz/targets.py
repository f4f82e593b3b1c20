"""Readers of what strangers made. Each takes an input and raises nothing but `UsageError`.

A target is a pair: a strategy that draws inputs, and a function that reads one in a folder of its
own and raises `AssertionError` where the reader says too much, in more than a line, or something
else than it was given.
"""

import dataclasses
import functools
import io
import json
import os
import pathlib
import shutil
import sys
from unittest import mock

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from jaxeff import records, tasks
from jaxeff.cells import visible
from jaxeff.data import Augmentation, augment, image_folder, jpeg
from jaxeff.report import exchange, measured, sota_file
from tests.fuzz.data_sets import DATA_SETS
from tests.fuzz.mutations import change_bytes, changed_bytes, changed_json, seeded
from tests.fuzz.refused import refused
from tests.launch.commands import ROOT
from tests.records.example import GROWING, averaged, regression, run

sys.path.append(str(ROOT / "launch"))

import networks

# Records.
VERSION1 = pathlib.Path(__file__).parents[1] / "records" / "version1"
RECORDS = [
    run(top1=(0.1, 0.2, 0.6, 0.4)).to_json(),
    run(segments=GROWING, top1=(0.1, 0.6)).to_json(),
    averaged((0.3, 0.4), (0.4, 0.6), 0.5).to_json(),
    regression().to_json(),
    json.loads((VERSION1 / "reached.json").read_text()),
]
RECORD_FILES = [json.dumps(fields).encode() for fields in RECORDS]


def read_record(given, folder):
    """A record is read, again as it is written, exported and compared; or it is refused."""
    path = folder / "record.json"
    path.write_bytes(given if isinstance(given, bytes) else json.dumps(given).encode())
    record = refused(records.read, path)
    if record is not None:
        records.write(path, record)
        assert records.read(path) == record
        measured.results([record])
        text, analysis = exchange.export([record])
        assert all(visible(line) == line for line in (text + analysis).split("\n"))


# Rows that others measured.
ROWS = [sota_file.published_text().encode(), sota_file.published_text()[:300].encode("utf-8-sig")]


def read_rows(content, folder):
    """Rows are read; and exporting over them leaves them as they are, or the file is refused."""
    path = folder / "rows.csv"
    path.write_bytes(content)
    for metric, point in refused(exchange.read, path) or ():
        assert metric
        assert 0 < point.compute < np.inf
    try:
        existing = content.decode()
    except UnicodeDecodeError:
        return
    exported = refused(exchange.export, [run()], "alexnet", existing)
    assert exported is None or exported[0].startswith(existing)


# Flags whose text a parser of ours reads.
def read_flag(text, folder):
    """A text is understood or refused, whichever flag it is given to."""
    del folder
    refused(networks.parse_args, text)
    target = refused(tasks.parse_target, text, METRICS)
    assert target is None or 0 < target.value <= 1


METRICS = (tasks.Metric("top1", "top-1"), tasks.Metric("top5", "top-5"))
FLAG_TEXTS = st.one_of(
    st.text(max_size=50),
    st.text(alphabet="()[]{}'\"=,:*+-.0123456789einfajx_ ", max_size=60),
    st.builds("top1:{}".format, st.one_of(st.floats(), st.integers(), st.text(max_size=8))),
    st.builds(
        "{}={}".format,
        st.text(alphabet="abz_1", min_size=1, max_size=4),
        st.recursive(
            st.one_of(st.floats(), st.integers(), st.text(max_size=5), st.booleans()),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
            max_leaves=8,
        ),
    ),
    st.builds(
        lambda bracket, n: "a=" + bracket * n, st.sampled_from("([{-~'"), st.integers(1, 999)
    ),
)


# Folders of images.
@functools.cache
def _picture(kind, mode="RGB", size=(9, 7), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


NAMES = st.sampled_from(
    (
        *("train", "val", "validation", "test", "a", "b", "images", "val_annotations.txt", ".h"),
        *("x.jpg", "y.JPEG", "z.png", "w\n.jpg", "\udcff.jpg", "é", "t.txt", "a\x1b[2J"),
    )
)
FILES = st.sampled_from([b"", b"text", b"x.jpg\ta\n", b"x.jpg\n", b"x.jpg\tb\t\xff\n", b"\0" * 9])
TREES = st.dictionaries(
    NAMES,
    st.recursive(
        FILES | st.sampled_from(["..", ".", "../..", "nowhere", "/dev/null", "pipe"]),
        lambda inner: st.dictionaries(NAMES, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)
GOOD_TREE = {
    "train": {"a": {"x.jpg": b"text"}, "b": {"y.JPEG": b"text"}},
    "val": {"a": {"x.jpg": b""}},
}


@st.composite
def trees(draw):
    """A tree of folders, which is often almost an image folder."""
    tree = draw(TREES)
    return {**json_like(GOOD_TREE), **tree} if draw(st.booleans()) else tree


def json_like(tree):
    """A copy of a tree."""
    return {k: json_like(v) if isinstance(v, dict) else v for k, v in tree.items()}


def _plant(tree, folder):
    folder.mkdir(exist_ok=True)
    for name, content in tree.items():
        path = folder / name
        if isinstance(content, dict):
            _plant(content, path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif content == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(content)


def read_folder(tree, folder):
    """A folder is a data set whose images can be asked for, or it is refused."""
    root = folder / "images"
    shutil.rmtree(root, ignore_errors=True)
    _plant(tree, root)
    dataset = refused(image_folder.load, root)
    if dataset is not None:
        for source in (dataset.train, dataset.validation):
            for index in range(len(source)):
                assert os.path.isfile(source[index]["image"])


# Images.
IMAGES = [
    _picture("JPEG", size=(40, 30)),
    _picture("JPEG", progressive=True),
    _picture("JPEG", "L"),
    _picture("JPEG", "CMYK"),
    _picture("PNG"),
    _picture("PNG", "P"),
    _picture("PNG", "1"),
    _picture("PNG", "RGBA"),
    _picture("WEBP"),
    _picture("WEBP", lossless=True),
    _picture("TIFF"),
    _picture("TIFF", compression="tiff_lzw"),
    _picture("TIFF", compression="jpeg"),
    _picture("TIFF", "I;16"),
    _picture("BMP"),
    _picture("GIF", "P"),
    _picture("PPM"),
]


def read_image(content, folder):
    """An image is a square of pixels, or it is refused; in training and in validation."""
    del folder
    # An image may have 250 million pixels, which take seconds and a gigabyte: here, a hundredth.
    with mock.patch.multiple(augment, MOST_PIXELS=MOST_PIXELS, _MOST_RESIZED=MOST_PIXELS):
        decoded = refused(augment.decode, content)
        if decoded is not None:
            assert decoded.width * decoded.height <= MOST_PIXELS
            assert augment.evaluation_image(decoded, 16, 14 / 16).shape == (16, 16, 3)
        del decoded
        with mock.patch.object(jpeg, "MOST_PIXELS", MOST_PIXELS):
            arguments = (content, 16, Augmentation(), np.random.default_rng(0))
            pixels = refused(augment.train_image, *arguments)
    assert pixels is None or (pixels.shape, pixels.dtype) == ((16, 16, 3), np.uint8)


MOST_PIXELS = 2_500_000


# Weights.
def _weights(kind):
    arrays = {
        "features.0.weight": np.ones((4, 3, 3, 3), np.float32),
        "features.0.bias": np.zeros(4, np.float16),
        "bn.num_batches_tracked": np.array(3),
    }
    if kind == "safetensors":
        import safetensors.numpy

        return safetensors.numpy.save(arrays)
    import torch

    file = io.BytesIO()
    tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
    content = {"epoch": 3, "state_dict": tensors} if kind == "checkpoint" else tensors
    torch.save(content, file, _use_new_zipfile_serialization=kind != "legacy")
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """A file of weights: the ending of its name, and its bytes."""

    ending: str
    content: bytes


def weights_files(kinds):
    """A file of weights, changed."""

    def change(draw):
        kind = draw.choice(kinds)
        ending = ".safetensors" if kind == "safetensors" else ".pth"
        return WeightsFile(ending, change_bytes(draw, _cached_weights(kind)))

    return seeded(change)


_cached_weights = functools.cache(_weights)


def read_weights(file, folder):
    """A file holds arrays by name, or it is refused."""
    from models import torch_weights

    path = folder / f"weights{file.ending}"
    path.write_bytes(file.content)
    arrays = refused(torch_weights.read_state_dict, path)
    assert arrays is None or all(isinstance(value, np.ndarray) for value in arrays.values())


TARGETS = {
    "records": (st.one_of(changed_json(RECORDS), changed_bytes(RECORD_FILES)), read_record),
    "rows": (changed_bytes(ROWS), read_rows),
    "flags": (FLAG_TEXTS, read_flag),
    "folders": (trees(), read_folder),
    "weights": (weights_files(["safetensors"]), read_weights),
    "PyTorch's weights": (weights_files(["zip", "legacy", "checkpoint"]), read_weights),
    "images": (changed_bytes(IMAGES), read_image),
    **DATA_SETS,
}
