import io
import math

import numpy as np
import pytest
from PIL import Image

from jaxeff.data.augment import (
    Augmentation,
    RandomResizedCrop,
    decode,
    evaluation_image,
    random_resized_crop_box,
    train_image,
)
from jaxeff.errors import UsageError


def noise(height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


class Scripted:
    """Stands in for a random generator and gives out numbers written down beforehand."""

    def __init__(self, uniform=(), integers=(), random=()):
        self._uniform, self._integers, self._random = iter(uniform), iter(integers), iter(random)

    def uniform(self, low, high):
        value = next(self._uniform)
        assert low <= value <= high
        return value

    def integers(self, high):
        value = next(self._integers)
        assert 0 <= value < high
        return value

    def random(self):
        return next(self._random)


def test_crop_box_worked_by_hand():
    # 100 × 200, half the area, width twice the height: 10 000 = 141.42 × 70.71.
    rng = Scripted(uniform=[0.5, math.log(2)], integers=[29, 58])
    assert random_resized_crop_box(rng, 100, 200, (0.08, 1), (0.5, 2)) == (29, 58, 71, 141)


def test_a_box_that_does_not_fit_is_drawn_again():
    # All of the area at width = height is 141 × 141 and too high; a quarter is 71 × 71.
    rng = Scripted(uniform=[1.0, 0.0, 0.25, 0.0], integers=[0, 129])
    assert random_resized_crop_box(rng, 100, 200, (0.08, 1), (0.5, 2)) == (0, 129, 71, 71)


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (300, 100, (83, 0, 133, 100)),  # too narrow: 100 / (3/4) = 133.3 high
        (100, 300, (0, 83, 100, 133)),  # too wide: 100 × 4/3 = 133.3 wide
    ],
)
def test_after_ten_tries_the_largest_centred_box(height, width, box):
    rng = Scripted(uniform=[1.0, 0.0] * 10)
    assert random_resized_crop_box(rng, height, width, (0.08, 1), (3 / 4, 4 / 3)) == box


def test_after_ten_tries_the_whole_image_where_its_aspect_is_within_bounds():
    rng = Scripted(uniform=[1.0, math.log(4 / 3)] * 10)
    assert random_resized_crop_box(rng, 100, 110, (0.08, 1), (3 / 4, 4 / 3)) == (0, 0, 100, 110)


def test_boxes_lie_inside_and_cover_the_ranges():
    rng = np.random.default_rng(0)
    boxes = np.array(
        [random_resized_crop_box(rng, 400, 400, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(3000)]
    )
    top, left, height, width = boxes.T
    assert (boxes >= 0).all()
    assert (top + height <= 400).all()
    assert (left + width <= 400).all()
    area, log_aspect = height * width / 400**2, np.log(width / height)
    assert 0.078 < area.min() < 0.1
    assert 0.95 < area.max() <= 1
    assert abs(log_aspect.mean()) < 0.02  # log-uniform around square
    assert abs(log_aspect).max() <= math.log(4 / 3) + 0.02
    # Large boxes often do not fit and are drawn again: the mean is a little below 0.54.
    assert 0.45 < area.mean() < 0.54
    assert top.max() > 200
    assert left.max() > 200


def test_an_image_of_one_pixel_can_be_cropped():
    rng = np.random.default_rng(0)
    image = train_image(Image.new("RGB", (1, 1), (9, 8, 7)), 4, Augmentation(), rng)
    assert (image == (9, 8, 7)).all()


def test_train_image_is_the_crop_then_the_resize_then_the_flip():
    image = noise(100, 200)
    draws = {"uniform": [0.25, 0.0], "integers": [10, 20]}
    crop = np.asarray(image)[10 : 10 + 71, 20 : 20 + 71]
    expected = np.asarray(Image.fromarray(crop).resize((32, 32), Image.BILINEAR))

    plain = train_image(image, 32, Augmentation(), Scripted(**draws, random=[0.5]))
    flipped = train_image(image, 32, Augmentation(), Scripted(**draws, random=[0.49]))
    np.testing.assert_array_equal(plain, expected)
    np.testing.assert_array_equal(flipped, expected[:, ::-1])
    assert plain.dtype == np.uint8
    assert plain.shape == (32, 32, 3)


def test_without_flip_no_image_is_flipped():
    still = Augmentation(RandomResizedCrop((1, 1), (1, 1)), flip="none")
    image = noise(16, 16)
    for seed in range(8):
        pixels = train_image(image, 16, still, np.random.default_rng(seed))
        np.testing.assert_array_equal(pixels, np.asarray(image))


@pytest.mark.parametrize(
    ("height", "width", "size", "resized", "corner"),
    [
        # (width, height) after resizing and (top, left), by torchvision's rules, by hand:
        (375, 500, 224, (341, 256), (16, 58)),  # 256 × 500 / 375 = 341.3; 117 / 2 = 58.5 to even
        (500, 375, 224, (256, 341), (58, 16)),
        (300, 401, 224, (342, 256), (16, 59)),  # 342.2; 118 / 2 = 59
        (333, 500, 224, (384, 256), (16, 80)),  # 384.4
        (100, 100, 64, (73, 73), (4, 4)),  # int(64 / 0.875) = int(73.14); 4.5 to even
    ],
)
def test_evaluation_crop_is_torchvisions(height, width, size, resized, corner):
    image = noise(height, width)
    top, left = corner
    pixels = np.asarray(image.resize(resized, Image.BILINEAR))
    expected = pixels[top : top + size, left : left + size]
    np.testing.assert_array_equal(evaluation_image(image, size, 224 / 256), expected)


def test_crop_fraction_one_shows_a_square_image_whole():
    image = noise(20, 20)
    np.testing.assert_array_equal(evaluation_image(image, 20, 1.0), np.asarray(image))


def test_resizing_down_averages():
    # A checkerboard of single pixels; a filter without antialiasing would pick black or white.
    board = np.indices((64, 64)).sum(0) % 2 * 255
    image = Image.fromarray(np.repeat(board[..., None], 3, -1).astype(np.uint8))
    small = evaluation_image(image, 16, 1.0)
    assert np.abs(small.astype(int) - 127).max() <= 2


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    image = Image.new("RGB", (6, 5), (255, 255, 255)).convert(mode)
    decoded = decode(encoded(image, format="TIFF" if mode == "CMYK" else "PNG"))
    assert decoded.mode == "RGB"
    assert decoded.size == (6, 5)
    assert (np.asarray(decoded) == 255).all()


def test_cmyk_jpeg_becomes_rgb():
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # red
    red, green, blue = np.asarray(decode(encoded(cmyk, format="JPEG"))).mean((0, 1))
    assert red > 240
    assert green < 15
    assert blue < 15


def test_palette_with_transparency_becomes_rgb_without_a_warning(recwarn):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    decoded = decode(encoded(image, format="PNG", transparency=b"\x00\x80"))
    assert (np.asarray(decoded) == (200, 100, 50)).all()
    assert not recwarn.list


def test_sixteen_bits_keep_their_brightness():
    grey = Image.fromarray(np.full((4, 4), 0x8040, np.uint16))
    assert (np.asarray(decode(encoded(grey, format="PNG"))) == 0x80).all()


def test_paths_bytes_and_arrays_decode_alike(tmp_path):
    image = noise(7, 9)
    path = tmp_path / "a.png"
    image.save(path)
    for variant in (path, str(path), path.read_bytes(), np.asarray(image), image):
        np.testing.assert_array_equal(np.asarray(decode(variant)), np.asarray(image))


@pytest.mark.parametrize("content", [b"", b"no image", encoded(noise(64, 64), format="JPEG")[:900]])
def test_a_file_that_is_no_complete_image_is_named_in_one_line(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        decode(str(path))
    assert str(path) in str(raised.value)
    assert "replace or remove" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.jpg.*No such file"):
        decode(tmp_path / "gone.jpg")
