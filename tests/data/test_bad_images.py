"""What real collections of pictures do to a loader: each case is decided here."""

import itertools
import os
import warnings

import numpy as np
import pytest
from PIL import Image

from jaxeff.data import Augmentation, load, train_batches, validation_batches
from jaxeff.errors import UsageError
from tests.data.test_jpeg import PICTURE, encoded

OPTIONS = {"image_size": 16, "batch_size": 4}


def png():
    import io

    file = io.BytesIO()
    PICTURE.save(file, "PNG")
    return file.getvalue()


def oriented():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(exif=exif)


def huffman_damage():
    content = bytearray(encoded())
    middle = len(content) // 2
    content[middle : middle + 40] = b"\x13\x37" * 20
    return bytes(content)


# What torchvision (PIL) reads is read. Damaged Huffman codes are among it: nobody notices.
READ = {
    "CMYK": encoded(PICTURE.convert("CMYK")),
    "a PNG named .JPEG": png(),
    "greyscale": encoded(PICTURE.convert("L")),
    "EXIF rotation": oriented(),
    "damaged Huffman codes": huffman_damage(),
    "one pixel": encoded(PICTURE.resize((1, 1))),
    "one pixel wide": encoded(PICTURE.resize((1, 200))),
    "10 000 pixels wide": encoded(PICTURE.resize((10_000, 30))),
    "100 million pixels": encoded(Image.new("L", (10_000, 10_000)), quality=10),
}
REFUSED = {
    "truncated": encoded()[:9000],
    "empty": b"",
    "a text": b"I am no picture\n",
    "a header alone": encoded()[:300],
}


def folder(root, content, split="train"):
    """Two classes of three pictures and one in validation, and `content` as train/a/bad.JPEG."""
    for part, count in (("train", 3), ("validation", 1)):
        for label, i in itertools.product("ab", range(count)):
            path = root / part / label / f"{i}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(PICTURE.resize((20 + i, 30))))
    if content is not None:
        (root / split / "a" / "bad.JPEG").write_bytes(content)
    return load("image_folder", data_dir=root)


def epoch(dataset, **options):
    """Labels of the first 8 pictures, and the iterator."""
    batches = train_batches(dataset, augmentation=Augmentation(), seed=0, **OPTIONS, **options)
    try:
        taken = list(itertools.islice(batches, 2))
    finally:
        batches.close()
    return taken, batches


@pytest.mark.parametrize("kind", READ)
def test_what_pil_reads_trains_and_validates(tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Nothing is said a thousand times over.
        dataset = folder(tmp_path, READ[kind])
        taken, batches = epoch(dataset, on_bad_image="skip")
        assert batches.skipped == set()
        assert all(batch["image"].shape == (4, 16, 16, 3) for batch in taken)
        dataset = folder(tmp_path / "v", READ[kind], split="validation")
        assert sum(b["mask"].sum() for b in validation_batches(dataset, **OPTIONS)) == 3


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
        list(validation_batches(dataset, **OPTIONS))


def test_a_picture_that_goes_away_under_the_run(tmp_path):
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
    for num_workers in (1, 2):
        there, others = epoch(dataset, on_bad_image="skip", num_workers=num_workers)
        assert others.skipped == batches.skipped
        for left, right in zip(alone, there, strict=True):
            np.testing.assert_array_equal(left["image"], right["image"])
    halves = [
        epoch(dataset, on_bad_image="skip", process_index=i, process_count=2)[0] for i in range(2)
    ]
    for whole, first, second in zip(alone, *halves, strict=True):
        np.testing.assert_array_equal(
            whole["image"], np.stack([first["image"], second["image"]], 1).reshape(4, 16, 16, 3)
        )


def test_a_set_of_nothing_but_bad_pictures_stops(tmp_path):
    dataset = folder(tmp_path, None)
    for path in (tmp_path / "train").glob("*/*"):
        path.write_bytes(b"")
    with pytest.raises(UsageError, match="6 pictures in a row cannot be read"):
        epoch(dataset, on_bad_image="skip")
