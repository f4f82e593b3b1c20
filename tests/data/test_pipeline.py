import itertools
import multiprocessing
import threading

import numpy as np
import pytest

from jaxeff.data import Shard, validation_batches
from jaxeff.data.augment import decode, evaluation_image
from jaxeff.errors import UsageError
from tests.data.numbered import SIZE, dataset_of, numbered, train, training, validate


def assert_same(left, right):
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


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
    dataset = numbered(50)
    assert_same(train(dataset, steps=3, seed=1), train(dataset, steps=3, seed=1))
    assert (train(dataset, steps=3, seed=1)[1] != train(dataset, steps=3, seed=2)[1]).any()


def test_neighbouring_seeds_share_no_epoch():
    orders = [train(numbered(16), steps=8, seed=seed)[1] for seed in range(4)]  # 4 epochs each
    epochs = [tuple(epoch) for order in orders for epoch in order.reshape(-1, 16)]
    assert len(set(epochs)) == len(epochs)


def test_a_data_set_smaller_than_a_batch_works():
    images, labels = train(numbered(3), steps=3)
    assert sorted(labels.ravel().tolist()) == sorted([0, 1, 2] * 8)
    # The same image twice in a batch is augmented anew.
    first = images[0][labels[0] == 0]
    assert (first[0] != first[1]).any()


# --- the same batches, however they are made


def test_the_number_of_threads_changes_no_byte(monkeypatch):
    expected = train(numbered(50), steps=20)
    monkeypatch.setattr("jaxeff.data.pipeline.loader_threads", lambda source: 4)
    assert_same(train(numbered(50), steps=20), expected)


def test_the_number_of_workers_changes_no_byte_and_closing_leaves_no_process():
    dataset = numbered(21)
    options = {"batch_size": 4, "image_size": 64}  # 49 kB a batch, which travels in shared memory
    assert_same(
        train(dataset, steps=7, num_workers=2, start_example=24, **options),
        train(dataset, steps=7, num_workers=0, start_example=24, **options),
    )
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("process_count", [2, 4])
def test_the_number_of_processes_changes_no_global_batch(process_count):
    dataset = numbered(21)
    images, labels = train(dataset, steps=6)
    parts = [
        train(dataset, steps=6, shard=Shard(index, process_count)) for index in range(process_count)
    ]
    for step in range(6):
        part_images, part_labels = zip(
            *((part[0][step], part[1][step]) for part in parts), strict=True
        )
        np.testing.assert_array_equal(np.concatenate(part_images), images[step])
        np.testing.assert_array_equal(np.concatenate(part_labels), labels[step])


@pytest.mark.parametrize("shard", [Shard(), Shard(1, 2)])
@pytest.mark.parametrize("batches", [1, 5, 13])
def test_start_example_goes_on_where_the_stream_left_off(batches, shard):
    images, labels = train(numbered(21), steps=16, shard=shard)
    later = train(numbered(21), steps=3, start_example=8 * batches, shard=shard)
    assert_same(later, (images[batches:][:3], labels[batches:][:3]))


def test_another_batch_size_goes_on_with_the_next_image():
    _, labels = train(numbered(21), steps=4)
    _, later = train(numbered(21), steps=3, start_example=8, batch_size=4)
    assert later.ravel().tolist() == labels.ravel()[8:20].tolist()


def test_batches_of_one_image_are_the_same_images():
    _, labels = train(numbered(21), steps=2)
    _, one_by_one = train(numbered(21), steps=16, batch_size=1)
    assert one_by_one.ravel().tolist() == labels.ravel().tolist()


def test_start_example_reads_none_of_the_images_before_it():
    images_read, lock = [], threading.Lock()
    whole = numbered(21).train

    class Counted:
        def __len__(self):
            return len(whole)

        def __getitem__(self, index):
            with lock:
                images_read.append(index)
            return whole[index]

    train(dataset_of(Counted(), whole), steps=1, start_example=10**13)
    # Batches are made ahead of their use, and one image is looked at for its size.
    assert len(images_read) < 100


# --- validation


@pytest.mark.parametrize("process_count", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 7, 8, 21])
def test_every_validation_image_counts_once(count, process_count):
    dataset = numbered(1, validation=count)
    seen = []
    for index in range(process_count):
        batches = validate(dataset, shard=Shard(index, process_count))
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


# --- what is refused


def test_a_batch_that_does_not_divide_among_the_processes_is_refused():
    with pytest.raises(UsageError, match="multiple, such as 9"):
        validation_batches(numbered(3), SIZE, batch_size=8, shard=Shard(0, 3))
    with pytest.raises(UsageError, match="multiple, such as 9"):
        training(numbered(3), Shard(0, 3))


def test_validation_refuses_numbers_out_of_range():
    for options, says in (({"batch_size": 0}, "batch_size=0"), ({"num_workers": -1}, "workers=-1")):
        with pytest.raises(UsageError, match=says):
            validate(numbered(3), **options)


def test_reading_starts_before_the_first_batch_is_asked_for():
    read = threading.Event()

    class Watched(list):
        def __getitem__(self, index):
            if threading.current_thread() is not threading.main_thread():
                read.set()
            return super().__getitem__(index)

    examples = Watched({"image": np.zeros((9, 9, 3), np.uint8), "label": i} for i in range(9))
    batches = training(dataset_of(examples, examples))
    assert read.wait(timeout=60)
    assert len(list(itertools.islice(batches, 2))) == 2
    batches.close()
