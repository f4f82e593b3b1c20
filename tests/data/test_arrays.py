"""Arrays in `.npz` files, as NumPy writes them and as Keras and MedMNIST name them."""

import io
import pickle
import zipfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from jaxeff.data import load
from jaxeff.errors import UsageError
from tests.data.numbered import train, validate


def pixels(*shape):
    return np.random.default_rng(len(shape)).integers(0, 256, shape, np.uint8)


def labels(count, classes=3):
    return np.arange(count) % classes


def content(**changes):
    """A file of nine and six images of three classes, with changes; None leaves a key out."""
    arrays = {
        "train_images": pixels(9, 8, 8, 3),
        "train_labels": labels(9),
        "validation_images": pixels(6, 8, 8, 3),
        "validation_labels": labels(6),
    } | changes
    return {key: array for key, array in arrays.items() if array is not None}


def saved(path, save=np.savez, **arrays):
    save(path, **arrays)
    return load("arrays", data_dir=path)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mine.npz"


def error(path, **options):
    with pytest.raises(UsageError) as raised:
        load("arrays", data_dir=path, **options)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_with_a_split_is_read_as_it_is(file, save):
    arrays = content()
    dataset = saved(file, save, **arrays)
    assert dataset.name == "mine"
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.in_memory
    assert (dataset.image_size, dataset.evaluation_crop_fraction) == (8, 1.0)
    assert dataset.settings == {"source": "arrays"}
    assert dataset.notes == ()
    for source, split in ((dataset.train, "train"), (dataset.validation, "validation")):
        np.testing.assert_array_equal(source.images, arrays[f"{split}_images"])
        np.testing.assert_array_equal(source.labels, arrays[f"{split}_labels"])
        assert source.labels.dtype == np.int32
    assert len(dataset.fingerprint) == 64


def test_batches_come_from_it_as_from_any_other(file):
    dataset = pickle.loads(pickle.dumps(saved(file, **content())))
    images, given = train(dataset, steps=3, batch_size=3)
    assert sorted(given.ravel()) == sorted(labels(9))
    assert images.shape == (3, 3, 8, 8, 3)
    assert sum(batch["mask"].sum() for batch in validate(dataset)) == 6


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("train_images", "train_labels", "val_images", "val_labels"),
        ("x_train", "y_train", "x_val", "y_val"),
    ],
)
def test_other_names_are_the_same_set(file, names):
    arrays = content()
    expected = saved(file, **arrays)
    dataset = saved(file, **dict(zip(names, arrays.values(), strict=True)))
    assert dataset.fingerprint == expected.fingerprint


def test_medmnist_is_measured_on_its_validation_images_and_says_so(file):
    arrays = {}
    for split, count in (("train", 9), ("val", 6), ("test", 3)):
        arrays[f"{split}_images"] = pixels(count, 28, 28)
        arrays[f"{split}_labels"] = labels(count)[:, None].astype(np.uint8)
    dataset = saved(file, **arrays)
    assert len(dataset.validation) == 6
    assert dataset.train.images.shape == (9, 28, 28, 3)
    for channel in range(3):
        np.testing.assert_array_equal(dataset.train.images[..., channel], arrays["train_images"])
    assert dataset.notes == ("not used of mine.npz: test_images, test_labels",)


def test_grey_images_may_have_an_axis_of_one(file):
    grey = pixels(9, 8, 8)
    with_axis = saved(file, **content(train_images=grey[..., None]))
    without = saved(file, **content(train_images=grey))
    assert with_axis.fingerprint == without.fingerprint


def test_classes_may_have_names_and_validation_fewer_of_them(file):
    names = np.array(["cat", "dog", "eel"])
    dataset = saved(file, **content(class_names=names, validation_labels=np.zeros(6, int)))
    assert dataset.class_names == ("cat", "dog", "eel")


def test_large_images_are_shown_as_in_the_paper(file):
    dataset = saved(file, **content(train_images=pixels(9, 100, 100, 3)))
    assert (dataset.image_size, dataset.evaluation_crop_fraction) == (224, 0.875)


def test_a_file_without_a_split_is_split_by_class_and_seed(file):
    images, given = pixels(60, 4, 4), np.repeat([0, 1, 2], [10, 20, 30])
    images[:, 0, 0] = np.arange(60)  # numbers the images
    dataset = saved(file, images=images, labels=given)
    assert np.bincount(dataset.train.labels).tolist() == [8, 16, 24]
    assert np.bincount(dataset.validation.labels).tolist() == [2, 4, 6]
    numbers = [source.images[:, 0, 0, 0] for source in (dataset.train, dataset.validation)]
    assert sorted(np.concatenate(numbers)) == list(range(60))
    assert dataset.settings["split_seed"] == 0
    # As NumPy's Philox decides, on any machine: worked out once by hand from the rule in `load`.
    draws = np.random.Philox(key=[0, 0]).random_raw(10)
    assert sorted(numbers[1][:2]) == sorted(np.argsort(draws)[:2])
    assert load("arrays", data_dir=file).fingerprint == dataset.fingerprint
    other = load("arrays", data_dir=file, split_seed=1)
    assert other.fingerprint != dataset.fingerprint
    assert other.settings["split_seed"] == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_labels": None}, "holds train_images and no train_labels"),
        ({"validation_images": None}, "expected train_images, train_labels"),
        ({"train_labels": labels(8)}, "9 train_images and 8 train_labels"),
        ({"train_images": pixels(0, 8, 8, 3), "train_labels": labels(0)}, "empty"),
        ({"train_images": pixels(9, 8, 8, 3) / 255}, "(255 * images).round().astype('uint8')"),
        ({"train_images": pixels(9, 8, 8).astype(int)}, "int64 [9, 8, 8]: store uint8"),
        ({"train_images": pixels(9, 3, 8, 8)}, "images.transpose(0, 2, 3, 1)"),
        ({"train_images": pixels(9, 8, 8, 4)}, "expected [N, H, W, 3]"),
        ({"train_images": pixels(9, 28, 28, 28, 1)}, "expected [N, H, W, 3]"),
        ({"train_labels": labels(9) - 1}, "3 labels are below 0 (the least is -1)"),
        ({"train_labels": labels(9) * 1.0}, "float64 [9]: give integers"),
        ({"train_labels": np.array(list("abcabcabc"))}, "numpy.unique"),
        ({"train_labels": np.eye(3, dtype=int)[labels(9)]}, "labels.argmax(axis=1)"),
        ({"train_labels": labels(9) * 2}, "go up to 4 and only 3 of them have images (none has 1)"),
        ({"validation_labels": labels(6) + 1}, "validation has images of class 3"),
        ({"train_images": np.array([None] * 9)}, "Python objects, which are never unpickled"),
        ({"class_names": np.array(["a", "b"])}, "expected the names of 3 classes"),
    ],
)
def test_what_is_wrong_with_the_arrays_is_said_in_one_line(file, changes, says):
    np.savez(file, **content(**changes))
    assert says in error(file)


def test_a_single_class_is_refused(file):
    np.savez(file, **content(train_labels=np.zeros(9, int), validation_labels=np.zeros(6, int)))
    with pytest.raises(UsageError, match="mine has one class, '0'"):
        load("arrays", data_dir=file)


def test_a_file_of_single_images_cannot_be_split(file):
    np.savez(file, images=pixels(3, 8, 8), labels=labels(3))
    assert "none can be held out" in error(file)


def test_files_of_other_kinds_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", pixels(3, 8, 8))
    assert "is one array" in error(tmp_path / "one.npy")
    (tmp_path / "text.npz").write_text("no arrays")
    assert "of another kind" in error(tmp_path / "text.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    assert "cannot be read" in error(tmp_path / "empty.npz")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("train_images", "no array")
        archive.writestr("train_labels", "no array")
        archive.writestr("test_images", "no array")
    assert "train_images" in error(tmp_path / "zip.npz")


def test_nothing_in_a_file_is_unpickled(tmp_path):
    class Touch:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    objects = np.empty(9, object)
    objects[:] = [Touch() for _ in range(9)]
    np.savez(tmp_path / "evil.npz", **content(train_images=objects))
    assert "never unpickled" in error(tmp_path / "evil.npz")
    (tmp_path / "evil.npz").write_bytes(pickle.dumps(Touch()))
    assert "of another kind" in error(tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


def loaded_or_refused(path):
    """The data set; None where it was refused, in one line."""
    try:
        return load("arrays", data_dir=path)
    except UsageError as refused:
        message = str(refused)
    assert "\n" not in message
    return None


def test_a_file_that_unpacks_to_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "zeros.npz", **content())
    monkeypatch.setattr("os.sysconf", lambda name: 8)  # A machine of 64 bytes.
    assert "and this machine 0 GB of memory" in error(tmp_path / "zeros.npz")


KEYS = ["train_images", "train_labels", "test_images", "test_labels", "images", "labels", "x_val"]


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.dictionaries(
        st.sampled_from(KEYS),
        arrays_of.arrays(
            st.sampled_from([np.uint8, np.int64, np.float32, np.bool_, "U2"]),
            arrays_of.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
        ),
    )
)
def test_any_arrays_are_a_data_set_or_one_line(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("fuzz") / "any.npz"
    np.savez(path, **arrays)
    dataset = loaded_or_refused(path)
    if dataset is not None:
        assert dataset.num_classes >= 2
        assert dataset.train.images.dtype == np.uint8
        assert set(dataset.validation.labels) <= set(dataset.train.labels)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.data())
def test_any_damage_is_one_line_or_leaves_every_image(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "any.npz"
    buffer = io.BytesIO()
    save = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    save(buffer, **content())
    path.write_bytes(buffer.getvalue())
    whole = load("arrays", data_dir=path)
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged[: data.draw(st.sampled_from([None, len(damaged) // 2]))])
    dataset = loaded_or_refused(path)
    if dataset is not None:
        assert dataset.fingerprint == whole.fingerprint
