import functools
import itertools

import jax
import numpy as np
import pytest
from PIL import Image

from jaxeff.data import (
    Augmentation,
    ColourJitter,
    PadAndCrop,
    RandAugment,
    Shard,
    StreamOptions,
    crop_and_flip,
    crop_batches,
    in_memory,
    load,
    train_batches,
    validation_batches,
    with_evaluation_crops,
)
from jaxeff.errors import UsageError


@pytest.fixture
def images(tmp_path):
    for split, label, i in itertools.product(("train", "validation"), "ab", range(6)):
        path = tmp_path / split / label / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 32), 60 + i).convert("RGB").save(path)
    return tmp_path


CROPS = {
    "index": np.zeros(1, np.int32),
    "box": np.array([[0, 0, 32, 40]], np.int32),
    "offset": np.zeros((1, 2), np.int32),
    "flip": np.zeros(1, bool),
}
AUGMENTATIONS = {
    "resized": Augmentation(),
    "reflected": Augmentation(PadAndCrop(4), flip="alternating"),
    "zeros": Augmentation(PadAndCrop(7, "zeros"), flip="none"),
}


@pytest.mark.parametrize("shard", [Shard(), Shard(1, 2)], ids=["whole", "half"])
@pytest.mark.parametrize("size", [16, 64], ids=["smaller", "larger"])
@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_the_device_makes_the_crops_that_the_host_would(images, size, shard, augmentation):
    dataset = in_memory(load("image_folder", data_dir=images))
    options = StreamOptions(8, seed=3, start_example=16)
    pixels = train_batches(dataset, size, augmentation, options, shard)
    crops = crop_batches(dataset, augmentation, options, shard)
    on_device = jax.jit(functools.partial(crop_and_flip, size=size, crop=augmentation.crop))
    try:
        for host, crop in itertools.islice(zip(pixels, crops, strict=True), 4):
            np.testing.assert_array_equal(host["label"], crop["label"])
            device = on_device(dataset.train.images, crop)
            difference = np.abs(np.asarray(device).astype(int) - host["image"])
            assert difference.max() <= 1
            assert difference.mean() < 0.1
    finally:
        pixels.close()
        crops.close()


def test_a_cached_set_is_the_same_set(images):
    files = load("image_folder", data_dir=images)
    cached = in_memory(files)
    assert cached.fingerprint == files.fingerprint
    assert cached.train.images.shape == (12, 32, 40, 3)
    for i in range(12):
        assert cached.train[i]["label"] == files.train[i]["label"]
        with Image.open(files.train[i]["image"]) as image:
            np.testing.assert_array_equal(cached.train[i]["image"], np.asarray(image))
    assert in_memory(cached) is cached


def test_images_of_several_sizes_and_too_many_are_refused(images, monkeypatch):
    Image.new("RGB", (41, 32)).save(images / "train" / "b" / "9.png")
    with pytest.raises(UsageError, match=r"9\.png.*41 x 32 pixels, the first 40 x 32"):
        in_memory(load("image_folder", data_dir=images))
    monkeypatch.setattr("jaxeff.data.cache.MOST_BYTES", 1000)
    with pytest.raises(UsageError, match="--cache: 13 images of 40 x 32 pixels"):
        in_memory(load("image_folder", data_dir=images))


def test_what_only_the_host_can_do_is_refused_on_the_device(images):
    dataset = in_memory(load("image_folder", data_dir=images))
    augmentation = Augmentation(pixels=(ColourJitter(0.4), RandAugment()))
    with pytest.raises(UsageError, match="ColourJitter, RandAugment: give --cache=memory"):
        crop_batches(dataset, augmentation, StreamOptions(8))
    with pytest.raises(UsageError, match="at most 15"):
        crop_and_flip(dataset.train.images, CROPS, 16, PadAndCrop(16))


@pytest.mark.parametrize("shard", [Shard(), Shard(0, 2), Shard(1, 2)], ids=["whole", "1st", "2nd"])
@pytest.mark.parametrize("batch_size", [4, 10, 24])
def test_kept_crops_are_the_pixels_that_evaluation_would_decode(images, shard, batch_size):
    read = load("image_folder", data_dir=images, image_size=20)
    kept = with_evaluation_crops(read)
    options = {"batch_size": batch_size, "shard": shard}
    expected = list(validation_batches(read, 20, **options))
    found = list(validation_batches(kept, 20, num_workers=3, **options))
    assert len(found) == len(expected) == -(-12 // batch_size)
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert one[key].dtype == other[key].dtype
            np.testing.assert_array_equal(one[key], other[key])


def test_kept_crops_are_decoded_once(images, monkeypatch):
    kept = with_evaluation_crops(load("image_folder", data_dir=images, image_size=20))
    assert with_evaluation_crops(kept) is kept
    monkeypatch.setattr("jaxeff.data.pipeline.decode", lambda *_: pytest.fail("decoded again"))
    assert sum(b["mask"].sum() for b in validation_batches(kept, 20, batch_size=5)) == 12


def test_at_another_size_the_images_are_read_again(images):
    read = load("image_folder", data_dir=images, image_size=20)
    kept = with_evaluation_crops(read)
    for one, other in zip(
        validation_batches(read, 12, batch_size=5),
        validation_batches(kept, 12, batch_size=5),
        strict=True,
    ):
        np.testing.assert_array_equal(one["image"], other["image"])


def test_crops_beyond_the_limit_are_not_kept(images, monkeypatch):
    read = load("image_folder", data_dir=images, image_size=20)
    monkeypatch.setattr("jaxeff.data.cache.MOST_BYTES", 12 * 20 * 20 * 3 - 1)
    assert with_evaluation_crops(read) is read
    monkeypatch.setattr("jaxeff.data.cache.MOST_BYTES", 12 * 20 * 20 * 3)
    assert with_evaluation_crops(read) is not read
