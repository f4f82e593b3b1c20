"""What real collections of images do to a loader: each case is decided here."""

import io
import itertools
import multiprocessing
import os
import subprocess
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxeff.data import Augmentation, Shard, StreamOptions, load, train_batches, validation_batches
from jaxeff.data.augment import decode, evaluation_image
from jaxeff.data.check import check_headers
from jaxeff.errors import UsageError
from tests.data.test_jpeg import PHOTOGRAPH, encoded

SIZE, BATCH = 16, 4


def png():
    file = io.BytesIO()
    PHOTOGRAPH.save(file, "PNG")
    return file.getvalue()


def oriented():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(exif=exif)


def file_of(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def paged(kind, **options):
    second = Image.new("RGB", PHOTOGRAPH.size, "blue")
    return file_of(PHOTOGRAPH, kind, save_all=True, append_images=[second], **options)


DEEP = np.arange(32 * 32, dtype=np.int64).reshape(32, 32) * 64  # 0 … 65472


def huffman_damage():
    content = bytearray(encoded())
    middle = len(content) // 2
    content[middle : middle + 40] = b"\x13\x37" * 20
    return bytes(content)


# What torchvision (PIL) reads is read. This includes damaged Huffman codes, which nobody notices.
READ = {
    "CMYK": encoded(PHOTOGRAPH.convert("CMYK")),
    "a PNG named .JPEG": png(),
    "greyscale": encoded(PHOTOGRAPH.convert("L")),
    "EXIF rotation": oriented(),
    "damaged Huffman codes": huffman_damage(),
    "one pixel": encoded(PHOTOGRAPH.resize((1, 1))),
    "one pixel wide": encoded(PHOTOGRAPH.resize((1, 200))),
    "10 000 pixels wide": encoded(PHOTOGRAPH.resize((10_000, 30))),
    "100 million pixels": encoded(Image.new("L", (10_000, 10_000)), quality=10),
    "WebP": file_of(PHOTOGRAPH, "WEBP"),
    "animated WebP": paged("WEBP", lossless=True),
    "TIFF": file_of(PHOTOGRAPH, "TIFF", compression="tiff_lzw"),
    "TIFF of two pages": paged("TIFF"),
    "TIFF of 16 bits": file_of(Image.fromarray(DEEP.astype(np.uint16)), "TIFF"),
    "BMP": file_of(PHOTOGRAPH, "BMP"),
}
REFUSED = {
    "truncated": encoded()[:9000],
    "empty": b"",
    "a text": b"I am no image\n",
    "a header alone": encoded()[:300],
    "half a WebP": file_of(PHOTOGRAPH, "WEBP")[:3000],
    "half a TIFF": file_of(PHOTOGRAPH, "TIFF")[:3000],
    "floating-point TIFF": file_of(Image.fromarray((DEEP / 65535).astype(np.float32)), "TIFF"),
    "TIFF of 32 bits": file_of(Image.fromarray((DEEP * 100).astype(np.int32)), "TIFF"),
}


def folder(root, content, split="train"):
    """Two classes of three images and one in validation, and `content` as train/a/bad.JPEG."""
    for part, count in (("train", 3), ("validation", 1)):
        for label, i in itertools.product("ab", range(count)):
            path = root / part / label / f"{i}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(PHOTOGRAPH.resize((20 + i, 30))))
    if content is not None:
        (root / split / "a" / "bad.JPEG").write_bytes(content)
    return load("image_folder", data_dir=root)


def epoch(dataset, shard=Shard(), **options):  # noqa: B008 (frozen)
    """The first two batches, and the iterator."""
    options = StreamOptions(BATCH, **options)
    batches = train_batches(dataset, SIZE, Augmentation(), options, shard)
    try:
        taken = list(itertools.islice(batches, 2))
    finally:
        batches.close()
    return taken, batches


@pytest.mark.parametrize("kind", READ)
def test_what_pil_reads_trains_and_validates(tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # A warning would come once an image and epoch.
        dataset = folder(tmp_path, READ[kind])
        taken, batches = epoch(dataset, on_bad_image="skip")
        assert batches.skipped == set()
        assert all(batch["image"].shape == (BATCH, SIZE, SIZE, 3) for batch in taken)
        dataset = folder(tmp_path / "v", READ[kind], split="validation")
        batches = validation_batches(dataset, SIZE, batch_size=BATCH)
        assert sum(batch["mask"].sum() for batch in batches) == 3


@pytest.mark.parametrize("kind", ["animated WebP", "TIFF of two pages", "TIFF", "BMP"])
def test_the_first_page_or_frame_is_the_image(kind):
    np.testing.assert_array_equal(np.asarray(decode(READ[kind])), np.asarray(PHOTOGRAPH))


def test_16_bits_become_their_upper_8():
    pixels = np.asarray(decode(READ["TIFF of 16 bits"]))
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], DEEP // 256)


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "PNG"])
def test_the_orientation_tag_is_what_pil_makes_of_it(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = file_of(PHOTOGRAPH.resize((30, 20)), kind, exif=exif)
    with Image.open(io.BytesIO(content)) as image:  # as torchvision's loader reads it
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(decode(content)), expected)
    assert expected.shape[:2] == ((30, 20) if kind == "TIFF" else (20, 30))


@pytest.mark.parametrize("kind", REFUSED)
def test_what_pil_cannot_read_stops_with_its_name_or_is_skipped(tmp_path, kind):
    dataset = folder(tmp_path, REFUSED[kind])
    bad = [i for i in range(7) if dataset.train[i]["image"].endswith("bad.JPEG")]
    with pytest.raises(UsageError, match=r"bad\.JPEG"):
        epoch(dataset)
    taken, batches = epoch(dataset, on_bad_image="skip")
    assert batches.skipped == set(bad)
    assert sum(len(batch["label"]) for batch in taken) == 8


def test_validation_never_skips(tmp_path):
    dataset = folder(tmp_path, b"", split="validation")
    with pytest.raises(UsageError, match=r"validation.*bad\.JPEG"):
        list(validation_batches(dataset, SIZE, batch_size=BATCH))


def test_an_image_that_goes_away_under_the_run(tmp_path):
    dataset = folder(tmp_path, None)
    (tmp_path / "train" / "a" / "0.JPEG").unlink()
    with pytest.raises(UsageError, match=r"0\.JPEG.*No such file"):
        epoch(dataset)
    assert epoch(dataset, on_bad_image="skip")[1].skipped == {0}


def test_a_loop_of_links_is_left_out(tmp_path):
    folder(tmp_path, None)
    os.symlink(tmp_path / "train" / "a", tmp_path / "train" / "a" / "again")
    os.symlink(tmp_path / "train", tmp_path / "train" / "b" / "up")
    assert len(load("image_folder", data_dir=tmp_path).train) == 6


def test_what_is_taken_instead_depends_on_no_worker_and_no_process(tmp_path):
    dataset = folder(tmp_path, b"")
    alone, batches = epoch(dataset, on_bad_image="skip")
    there, others = epoch(dataset, on_bad_image="skip", num_workers=2)
    assert others.skipped == batches.skipped
    for left, right in zip(alone, there, strict=True):
        np.testing.assert_array_equal(left["image"], right["image"])
    halves = [epoch(dataset, Shard(i, 2), on_bad_image="skip")[0] for i in range(2)]
    for whole, first, second in zip(alone, *halves, strict=True):
        both = np.concatenate([first["image"], second["image"]])
        np.testing.assert_array_equal(whole["image"], both)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_message_is_one_line_from_wherever_the_image_was_read(tmp_path, num_workers, capfd):
    dataset = folder(tmp_path, REFUSED["a text"])
    with pytest.raises(UsageError) as raised:
        epoch(dataset, num_workers=num_workers)
    assert str(tmp_path / "train" / "a" / "bad.JPEG") in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not getattr(raised.value, "__notes__", [])
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err == ""


def test_a_set_of_nothing_but_bad_images_stops(tmp_path):
    dataset = folder(tmp_path, None)
    for path in (tmp_path / "train").glob("*/*"):
        path.write_bytes(b"")
    with pytest.raises(UsageError, match="6 images in a row cannot be read"):
        epoch(dataset, on_bad_image="skip")


def of_size(width, height):
    """A grey PNG of that many pixels, compressed to next to nothing."""
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "PNG")
    return file.getvalue()


def claiming(width, height):
    """A PNG whose header says that it has so many pixels."""
    content = bytearray(of_size(1, 1))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    "content",
    [
        POSTSCRIPT,
        file_of(PHOTOGRAPH, "TGA"),
        file_of(PHOTOGRAPH, "PDF"),
        file_of(PHOTOGRAPH, "ICO"),
        file_of(PHOTOGRAPH.convert("L"), "PCX"),
    ],
    ids=["PostScript", "TGA", "PDF", "ICO", "PCX"],
)
def test_a_file_of_another_format_is_no_image_whatever_it_is_called(tmp_path, monkeypatch, content):
    monkeypatch.setattr(subprocess, "Popen", None)  # Ghostscript is not asked.
    with pytest.raises(UsageError, match="no known image format"):
        decode(content)
    dataset = folder(tmp_path, content, split="validation")
    (found,) = check_headers(dataset.validation)
    assert found.reason == "no known image format"
    with pytest.raises(UsageError, match=r"bad\.JPEG"):
        list(validation_batches(dataset, SIZE, batch_size=BATCH))


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize(
    "content",
    [claiming(25_001, 10_000), claiming(2**31 - 1, 2**31 - 1)],
    ids=["250 million", "most that a header can say"],
)
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, content):
    with pytest.raises(UsageError, match="pixels"):
        decode(content)
    (found,) = check_headers(folder(tmp_path, content, split="validation").validation)
    assert "pixels" in found.reason


@pytest.mark.parametrize(("width", "height"), [(1, 60_000), (60_000, 1), (3, 65_000)])
def test_validating_a_long_image_makes_little_more_than_what_is_seen(monkeypatch, width, height):
    resize, made = Image.Image.resize, []

    def noting(image, size, *arguments):
        made.append(size[0] * size[1])
        return resize(image, size, *arguments)

    monkeypatch.setattr(Image.Image, "resize", noting)
    pixels = evaluation_image(decode(of_size(width, height)), 224, 224 / 256)
    assert pixels.shape == (224, 224, 3)
    assert max(made) < 1_000_000


@pytest.mark.parametrize("shape", [(3000, 37), (37, 3000), (3000, 200), (2000, 2), (3, 1999)])
def test_the_middle_of_a_long_image_is_what_it_is_among_all_pixels(monkeypatch, shape):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8))
    whole = evaluation_image(image, 56, 56 / 64).astype(int)
    monkeypatch.setattr("jaxeff.data.augment._MOST_RESIZED", 1000)
    part = evaluation_image(image, 56, 56 / 64).astype(int)
    # PIL shrinks across or down first, by which is less work, and rounds in between.
    assert np.abs(whole - part).max() <= 1


def test_a_pipe_that_is_called_an_image_is_named_and_not_read(tmp_path):
    folder(tmp_path, None)
    os.mkfifo(tmp_path / "train" / "a" / "pipe.jpg")
    with pytest.raises(UsageError, match=r"pipe\.jpg' is no file with an image"):
        load("image_folder", data_dir=tmp_path)


def test_a_file_larger_than_any_image_is_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(10**11)  # Without a byte on the disk.
    with pytest.raises(UsageError, match=r"huge\.jpg.*100,000,000,000 bytes, more than any image"):
        decode(path)
