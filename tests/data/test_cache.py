import itertools

import numpy as np
import pytest
from PIL import Image

from jaxeff.data import Augmentation, crop_and_flip, crop_batches, in_memory, load, train_batches
from jaxeff.errors import UsageError


@pytest.fixture
def pictures(tmp_path):
    for split, label, i in itertools.product(("train", "validation"), "ab", range(6)):
        path = tmp_path / split / label / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 32), 60 + i).convert("RGB").save(path)
    return tmp_path


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("process_count", [1, 2])
def test_the_device_makes_the_crops_that_the_host_would(pictures, size, process_count):
    dataset = in_memory(load("image_folder", data_dir=pictures))
    options = {
        "batch_size": 8,
        "augmentation": Augmentation(),
        "seed": 3,
        "start_step": 2,
        "process_index": process_count - 1,
        "process_count": process_count,
    }
    pixels = train_batches(dataset, image_size=size, **options)
    crops = crop_batches(dataset, **options)
    try:
        for host, crop in itertools.islice(zip(pixels, crops, strict=True), 4):
            np.testing.assert_array_equal(host["label"], crop["label"])
            device = crop_and_flip(
                dataset.train.images, crop["index"], crop["box"], crop["flip"], size
            )
            difference = np.abs(np.asarray(device).astype(int) - host["image"])
            assert difference.max() <= 1
            assert difference.mean() < 0.1
    finally:
        pixels.close()
        crops.close()


def test_a_cached_set_is_the_same_set(pictures):
    files = load("image_folder", data_dir=pictures)
    cached = in_memory(files)
    assert cached.fingerprint == files.fingerprint
    assert cached.train.images.shape == (12, 32, 40, 3)
    for i in range(12):
        assert cached.train[i]["label"] == files.train[i]["label"]
        with Image.open(files.train[i]["image"]) as image:
            np.testing.assert_array_equal(cached.train[i]["image"], np.asarray(image))
    assert in_memory(cached) is cached


def test_pictures_of_several_sizes_and_too_many_are_refused(pictures, monkeypatch):
    Image.new("RGB", (41, 32)).save(pictures / "train" / "b" / "9.png")
    with pytest.raises(UsageError, match=r"9\.png.*41 x 32 pixels, the first 40 x 32"):
        in_memory(load("image_folder", data_dir=pictures))
    monkeypatch.setattr("jaxeff.data.cache.MOST_BYTES", 1000)
    with pytest.raises(UsageError, match="--cache: 13 pictures of 40 x 32 pixels"):
        in_memory(load("image_folder", data_dir=pictures))
