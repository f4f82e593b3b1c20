import itertools

import numpy as np
import pytest
from PIL import Image

from jaxeff.data import check_headers, check_pixels, load, require_readable
from jaxeff.data.check import Unreadable
from jaxeff.errors import UsageError


@pytest.fixture
def images(tmp_path):
    """Two classes of fifteen JPEG files each, train and validation."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for split, label, i in itertools.product(("train", "val"), "ab", range(15)):
        path = tmp_path / split / label / f"{i:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path


def train(images):
    return load("image_folder", data_dir=images).train


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def test_whole_images_pass(images):
    assert check_headers(train(images)) == check_pixels(train(images)) == []
    arrays = load("synthetic").train
    assert check_headers(arrays) == check_pixels(arrays) == []


def test_every_image_that_cannot_be_decoded_is_found_in_order(images):
    bad = [images / "train" / name for name in ("a/03.jpg", "a/14.jpg", "b/00.jpg")]
    truncate(bad[0])
    bad[1].write_text("no image")
    source = train(images)
    bad[2].unlink()
    shown = []

    def progress(items):
        for item in items:
            shown.append(item)
            yield item

    found = check_pixels(source, progress=progress)
    assert [name for name, _ in found] == list(map(str, bad))
    assert "truncated" in found[0].reason
    assert found[1].reason == "no known image format"
    assert found[2].reason == "No such file or directory"
    assert len(shown) == 30


def test_the_cheap_check_finds_what_is_no_image_and_decodes_nothing(images, monkeypatch):
    bad = images / "train" / "a" / "03.jpg"
    bad.write_bytes(b"")
    truncate(images / "train" / "b" / "01.jpg")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
    assert [name for name, _ in check_headers(train(images))] == [str(bad)]


def test_images_that_are_no_files_are_called_by_their_number():
    source = [{"image": b"no image", "label": 0}]
    found = check_headers(source, "validation image")
    assert found == [Unreadable("validation image 0", "no known image format")]


def test_twenty_are_named_and_all_are_counted():
    require_readable("--check_data", 30, [])
    unreadable = [Unreadable(f"{i}.jpg", "truncated") for i in range(23)]
    with pytest.raises(UsageError) as raised:
        require_readable("--check_data", 3000, unreadable)
    message = str(raised.value)
    assert message.startswith("--check_data: 23 of 3,000 images cannot be read: 0.jpg (truncated)")
    assert "19.jpg" in message
    assert "20.jpg" not in message
    assert "and 3 more" in message
    assert "--accept_changed_data" in message
    assert "\n" not in message
