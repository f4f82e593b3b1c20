"""Reading of TensorFlow Datasets, with a small real set that a builder writes as ArrayRecord."""

import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxeff.data import load
from jaxeff.data.augment import decode
from jaxeff.data.tfds import RecordSource
from jaxeff.errors import UsageError
from tests.data.numbered import train, validate

tfds = pytest.importorskip("tensorflow_datasets", reason="pip install -e '.[tfds]'")

CLASSES = ("dark", "bright")
COUNTS = {"train": 12, "validation": 5}


class Shades(tfds.core.GeneratorBasedBuilder):
    """Dark and bright images of several sizes, as JPEG."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=CLASSES),
            }
        )
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, download_manager):
        return {split: self._generate_examples(split) for split in COUNTS}

    def _generate_examples(self, split):
        for i in range(COUNTS[split]):
            path = self.images / f"{split}{i}.jpg"
            shade = 40 * (i % 2) * 4 + i
            Image.new("RGB", (20 + i, 30), (shade, shade, shade)).save(path)
            yield i, {"image": str(path), "label": i % 2}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    Shades.images = tmp_path_factory.mktemp("images")
    Shades(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_a_prepared_set_is_read_whole(prepared):
    dataset = load("shades", data_dir=prepared)
    assert dataset.class_names == CLASSES
    assert (len(dataset.train), len(dataset.validation)) == (12, 5)
    assert dataset.image_size == 224
    assert dataset.horizontal_flip
    assert not dataset.in_memory
    assert dataset.fingerprint == load("shades", data_dir=prepared).fingerprint
    labels = []
    for i in range(len(dataset.train)):
        example = dataset.train[i]
        assert isinstance(example["image"], bytes)
        assert (np.asarray(decode(example["image"])).mean() > 100) == bool(example["label"])
        labels.append(example["label"])
    assert sorted(labels) == [0] * 6 + [1] * 6


@pytest.mark.parametrize("in_worker", [False, True])
def test_batches_come_from_it_whatever_reads_them(prepared, in_worker):
    dataset = load("shades", data_dir=prepared)
    if in_worker:  # which gets the sources pickled
        dataset = pickle.loads(pickle.dumps(dataset))
    images, labels = train(dataset, steps=3, batch_size=4)
    assert ((images.mean(axis=(2, 3, 4)) > 100) == (labels == 1)).all()
    assert labels.sum() == 6
    assert sum(batch["mask"].sum() for batch in validate(dataset)) == 5


def test_nothing_imports_tensorflow(prepared):
    program = (
        "import sys; from jaxeff.data import load; "
        f"load('shades', data_dir={str(prepared)!r}).train[0]; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_set_that_is_not_prepared_says_how(tmp_path):
    with pytest.raises(UsageError) as raised:
        load("imagenet2012", data_dir=tmp_path)
    message = str(raised.value)
    for words in (
        "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar",
        f"{tmp_path}/downloads/manual",
        f"tfds build imagenet2012 --file_format=array_record --data_dir={tmp_path}",
    ):
        assert words in message
    assert "\n" not in message
    with pytest.raises(UsageError, match="tfds build cifar10 --file_format=array_record"):
        load("cifar10", data_dir=tmp_path)


def test_a_set_of_another_kind_or_of_no_name_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"nosuchset.*did you mean|nosuchset.*known are"):
        load("nosuchset", data_dir=tmp_path)


def test_a_prepared_set_that_is_damaged_is_one_line(prepared, tmp_path):
    """Found by fuzzing."""
    shutil.copytree(prepared, tmp_path / "tfds")
    (folder,) = (tmp_path / "tfds" / "shades").iterdir()
    for path in folder.glob("*array_record*"):
        content = bytearray(path.read_bytes())
        content[64:2048] = b"\xff" * (2048 - 64)
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"prepare the set again|is not prepared"):
        load("shades", data_dir=tmp_path / "tfds").train[0]
    (folder / "dataset_info.json").write_bytes(b"\0{}")
    with pytest.raises(UsageError, match=r"cannot be read .*: prepare it again"):
        load("shades", data_dir=tmp_path / "tfds")


def test_an_image_without_a_label_is_no_image_of_a_class():
    """ImageNet's split `test` is such."""
    source = RecordSource([{"image": b"x", "label": np.int64(-1)}])
    with pytest.raises(UsageError, match=r"image 0 has the label -1"):
        source[0]


@pytest.mark.parametrize(
    "example",
    [{"image": b"", "label": None}, {"image": None, "label": 1}, {"image": b"", "label": "x"}],
)
def test_an_example_that_lacks_a_part_is_one_line(example):
    with pytest.raises(UsageError, match="image 0 lacks its pixels or its label") as raised:
        RecordSource([example])[0]
    assert "\n" not in str(raised.value)


def test_slices_divide_one_split(prepared):
    whole = load("shades", data_dir=prepared)
    sliced = load(
        "shades", data_dir=prepared, train_split="train[:75%]", validation_split="train[75%:]"
    )
    assert (len(sliced.train), len(sliced.validation)) == (9, 3)
    images = [whole.train[i]["image"] for i in range(12)]
    assert [sliced.train[i]["image"] for i in range(9)] == images[:9]
    assert [sliced.validation[i]["image"] for i in range(3)] == images[9:]
    assert sliced.settings == {"train_split": "train[:75%]", "validation_split": "train[75%:]"}
    assert whole.settings == {}


def test_the_fingerprint_tells_slices_apart(prepared):
    splits = [
        (None, None),
        ("train[:75%]", None),
        ("train[25%:]", None),
        ("train[:75%]", "train[75%:]"),
        ("train[:50%]", "train[75%:]"),
        ("validation", "train"),
    ]
    fingerprints = {
        load("shades", data_dir=prepared, train_split=a, validation_split=b).fingerprint
        for a, b in splits
    }
    assert len(fingerprints) == len(splits)
    absolute = load("shades", data_dir=prepared, train_split="train[:9]")
    percent = load("shades", data_dir=prepared, train_split="train[:75%]")
    assert absolute.fingerprint == percent.fingerprint, "the same images"


@pytest.mark.parametrize(
    ("train_split", "validation_split", "says"),
    [
        ("train[:75%]", "train[50%:]", "have 3 images in common"),
        ("train", "train", "have 12 images in common"),
        ("train+validation", None, "have 5 images in common"),
        ("trian", None, "--train_split=trian: --dataset=shades has the splits train, validation"),
        (None, "validation[:x%]", "--validation_split=validation[:x%]"),
        (None, "validation[:0]", "holds no image"),
    ],
)
def test_slices_that_share_images_or_are_none_are_refused(
    prepared, train_split, validation_split, says
):
    with pytest.raises(UsageError) as raised:
        load(
            "shades",
            data_dir=prepared,
            train_split=train_split,
            validation_split=validation_split,
        )
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
