import gc
import itertools
import multiprocessing
import threading
import time

import numpy as np
import pytest
from PIL import Image

from jaxeff.data import (
    Augmentation,
    load,
    loader_processes,
    train_batches,
    validation_batches,
)
from jaxeff.data.augment import decode, evaluation_image
from jaxeff.data.dataset import ArraySource, Dataset
from jaxeff.data.loader import ShuffledStream
from jaxeff.errors import UsageError

SIZE = 8


def numbered(train, validation=1):
    """A data set whose labels number the pictures, so that a batch tells which ones are in it."""

    def source(count):
        images = np.random.default_rng(count).integers(0, 256, (count, 9, 10, 3), np.uint8)
        return ArraySource(images, np.arange(count, dtype=np.int32))

    return Dataset(
        name="numbered",
        train=source(train),
        validation=source(validation),
        class_names=tuple(map(str, range(max(train, validation)))),
        image_size=SIZE,
        target=None,
        fingerprint="",
        horizontal_flip=True,
        evaluation_crop_fraction=1.0,
        in_memory=True,
    )


def train(dataset, steps, **options):
    """The first batches of the stream, as one array of images and one of labels."""
    defaults = {"image_size": SIZE, "batch_size": 8, "augmentation": Augmentation(), "seed": 0}
    batches = train_batches(dataset, **(defaults | options))
    try:
        taken = list(itertools.islice(batches, steps))
    finally:
        batches.close()
    return np.stack([b["image"] for b in taken]), np.stack([b["label"] for b in taken])


def validate(dataset, **options):
    defaults = {"image_size": SIZE, "batch_size": 8}
    return list(validation_batches(dataset, **(defaults | options)))


def in_threads(monkeypatch, threads):
    monkeypatch.setattr("jaxeff.data.loader._threads", lambda source: threads)


def grain_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("grain-prefetch")]


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


# --- order


def test_every_epoch_contains_every_image_once_and_batches_run_on_across_epochs():
    images, labels = train(numbered(21), steps=21)  # 8 epochs of 21 in 21 batches of 8
    assert images.shape == (21, 8, SIZE, SIZE, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    epochs = labels.reshape(8, 21)
    for epoch in epochs:
        assert sorted(epoch) == list(range(21))
    assert len({tuple(epoch) for epoch in epochs}) == 8  # reshuffled


def test_the_seed_decides_order_and_augmentation():
    images, labels = train(numbered(50), steps=3, seed=1)
    again_images, again_labels = train(numbered(50), steps=3, seed=1)
    np.testing.assert_array_equal(images, again_images)
    np.testing.assert_array_equal(labels, again_labels)
    _, other_labels = train(numbered(50), steps=3, seed=2)
    assert (labels != other_labels).any()


def test_neighbouring_seeds_share_no_epoch():
    """Grain's own shuffle gives seed s in epoch 1 the order of seed s + 1 in epoch 0."""
    orders = [train(numbered(16), steps=8, seed=seed)[1] for seed in range(4)]  # 4 epochs each
    epochs = [tuple(epoch) for order in orders for epoch in order.reshape(-1, 16)]
    assert len(set(epochs)) == len(epochs)


@pytest.mark.parametrize("length", [1442, 50_000])
def test_the_shuffle_is_as_irregular_as_chance(length):
    """Class counts in a batch of a source in class order, and steps between neighbours."""
    classes, batch, bins, epochs = 10, 64, 16, 3
    source = ArraySource(np.zeros((length, 1, 1, 3), np.uint8), np.arange(length))
    stream = ShuffledStream(source, seed=7)
    balance, steps = [], []
    for epoch in range(epochs):
        order = stream._order(epoch).astype(np.int64)
        counts = np.stack(
            [
                np.bincount(order[i : i + batch] * classes // length, minlength=classes)
                for i in range(0, length - batch, batch)
            ]
        )
        expected = batch / classes
        balance.append(((counts - expected) ** 2 / expected).sum(1).mean() / (classes - 1))
        step = np.bincount(np.diff(order) % length * bins // length, minlength=bins)
        expected = (length - 1) / bins
        steps.append(((step - expected) ** 2 / expected).sum() / (bins - 1))
    # Chi-square per degree of freedom, 1 for chance. Grain's shuffle: 0.75 and 117 at 50 000.
    assert np.mean(balance) == pytest.approx(1, abs=0.15)
    assert np.mean(steps) < 2


def test_an_order_is_that_of_sorted_philox_numbers():
    stream = ShuffledStream(numbered(5).train, seed=3)
    keys = np.random.Philox(key=[3, 2]).random_raw(5)
    assert [stream[10 + rank]["label"] for rank in range(5)] == np.argsort(keys).tolist()


def test_a_data_set_smaller_than_a_batch_works():
    images, labels = train(numbered(3), steps=3)
    assert sorted(labels.ravel().tolist()) == sorted([0, 1, 2] * 8)
    # The same picture twice in a batch is augmented anew.
    first = images[0][labels[0] == 0]
    assert (first[0] != first[1]).any()


# --- the same batches, however they are made


def test_the_number_of_threads_changes_no_byte(monkeypatch):
    expected = train(numbered(50), steps=20)
    in_threads(monkeypatch, 4)
    for left, right in zip(train(numbered(50), steps=20), expected, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("process_count", [2, 4])
def test_the_number_of_processes_changes_no_global_batch(process_count):
    dataset = numbered(21)
    images, labels = train(dataset, steps=6)
    parts = [
        train(dataset, steps=6, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    for step in range(6):
        pairs = zip(labels[step], images[step], strict=True)
        whole = {(label, image.tobytes()) for label, image in pairs}
        pieces = [
            (label, image.tobytes())
            for part_images, part_labels in parts
            for label, image in zip(part_labels[step], part_images[step], strict=True)
        ]
        assert len(pieces) == 8
        assert set(pieces) == whole


@pytest.mark.parametrize("start_step", [1, 5, 13])
def test_start_step_goes_on_where_the_stream_left_off(start_step):
    images, labels = train(numbered(21), steps=16)
    later_images, later_labels = train(numbered(21), steps=3, start_step=start_step)
    np.testing.assert_array_equal(later_images, images[start_step : start_step + 3])
    np.testing.assert_array_equal(later_labels, labels[start_step : start_step + 3])


def test_start_step_costs_nothing():
    begin = time.monotonic()
    train(numbered(21), steps=1, start_step=10**12)
    assert time.monotonic() - begin < 2


def test_start_step_continues_each_process():
    dataset, mine = numbered(21), {"process_index": 1, "process_count": 2}
    _, labels = train(dataset, steps=9, **mine)
    _, later = train(dataset, steps=4, start_step=5, **mine)
    np.testing.assert_array_equal(later, labels[5:])


# --- evaluation


@pytest.mark.parametrize("process_count", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 7, 8, 21])
def test_every_validation_image_counts_once(count, process_count):
    dataset = numbered(1, validation=count)
    seen = []
    for index in range(process_count):
        batches = validate(dataset, process_index=index, process_count=process_count)
        assert len(batches) == -(-count // 8)
        for batch in batches:
            assert batch["image"].shape == (8 // process_count, SIZE, SIZE, 3)
            assert batch["image"].dtype == np.uint8
            assert batch["label"].dtype == np.int32
            assert batch["mask"].dtype == np.bool_
            seen += batch["label"][batch["mask"]].tolist()
            assert not batch["image"][~batch["mask"]].any()
    assert sorted(seen) == list(range(count))


def test_validation_shows_the_evaluation_crop():
    dataset = numbered(1, validation=9)
    batches = validate(dataset)
    for number, image in enumerate(np.concatenate([b["image"] for b in batches])[:9]):
        expected = evaluation_image(decode(dataset.validation[number]["image"]), SIZE, 1.0)
        np.testing.assert_array_equal(image, expected)


# --- worker processes


def test_the_number_of_workers_changes_no_byte_and_closing_leaves_no_process(monkeypatch):
    dataset = numbered(21, validation=21)
    options = {"batch_size": 4, "image_size": 64}  # 49 kB a batch, which travels in shared memory
    for left, right in zip(
        train(dataset, steps=7, num_workers=2, start_step=3, **options),
        train(dataset, steps=7, num_workers=0, start_step=3, **options),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)
    assert not multiprocessing.active_children()

    # And where shared memory is small, by value.
    monkeypatch.setattr("jaxeff.data.loader._fits_shared_memory", lambda size_bytes: False)
    here = validate(dataset, image_size=64)
    there = validate(dataset, image_size=64, num_workers=1)
    assert len(here) == len(there) == 3
    for left, right in zip(there, here, strict=True):
        for name in ("image", "label", "mask"):
            assert type(left[name]) is np.ndarray
            np.testing.assert_array_equal(left[name], right[name])
    assert not multiprocessing.active_children()


@pytest.fixture
def broken_picture(tmp_path):
    for split, label in itertools.product(("train", "val"), "ab"):
        path = tmp_path / split / label / "1.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(path)
    path = tmp_path / "train" / "b" / "2.png"
    path.write_bytes(b"no picture")
    return path


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_picture_is_named_in_one_line(broken_picture, num_workers, capfd):
    dataset = load("image_folder", data_dir=broken_picture.parents[2])
    with pytest.raises(UsageError) as raised:
        train(dataset, steps=4, num_workers=num_workers)
    assert str(broken_picture) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not getattr(raised.value, "__notes__", [])
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err == ""


# --- ends


def test_closing_ends_the_threads_and_the_iterator():
    batches = train_batches(
        numbered(21), image_size=SIZE, batch_size=8, augmentation=Augmentation(), seed=0
    )
    next(batches)
    assert grain_threads()
    batches.close()
    batches.close()
    with pytest.raises(StopIteration):
        next(batches)
    assert wait_until(lambda: not grain_threads())


def test_dropping_an_iterator_ends_its_threads():
    batches = train_batches(
        numbered(21), image_size=SIZE, batch_size=8, augmentation=Augmentation(), seed=0
    )
    next(batches)
    del batches
    gc.collect()
    assert wait_until(lambda: not grain_threads())


def test_reading_to_the_end_ends_the_threads():
    validate(numbered(1, validation=21))
    assert wait_until(lambda: not grain_threads())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 6, "process_count": 4}, "multiple, such as 8"),
        ({"batch_size": 0}, "--batch_size=0"),
        ({"process_index": 2, "process_count": 2}, "process 2 of 2"),
        ({"num_workers": -1}, "--num_workers=-1"),
        ({"seed": -1}, "seed -1"),
        ({"start_step": -1}, "start step -1"),
        ({"prefetch": 0}, "prefetch of 0"),
    ],
)
def test_numbers_out_of_range_are_refused_before_the_first_batch(options, says):
    defaults = {"image_size": SIZE, "batch_size": 8, "augmentation": Augmentation(), "seed": 0}
    with pytest.raises(UsageError) as raised:
        train_batches(numbered(21), **(defaults | options))
    assert says in str(raised.value)


def test_validation_refuses_a_batch_that_does_not_divide():
    with pytest.raises(UsageError, match="multiple, such as 9"):
        validation_batches(numbered(3), image_size=SIZE, batch_size=8, process_count=3)


@pytest.mark.parametrize(("cores", "processes"), [(1, 0), (2, 0), (4, 0), (8, 7), (64, 16)])
def test_few_cores_decode_in_threads_and_many_in_processes(cores, processes):
    assert loader_processes(cores) == processes
