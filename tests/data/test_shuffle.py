import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxeff.data.shuffle import ShuffledStream


def epoch(stream, number):
    first = number * stream.length
    return [stream.index(position) for position in range(first, first + stream.length)]


@pytest.mark.parametrize("length", [1, 2, 3, 21, 256, 257])
def test_every_epoch_contains_every_index_once(length):
    stream = ShuffledStream(length, seed=0)
    for number in range(5):
        assert sorted(epoch(stream, number)) == list(range(length))


def test_no_two_epochs_of_neighbouring_seeds_are_alike():
    """Grain's own shuffle gives seed s in epoch 1 the order of seed s + 1 in epoch 0."""
    orders = [tuple(epoch(ShuffledStream(16, seed), e)) for seed in range(4) for e in range(4)]
    assert len(set(orders)) == 16


def test_an_order_is_that_of_sorted_philox_numbers():
    keys = np.random.Philox(key=[3, 2]).random_raw(5)
    assert epoch(ShuffledStream(5, seed=3), 2) == np.argsort(keys).tolist()


def test_further_images_are_the_next_of_the_same_epoch_from_its_end_round_to_its_beginning():
    stream = ShuffledStream(5, seed=1)
    order = epoch(stream, 3)
    assert [stream.index(3 * 5 + 3, further) for further in range(5)] == order[3:] + order[:3]


def test_alternating_flips_are_a_random_half_and_then_each_image_in_every_other_epoch():
    length = 1000
    stream = ShuffledStream(length, seed=3)
    flips = np.empty((4, length), bool)
    for position in range(4 * length):
        flips[position // length, stream.index(position)] = stream.alternating_flip(position)
    assert abs(flips[0].mean() - 0.5) < 0.05  # 3 standard deviations
    np.testing.assert_array_equal(flips[1], ~flips[0])
    np.testing.assert_array_equal(flips[2:], flips[:2])
    other = ShuffledStream(length, seed=4)._first_flips
    assert abs((flips[0] == other).mean() - 0.5) < 0.05
    # No trace of the order that the first epoch has.
    ranks = np.argsort(stream.order(0))
    assert abs(np.corrcoef(ranks, flips[0])[0, 1]) < 0.1
    copy = pickle.loads(pickle.dumps(stream))
    assert copy.alternating_flip(7) == stream.alternating_flip(7)
    # A later image in the place of a damaged one is flipped as it is in its own place.
    position = 3 * length + 5
    assert [stream.alternating_flip(position, further) for further in range(9)] == [
        stream.alternating_flip(position + further) for further in range(9)
    ]


@pytest.mark.parametrize("length", [1442, 50_000])
def test_the_shuffle_is_as_irregular_as_chance(length):
    """Class counts in a batch of a source in class order, and steps between neighbours."""
    classes, batch, bins, epochs = 10, 64, 16, 3
    stream = ShuffledStream(length, seed=7)
    balance, steps = [], []
    for number in range(epochs):
        order = stream.order(number).astype(np.int64)
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
    # Chi-square per degree of freedom is 1 for chance. Grain's shuffle: 0.75 and 117 at 50 000.
    assert np.mean(balance) == pytest.approx(1, abs=0.15)
    assert np.mean(steps) < 2


def test_threads_and_a_pickled_copy_see_the_same_order():
    stream, positions = ShuffledStream(7, seed=5), range(7 * 40)
    expected = [stream.index(position) for position in positions]
    copy = pickle.loads(pickle.dumps(stream))
    with ThreadPoolExecutor(8) as pool:
        # Every other position from far away makes the threads jump between epochs.
        assert list(pool.map(copy.index, positions)) == expected
        assert list(pool.map(copy.index, reversed(positions))) == expected[::-1]
