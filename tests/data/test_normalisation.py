import dataclasses
import itertools

import numpy as np
import pytest
from PIL import Image

from jaxeff import data, tasks
from jaxeff.data.dataset import ArraySource
from jaxeff.data.normalisation import measure, with_measured_normalisation
from jaxeff.errors import UsageError
from tests.data.numbered import dataset_of


def arrays(count, seed=0):
    images = np.random.default_rng(seed).integers(0, 200, (count, 6, 5, 3), np.uint8)
    images[..., 1] //= 2
    return ArraySource(images, np.arange(count, dtype=np.int32))


def test_mean_and_deviation_are_those_of_all_pixels():
    source = arrays(50)
    mean, std = measure(source)
    pixels = source.images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 1, 2)), atol=6e-6)
    np.testing.assert_allclose(std, pixels.std(axis=(0, 1, 2)), atol=6e-6)
    assert mean[0] != pytest.approx(mean[1], rel=0.5)


def test_normalised_by_them_the_images_have_mean_0_and_deviation_1():
    dataset = with_measured_normalisation(dataset_of(arrays(40), arrays(5, seed=1)))
    task = tasks.ImageClassification(dataset, image_size=6)
    pixels = np.asarray(task.inputs({"image": dataset.train.images}))
    np.testing.assert_allclose(pixels.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(pixels.std(axis=(0, 1, 2)), 1, atol=1e-3)


def test_every_image_counts_the_same_whatever_its_size(tmp_path):
    for split, label in itertools.product(("train", "val"), "ab"):
        (tmp_path / split / label).mkdir(parents=True)
        size, level = ((4, 4), 100) if label == "a" else ((40, 40), 200)
        Image.new("RGB", size, (level, level, 0)).save(tmp_path / split / label / "1.png")
    mean, std = measure(data.load("image_folder", data_dir=tmp_path).train)
    assert mean == pytest.approx((150 / 255, 150 / 255, 0), abs=1e-5)
    assert std == pytest.approx((50 / 255, 50 / 255, 0), abs=1e-5)


def test_of_many_images_a_fixed_part_is_measured(monkeypatch):
    monkeypatch.setattr("jaxeff.data.normalisation.MOST_MEASURED", 10)
    source = arrays(35)
    seen = []

    class Watched(ArraySource):
        def __getitem__(self, index):
            seen.append(index)
            return super().__getitem__(index)

    result = measure(Watched(source.images, source.labels))
    assert sorted(seen) == [0, 3, 7, 10, 14, 17, 21, 24, 28, 31]
    assert measure(source) == result
    part = ArraySource(source.images[sorted(seen)], source.labels[:10])
    assert measure(part) == result


def test_the_record_says_which_numbers_were_used():
    dataset = dataset_of(arrays(20), arrays(5))
    settings = tasks.ImageClassification(dataset, image_size=6).settings()
    assert "mean" not in settings
    measured = with_measured_normalisation(dataset)
    settings = tasks.ImageClassification(measured, image_size=6).settings()
    assert settings["mean"] == list(measured.mean)
    assert settings["std"] == list(measured.std)


def test_images_of_one_value_are_refused():
    grey = ArraySource(np.full((4, 3, 3, 3), 7, np.uint8), np.arange(4, dtype=np.int32))
    dataset = dataclasses.replace(dataset_of(grey, grey), name="grey")
    with pytest.raises(UsageError, match="--normalise=measured: the training images of grey"):
        with_measured_normalisation(dataset)
