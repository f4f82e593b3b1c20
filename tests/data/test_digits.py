import numpy as np
from sklearn.datasets import load_digits

from jaxeff.data import digits


def test_all_digits_are_there_and_half_of_each_class_is_for_validation():
    dataset = digits.load()
    everything = load_digits().target
    assert len(dataset.train) + len(dataset.validation) == len(everything) == 1797
    in_validation = np.bincount(dataset.validation.labels, minlength=10)
    np.testing.assert_array_equal(in_validation, np.bincount(everything) // 2)


def test_the_validation_images_are_every_second_of_each_class():
    dataset, bunch = digits.load(), load_digits()
    expected = []
    seen = dict.fromkeys(range(10), 0)
    for image, label in zip(bunch.images, bunch.target, strict=True):
        seen[int(label)] += 1
        if seen[int(label)] % 2 == 0:
            expected.append((int(label), image))
    assert [label for label, _ in expected] == dataset.validation.labels.tolist()
    for (_, image), pixels in zip(expected, dataset.validation.images, strict=True):
        assert (np.abs(pixels - image[..., None] * 255 / 16) <= 0.5).all()


def test_grey_levels_reach_from_black_to_white_in_three_equal_channels():
    images = digits.load().train.images
    assert images.shape == (901, 8, 8, 3)
    assert images.min() == 0
    assert images.max() == 255
    assert (images == images[..., :1]).all()


def test_the_images_and_the_split_are_the_same_everywhere():
    assert (
        digits.load().fingerprint
        == "977325a36e3a68e2ff03a328a219443e9c8aaf008df6ad35f17988b204ffe7da"
    )
