import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxeff.data import jpeg
from jaxeff.data.augment import Augmentation, random_resized_crop_box, train_image

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet-sample.tar.gz"
# As a photograph is: smooth, with some detail.
_RNG = np.random.default_rng(0)
_COARSE = _RNG.integers(0, 255, (40, 56, 3), np.uint8)
PHOTOGRAPH = Image.fromarray(_COARSE).resize((560, 400), Image.Resampling.BICUBIC)


def encoded(image=PHOTOGRAPH, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **({"quality": 90} | options))
    return file.getvalue()


def pil(content, box, size):
    top, left, height, width = box
    image = Image.open(io.BytesIO(content)).convert("RGB")
    crop = image.crop((left, top, left + width, top + height))
    return np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR))


def difference(content, box, size):
    ours = jpeg.crop(content, jpeg.frame(content), box, size)
    return np.abs(ours.astype(int) - pil(content, box, size)).mean()


@pytest.mark.parametrize("subsampling", [0, 1, 2], ids=["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_an_unscaled_crop_has_the_pixels_of_pil(subsampling, progressive):
    content = encoded(subsampling=subsampling, progressive=progressive)
    for top in (0, 1, 17, 175):
        box = (top, 33, 224, 224)
        ours = jpeg.crop(content, jpeg.frame(content), box, 224)
        np.testing.assert_array_equal(ours, pil(content, box, 224))


@pytest.mark.parametrize(
    ("box", "size", "most"),
    [
        ((10, 20, 100, 130), 224, 0.6),  # enlarged: the same interpolation, rounded otherwise
        ((10, 20, 300, 330), 224, 1.0),
        ((0, 0, 400, 560), 224, 1.0),
        ((3, 5, 390, 540), 64, 2.0),  # a quarter by DCT scaling
        ((7, 9, 131, 401), 64, 1.5),  # a half one way, six times the other
        ((1, 1, 399, 557), 24, 2.0),  # an eighth
    ],
)
def test_resized_crops_are_close_to_pil(box, size, most):
    assert difference(encoded(), box, size) < most


def test_rows_below_the_crop_are_not_read():
    content = encoded(quality=95)
    damaged = content[: len(content) * 2 // 3] + b"\x55" * 200 + content[-200:]
    header = jpeg.frame(content)
    box = (5, 5, 60, 500)
    np.testing.assert_array_equal(
        jpeg.crop(damaged, header, box, 32), jpeg.crop(content, header, box, 32)
    )


def test_damage_within_the_crop_is_left_to_pil():
    content = encoded()
    header = jpeg.frame(content)
    whole = (0, 0, 400, 560)
    assert jpeg.crop(content[: len(content) // 2], header, whole, 64) is None
    assert jpeg.crop(content[: len(content) // 4], header, (0, 0, 300, 300), 64) is None


def test_the_header_says_the_size_and_what_is_not_ours():
    assert jpeg.frame(encoded()) == jpeg.Frame(400, 560, True, jpeg.frame(encoded()).offset)
    assert not jpeg.frame(encoded(progressive=True)).sequential
    assert jpeg.frame(encoded(PHOTOGRAPH.convert("L"))).height == 400
    assert jpeg.frame(encoded(PHOTOGRAPH.convert("CMYK"))) is None
    png = io.BytesIO()
    PHOTOGRAPH.save(png, "PNG")
    for content in (png.getvalue(), b"", b"\xff\xd8", b"\xff\xd8" + b"\xff" * 50, b"text" * 20):
        assert jpeg.frame(content) is None


def test_no_prefix_of_a_file_makes_the_header_fail():
    content = encoded()
    for end in range(0, jpeg.frame(content).offset + 30):
        jpeg.frame(content[:end])


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (10_000, 40), (33, 65)])
def test_odd_sizes_and_kinds_make_a_square(mode, size):
    content = encoded(PHOTOGRAPH.resize(size).convert(mode))
    rng = np.random.default_rng(0)
    for _ in range(5):
        pixels = train_image(content, 16, Augmentation(), rng)
        assert pixels.shape == (16, 16, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous


def test_the_orientation_tag_is_passed_over_as_torchvision_does():
    exif = Image.Exif()
    exif[0x0112] = 6
    box = (0, 0, 400, 560)
    tagged, plain = encoded(exif=exif), encoded()
    np.testing.assert_array_equal(
        jpeg.crop(tagged, jpeg.frame(tagged), box, 64), jpeg.crop(plain, jpeg.frame(plain), box, 64)
    )


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"no {SAMPLE}")
def test_real_photographs_stay_within_the_stated_difference():
    differences = []
    with tarfile.open(SAMPLE) as archive:
        for i, member in enumerate(m for m in archive if m.name.endswith(".JPEG")):
            content = archive.extractfile(member).read()
            header = jpeg.frame(content)
            rng = np.random.default_rng(i)
            box = random_resized_crop_box(
                rng, header.height, header.width, (0.08, 1.0), (3 / 4, 4 / 3)
            )
            differences.append(difference(content, box, 224))
    assert len(differences) == 180
    assert np.mean(differences) < 0.8
    assert np.quantile(differences, 0.95) < 2.0
