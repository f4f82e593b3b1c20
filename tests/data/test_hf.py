"""Image sets as `datasets` writes them to disk: saved, and as the Parquet files of the Hub."""

import io
import itertools
import json
import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from jaxeff.data import StreamOptions, load, validation_batches
from jaxeff.data.augment import decode
from jaxeff.errors import UsageError
from tests.data.numbered import train, validate

datasets = pytest.importorskip("datasets", reason="pip install -e '.[test]'")
pyarrow = pytest.importorskip("pyarrow", reason="pip install -e '.[hf]'")

CLASSES = ("dark", "bright")
COUNTS = {"train": 12, "test": 5}


def rows(count, width=20):
    """Dark and bright images by turns, of several widths, and their labels."""
    for i in range(count):
        shade = 160 * (i % 2) + i
        yield Image.new("RGB", (width + i, 30), (shade,) * 3), i % 2


def hub_set():
    """Both splits, with the features that the Hub's image sets have."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    )
    splits = {}
    for split, count in COUNTS.items():
        images, labels = zip(*rows(count), strict=True)
        content = {"image": list(images), "label": list(labels)}
        splits[split] = datasets.Dataset.from_dict(content, features=features)
    return datasets.DatasetDict(splits)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def saved(tmp_path):
    hub_set().save_to_disk(tmp_path / "shades", num_shards={"train": 3, "test": 1})
    return tmp_path / "shades"


@pytest.fixture
def parquet(tmp_path):
    folder = tmp_path / "hub"
    (folder / "data").mkdir(parents=True)
    splits = hub_set()
    for split in splits:
        for shard in range(2):
            path = folder / "data" / f"{split}-{shard:05d}-of-00002.parquet"
            splits[split].shard(2, shard, contiguous=True).to_parquet(path)
    return folder


def error(folder):
    with pytest.raises(UsageError) as raised:
        load("hf", data_dir=folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(params=["saved", "parquet"])
def folder(request):
    return request.getfixturevalue(request.param)


def test_both_forms_are_read_whole(folder):
    dataset = load("hf", data_dir=folder)
    assert dataset.name == folder.name
    assert dataset.class_names == CLASSES
    assert (len(dataset.train), len(dataset.validation)) == (12, 5)
    assert dataset.settings == {"source": "hf"}
    assert not dataset.in_memory
    for source, count in ((dataset.train, 12), (dataset.validation, 5)):
        for index, (image, label) in enumerate(rows(count)):
            example = source[index]
            assert isinstance(example["image"], bytes)
            assert example["label"] == label
            np.testing.assert_array_equal(np.asarray(decode(example["image"])), np.asarray(image))
        with pytest.raises(IndexError):
            source[count]


def test_the_form_and_the_number_of_files_are_not_in_the_fingerprint(saved, parquet, tmp_path):
    fingerprint = load("hf", data_dir=saved).fingerprint
    assert load("hf", data_dir=parquet).fingerprint == fingerprint
    hub_set().save_to_disk(tmp_path / "again")
    assert load("hf", data_dir=tmp_path / "again").fingerprint == fingerprint
    splits = hub_set()
    splits["train"] = splits["train"].select(range(11))
    splits.save_to_disk(tmp_path / "fewer")
    assert load("hf", data_dir=tmp_path / "fewer").fingerprint != fingerprint


def test_a_source_is_small_when_pickled_and_opens_its_files_again(folder):
    dataset = load("hf", data_dir=folder)
    assert len(pickle.dumps(dataset.train)) < 2000
    images, labels = train(pickle.loads(pickle.dumps(dataset)), steps=3, batch_size=4)
    assert ((images.mean(axis=(2, 3, 4)) > 100) == (labels == 1)).all()
    assert labels.sum() == 6
    assert sum(batch["mask"].sum() for batch in validate(dataset)) == 5


def test_worker_processes_read_the_same_batches(saved):
    dataset = load("hf", data_dir=saved)
    here, there = (
        list(validation_batches(dataset, 8, batch_size=2, num_workers=workers))
        for workers in (0, 2)
    )
    for one, other in zip(here, there, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_parquet_is_copied_once_and_says_where(parquet, monkeypatch):
    first = load("hf", data_dir=parquet)
    assert len(first.notes) == 2
    assert "train: copied from Parquet to" in first.notes[0]
    import pyarrow.parquet as pq

    monkeypatch.setattr(pq, "ParquetFile", lambda *_, **__: pytest.fail("read again"))
    assert load("hf", data_dir=parquet).fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("train_file", "test_file"),
    [
        ("train.parquet", "test.parquet"),
        ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("train/part.parquet", "validation/part.parquet"),
    ],
)
def test_splits_are_found_by_file_or_by_folder(tmp_path, train_file, test_file):
    splits = hub_set()
    for split, name in (("train", train_file), ("test", test_file)):
        path = tmp_path / "hub" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        splits[split].to_parquet(path)
    dataset = load("hf", data_dir=tmp_path / "hub")
    assert (len(dataset.train), len(dataset.validation)) == (12, 5)


def test_small_square_images_are_shown_whole(tmp_path):
    image = Image.new("RGB", (32, 32))
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    content = {"img": [image] * 4, "label": [0, 1] * 2}
    split = datasets.Dataset.from_dict(content, features=features)
    datasets.DatasetDict({"train": split, "test": split}).save_to_disk(tmp_path / "cifar")
    dataset = load("hf", data_dir=tmp_path / "cifar")
    assert (dataset.image_size, dataset.evaluation_crop_fraction) == (32, 1.0)


def test_plain_parquet_without_features_is_read_by_its_names(tmp_path):
    """As pandas or polars write it: bytes and integers."""
    contents, labels = [], []
    for image, label in rows(6):
        file = io.BytesIO()
        image.save(file, "PNG")
        contents.append(file.getvalue())
        labels.append(label)
    table = pyarrow.table({"image": contents, "label": labels})
    import pyarrow.parquet as pq

    for split in ("train", "validation"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    dataset = load("hf", data_dir=tmp_path)
    assert dataset.class_names == ("0", "1")
    assert dataset.train[3]["image"] == contents[3]


def write(folder, image=None, label=None, split=None):
    """Both splits as Parquet, with a column or a split changed."""
    import pyarrow.parquet as pq

    content = [{"bytes": b"x", "path": None}] * 4
    table = pyarrow.table({"image": image or content, "label": label or [0, 1, 0, 1]})
    for name in ("train", split or "test"):
        pq.write_table(table, folder / f"{name}.parquet")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"label": [0, -1, -1, 1]}, "2 labels of train are below 0"),
        ({"label": [0, None, 0, 1]}, "1 images have no label"),
        ({"label": ["a", "b", "a", "b"]}, "dataset.class_encode_column('label')"),
        ({"label": [0, 3, 0, 3]}, "without gaps"),
        ({"image": [1, 2, 3, 4]}, "expected encoded image files"),
        ({"image": [{"bytes": None, "path": "a.png"}] * 4}, "expected encoded image files"),
        (
            {"image": [{"bytes": b"x", "path": "b.png"}, {"bytes": None, "path": "a.png"}] * 2},
            "2 images are given by path alone",
        ),
        ({"split": "extra"}, "has the splits train: expected train, and one of validation"),
    ],
)
def test_what_is_wrong_with_the_columns_is_said_in_one_line(tmp_path, columns, says):
    write(tmp_path, **columns)
    assert says in error(tmp_path)


def test_a_set_without_its_whole_content_is_refused(tmp_path, saved, parquet):
    next((saved / "train").glob("*00001-of*.arrow")).unlink()
    assert "data-00001-of-00003.arrow, which is not there" in error(saved)
    (parquet / "data" / "train-00001-of-00002.parquet").unlink()
    assert "is one of 2 files and 1 are there" in error(parquet)
    (tmp_path / "empty").mkdir()
    assert "holds neither" in error(tmp_path / "empty")
    hub_set()["train"].save_to_disk(tmp_path / "one")
    assert "train_test_split" in error(tmp_path / "one")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dataset_dict.json", {"splits": 3}),
        ("dataset_dict.json", {"splits": ["train", 3, "test"]}),
        ("dataset_dict.json", []),
        ("train/state.json", {"_data_files": "train"}),
        ("train/state.json", {"_data_files": [{"filename": None}]}),
        ("train/state.json", {"_data_files": []}),
    ],
)
def test_what_a_saved_set_says_of_itself_may_be_anything(saved, name, content):
    """Found by fuzzing."""
    (saved / name).write_text(json.dumps(content))
    assert "save or copy the data set again" in error(saved)


@pytest.mark.parametrize("said", [b"[", b"[1]", b'{"info": 3}', b"[" * 99999])
def test_columns_are_found_by_name_where_nothing_readable_is_said_of_them(parquet, said):
    for path in parquet.rglob("*.parquet"):
        table = pyarrow.parquet.read_table(path)
        pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": said}), path)
    assert load("hf", data_dir=parquet).class_names == ("0", "1")


def test_a_stream_with_a_broken_header_is_named(saved):
    """Found by fuzzing: Arrow raises an OSError."""
    path = next((saved / "train").glob("*.arrow"))
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    assert f"{path} cannot be read as Arrow" in error(saved)


def test_files_that_are_no_data_are_named(tmp_path, saved, parquet):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    path = parquet / "data" / "train-00000-of-00002.parquet"
    path.write_text(pointer)
    assert f"{path} cannot be read as Parquet" in error(parquet)
    assert not list((tmp_path / "cache").rglob("*.arrow*")), "a part of a copy was left"
    path = next((saved / "test").glob("*.arrow"))
    path.write_text(pointer)
    assert f"{path} cannot be read as Arrow" in error(saved)
    (saved / "dataset_dict.json").write_text("{")
    assert "dataset_dict.json cannot be read" in error(saved)


def test_several_sets_in_one_folder_are_named(tmp_path):
    for name in ("large", "small"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    assert "several sets with a split train (large, small)" in error(tmp_path)


def test_without_pyarrow_it_says_what_to_install(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "[hf]'" in error(saved)


def test_a_stream_of_several_epochs_needs_no_datasets_library(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    from jaxeff.data import Augmentation, train_batches

    dataset = load("hf", data_dir=saved)
    batches = train_batches(dataset, 8, Augmentation(), StreamOptions(4))
    try:
        taken = [batch["label"] for batch in itertools.islice(batches, 6)]
    finally:
        batches.close()
    assert np.concatenate(taken).sum() == 12


def _renamed(split, names):
    """The same pictures and words for them, with the classes in another order."""
    label = datasets.ClassLabel(names=list(names))
    numbers = [names.index(CLASSES[i]) for i in split["label"]]
    return split.remove_columns("label").add_column("label", numbers).cast_column("label", label)


@pytest.mark.parametrize("form", ["saved", "parquet"])
@pytest.mark.parametrize("names", [CLASSES[::-1], (*CLASSES, "grey")])
def test_splits_that_number_classes_otherwise_are_refused(tmp_path, form, names):
    splits = hub_set()
    splits["test"] = _renamed(splits["test"], names)
    if form == "saved":
        splits.save_to_disk(tmp_path / "set")
    else:
        (tmp_path / "set").mkdir()
        for split in splits:
            splits[split].to_parquet(tmp_path / "set" / f"{split}.parquet")
    said = error(tmp_path / "set")
    assert "the validation split names class" in said
    assert "cast_column" in said


def test_files_of_one_split_that_number_classes_otherwise_are_refused(parquet):
    path = parquet / "data" / "train-00001-of-00002.parquet"
    _renamed(hub_set()["train"].shard(2, 1, contiguous=True), CLASSES[::-1]).to_parquet(path)
    assert f"{path} names class 0 'bright'" in error(parquet)


def test_files_of_several_names_in_a_split_are_noted(parquet):
    for path in sorted((parquet / "data").glob("*.parquet")):
        path.rename(path.with_stem(path.stem.replace("-of-00002", "").replace("-0", "_0")))
    notes = [note for note in load("hf", data_dir=parquet).notes if "several names" in note]
    assert [note.partition(":")[0] for note in notes] == ["train", "test"]
    assert "train_00000, train_00001" in notes[0]
