import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxeff.data import load
from jaxeff.data.augment import decode
from jaxeff.errors import UsageError

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet-sample.tar.gz"


def write_image(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, 0, 0)).save(path)


@pytest.fixture
def two_classes(tmp_path):
    """train and val with classes a and b, two images each."""
    for split in ("train", "val"):
        for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
            write_image(tmp_path / split / name)
    return tmp_path


def image_folder(root):
    return load("image_folder", data_dir=root)


def listing(source):
    root = Path(source.root)
    return [
        (Path(source[i]["image"]).relative_to(root).as_posix(), source[i]["label"])
        for i in range(len(source))
    ]


def error(root):
    with pytest.raises(UsageError) as raised:
        image_folder(root)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_images_come_class_by_class_in_byte_order(tmp_path):
    for name in ("b/x.png", "B/x.jpg", "é/x.png", "a/10.png", "a/2.png", "a/Z.PNG", "a/z.JpEg"):
        write_image(tmp_path / "train" / name)
    for name in ("B", "a", "b", "é"):
        write_image(tmp_path / "validation" / name / "v.png")
    dataset = image_folder(tmp_path)
    assert dataset.class_names == ("B", "a", "b", "é")
    assert listing(dataset.train) == [
        ("B/x.jpg", 0),
        ("a/10.png", 1),
        ("a/2.png", 1),
        ("a/Z.PNG", 1),
        ("a/z.JpEg", 1),
        ("b/x.png", 2),
        ("é/x.png", 3),
    ]


def test_the_default_is_the_papers_evaluation(two_classes):
    dataset = image_folder(two_classes)
    assert dataset.image_size == 224
    assert dataset.evaluation_crop_fraction == 0.875
    assert dataset.horizontal_flip
    assert dataset.target is None
    assert not dataset.in_memory


def test_hidden_files_and_other_kinds_of_file_are_passed_over_and_counted(two_classes):
    before = image_folder(two_classes)
    assert before.notes == ()
    names = (".DS_Store", "a/.1.png", "a/notes.txt", "b/notes.txt", "a/1.png.part", ".cache/1.png")
    for name in names:
        path = two_classes / "train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    write_image(two_classes / "train" / "0.png")
    (two_classes / "README").write_text("beside the splits, anything may lie")
    dataset = image_folder(two_classes)
    assert listing(dataset.train) == listing(before.train)
    assert dataset.fingerprint == before.fingerprint
    (note,) = dataset.notes
    for words in ("2 hidden", "2 .txt", "1 .part", "1 images in no class folder", "train/.cache"):
        assert words in note
    assert "README" not in note


def test_the_other_formats_are_images_too(tmp_path):
    formats = ("webp", "tif", "tiff", "bmp", "WEBP", "jpeg", "png")
    for split in ("train", "valid"):
        for name in ("a/1", "b/1"):
            for ending in formats:
                write_image(tmp_path / split / f"{name}.{ending}", value=255)
    dataset = image_folder(tmp_path)
    assert len(dataset.train) == len(dataset.validation) == 14
    assert dataset.notes == ()
    for index in range(14):
        pixels = np.asarray(decode(dataset.train[index]["image"]))
        assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 1


def test_images_may_lie_one_folder_below_their_class_and_no_deeper(two_classes):
    write_image(two_classes / "train/a/images/0.png")
    assert ("a/images/0.png", 0) in listing(image_folder(two_classes).train)
    write_image(two_classes / "train/a/images/more/0.png")
    message = error(two_classes)
    assert "train/a/images/more" in message
    assert "two folders below" in message


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_first_of_validation_valid_val_and_test_is_taken(tmp_path, count):
    present = ("test", "val", "valid", "validation")[:count]
    for split in ("train", *present):
        write_image(tmp_path / split / "a" / f"{split}.png")
    write_image(tmp_path / "train" / "b" / "1.png")
    assert listing(image_folder(tmp_path).validation) == [(f"a/{present[-1]}.png", 0)]


def test_links_are_followed_and_loops_are_not(two_classes):
    before = listing(image_folder(two_classes).train)
    for name, target in (("a/self", "."), ("a/up", ".."), ("a/sub/up", "..")):
        link = two_classes / "train" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(target)
    assert listing(image_folder(two_classes).train) == before

    write_image(two_classes / "elsewhere" / "9.png")
    (two_classes / "train" / "a" / "linked").symlink_to(two_classes / "elsewhere")
    assert ("a/linked/9.png", 0) in listing(image_folder(two_classes).train)


def test_a_source_survives_pickling_and_decodes(two_classes):
    source = pickle.loads(pickle.dumps(image_folder(two_classes).train))
    assert listing(source) == [("a/1.png", 0), ("a/2.png", 0), ("b/1.png", 1), ("b/2.png", 1)]
    assert decode(source[3]["image"]).size == (4, 4)


# --- Tiny-ImageNet's shape


@pytest.fixture
def tiny(tmp_path):
    for name in ("n01", "n02"):
        for number in range(2):
            write_image(tmp_path / "train" / name / "images" / f"{name}_{number}.JPEG")
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text("x\t0\t0\t1\t1\n")
    for number in range(3):
        write_image(tmp_path / "val" / "images" / f"val_{number}.JPEG")
    write_image(tmp_path / "test" / "images" / "test_0.JPEG")
    annotate(tmp_path, ("val_0.JPEG", "n02"), ("val_1.JPEG", "n01"), ("val_2.JPEG", "n02"))
    return tmp_path


def annotate(root, *lines):
    text = "".join(f"{name}\t{label}\t0\t0\t63\t63\n" for name, label in lines)
    (root / "val" / "val_annotations.txt").write_text(text)


def test_tiny_imagenets_shape_is_read(tiny):
    dataset = image_folder(tiny)
    assert listing(dataset.train)[0] == ("n01/images/n01_0.JPEG", 0)
    assert listing(dataset.validation) == [
        ("images/val_1.JPEG", 0),
        ("images/val_0.JPEG", 1),
        ("images/val_2.JPEG", 1),
    ]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([("val_0.JPEG", "n02"), ("val_1.JPEG", "n99")], ("line 2", "'n99'", "unknown class")),
        ([("val_7.JPEG", "n02")], ("line 1", "no image 'val_7.JPEG'")),
        ([("val_0.JPEG", "n02"), ("val_0.JPEG", "n01")], ("line 2", "named twice")),
        ([("val_0.JPEG", "n02")], ("2 images", "val_1.JPEG, val_2.JPEG", "no line")),
    ],
)
def test_annotations_that_do_not_fit_the_images_are_an_error(tiny, lines, says):
    annotate(tiny, *lines)
    message = error(tiny)
    assert "val_annotations.txt" in message
    for words in says:
        assert words in message


def test_a_line_without_a_class_is_an_error(tiny):
    (tiny / "val" / "val_annotations.txt").write_text("val_0.JPEG n02\n")
    assert "expected a file name, a tab and a class" in error(tiny)


# --- what the user can mend


def test_an_empty_folder(tmp_path):
    message = error(tmp_path)
    assert str(tmp_path) in message
    assert "expected train/<class>/*.jpg" in message


def test_no_train_folder(tmp_path):
    write_image(tmp_path / "cats" / "1.png")
    assert "no train/ in" in error(tmp_path)


def test_no_validation_split(tmp_path):
    write_image(tmp_path / "train" / "a" / "1.png")
    assert "expected one of validation/, valid/, val/, test/ beside train/" in error(tmp_path)


def test_images_without_class_folders(tmp_path):
    write_image(tmp_path / "train" / "1.png")
    write_image(tmp_path / "val" / "1.png")
    message = error(tmp_path)
    assert "no class folders in" in message
    assert "only 1 images" in message


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_without_images(two_classes, split):
    for path in (two_classes / split / "b").iterdir():
        path.unlink()
    message = error(two_classes)
    assert "no images in class folder" in message
    assert str(two_classes / split / "b") in message


def test_validation_may_have_fewer_classes_labelled_by_their_names(two_classes):
    for name in ("0", "c"):
        write_image(two_classes / "train" / name / "1.png")
    dataset = image_folder(two_classes)
    assert dataset.class_names == ("0", "a", "b", "c")
    names = ["a/1.png", "a/2.png", "b/1.png", "b/2.png"]
    assert listing(dataset.validation) == list(zip(names, [1, 1, 2, 2], strict=True))
    assert dataset.notes == ("2 of 4 classes have no image in val/ (0, c)",)


def test_annotations_may_name_fewer_classes(tiny):
    annotate(tiny, *((f"val_{i}.JPEG", "n02") for i in range(3)))
    dataset = image_folder(tiny)
    assert [label for _, label in listing(dataset.validation)] == [1, 1, 1]
    assert "1 of 2 classes have no image in val/ (n01)" in dataset.notes


def test_classes_in_validation_alone_are_named(two_classes):
    for name in ("c", "d", "e", "f"):
        write_image(two_classes / "val" / name / "1.png")
    message = error(two_classes)
    assert (
        f"4 classes are in '{two_classes / 'val'}' and not in '{two_classes / 'train'}'" in message
    )
    assert "(c, d, e, …)" in message


def test_a_single_class_is_refused(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / split / "a" / "1.png")
    assert "one class, 'a'" in error(tmp_path)


@pytest.mark.parametrize("place", ["train/c", "val/c", "train/a/more", "test"])
def test_a_folder_whose_link_leads_nowhere_is_an_error(two_classes, place):
    (two_classes / place).symlink_to("gone")
    assert f"{place}': No such file" in error(two_classes)


def test_a_folder_that_may_not_be_read(two_classes, monkeypatch):
    closed = os.fsencode(two_classes / "train" / "b")
    scandir = os.scandir

    def refuse(path):  # chmod would not stop root, who runs the tests in containers
        if path == closed:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    message = error(two_classes)
    assert f"cannot read {os.fsdecode(closed)!r}: Permission denied" in message


def test_a_link_to_nothing_is_an_error_and_not_one_image_less(two_classes):
    (two_classes / "train" / "a" / "3.png").symlink_to("gone.png")
    assert "3.png': No such file" in error(two_classes)


# --- fingerprint


def test_the_fingerprint_does_not_depend_on_where_the_images_are(two_classes, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere") / "moved"
    before = image_folder(two_classes).fingerprint
    two_classes.rename(other)
    (other / "val").rename(other / "validation")
    assert image_folder(other).fingerprint == before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "train/a/1.png").rename(root / "train/a/3.png"),
        lambda root: (root / "train/a/1.png").rename(root / "train/b/3.png"),
        lambda root: (root / "train/a/1.png").rename(root / "val/a/3.png"),
        lambda root: (root / "train/a/1.png").write_bytes(b"another size"),
        lambda root: [(root / s / "b").rename(root / s / "c") for s in ("train", "val")],
    ],
    ids=["name", "class", "split", "size", "class name"],
)
def test_the_fingerprint_changes_with(two_classes, change):
    before = image_folder(two_classes).fingerprint
    change(two_classes)
    assert image_folder(two_classes).fingerprint != before


# --- real images


def test_imagenet_files_load_and_decode(tmp_path):
    if not SAMPLE.exists():
        pytest.skip("needs shared/data/imagenet-sample.tar.gz beside the repository")
    with tarfile.open(SAMPLE) as archive:
        archive.extractall(tmp_path, filter="data")
    sample = tmp_path / "imagenet-sample"
    # One image a class: no class is in both folders, which is an error.
    assert f"36 classes are in '{sample / 'validation'}'" in error(sample)

    both = tmp_path / "both"
    both.mkdir()
    for split in ("train", "val"):
        (both / split).symlink_to(sample / "validation")
    dataset = image_folder(both)
    assert dataset.num_classes == len(dataset.train) == 36
    assert dataset.class_names == tuple(sorted(os.listdir(sample / "validation")))
    sizes = [decode(dataset.train[i]["image"]).size for i in range(0, 36, 6)]
    assert np.min(sizes) > 50


def many_images(root, monkeypatch):
    """A folder whose index is kept, with times of change that have settled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept(root)))
    monkeypatch.setattr("jaxeff.data.folder_index.FEWEST_IMAGES", 1)
    settle(root)
    return image_folder(root)


def kept(root):
    return root.with_name(f"{root.name}-cache")


def settle(root):
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            os.utime(path, ns=(path.stat().st_mtime_ns - 10**10,) * 2)


def test_the_index_is_read_again_and_says_the_same(two_classes, monkeypatch):
    (two_classes / "val" / "a" / "notes.txt").write_text("x")
    first = many_images(two_classes, monkeypatch)
    monkeypatch.setattr("jaxeff.data.image_folder._scan", lambda root: pytest.fail("scanned"))
    again = image_folder(two_classes)
    assert again.fingerprint == first.fingerprint
    assert again.class_names == first.class_names
    assert again.notes == first.notes
    assert "1 .txt" in again.notes[0]
    for left, right in ((first.train, again.train), (first.validation, again.validation)):
        assert listing(left) == listing(right)


@pytest.mark.parametrize("change", ["add", "remove", "new class", "damage"])
def test_a_folder_that_changed_is_scanned_again(two_classes, monkeypatch, change):
    many_images(two_classes, monkeypatch)
    if change == "add":
        write_image(two_classes / "train" / "a" / "3.png")
    elif change == "remove":
        (two_classes / "train" / "b" / "2.png").unlink()
    elif change == "new class":
        for split in ("train", "val"):
            write_image(two_classes / split / "c" / "1.png")
    else:
        for path in kept(two_classes).rglob("*.npz"):
            path.write_bytes(path.read_bytes()[:50])
    count = {"add": 5, "remove": 3, "new class": 5, "damage": 4}[change]
    assert len(image_folder(two_classes).train) == count


def test_a_folder_that_just_changed_is_not_kept(two_classes, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept(two_classes)))
    monkeypatch.setattr("jaxeff.data.folder_index.FEWEST_IMAGES", 1)
    image_folder(two_classes)
    assert not kept(two_classes).exists()


def test_names_like_imagenets_take_six_bytes_an_image(tmp_path):
    for i in range(300):
        path = tmp_path / "train" / "n01440764" / f"n01440764_{7 * i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("n01440764", "other"):
        write_image(tmp_path / "validation" / name / "v.png")
    write_image(tmp_path / "train" / "other" / "1.png")
    source = image_folder(tmp_path).train
    assert sum(middles.nbytes for middles in source.middles) <= 6 * 301
    names = sorted(p.name for p in (tmp_path / "train" / "n01440764").iterdir())
    assert [Path(source[i]["image"]).name for i in range(300)] == names
    with pytest.raises(IndexError):
        source[301]


def test_names_that_share_all_but_nothing(tmp_path):
    for name in ("c/a.png", "c/aa.png", "c/aaa.png", "d/a.png"):
        write_image(tmp_path / "train" / name)
    write_image(tmp_path / "validation" / "c" / "v.png")
    dataset = image_folder(tmp_path)
    names = [name for name, _ in listing(dataset.train)]
    assert names == ["c/a.png", "c/aa.png", "c/aaa.png", "d/a.png"]
    assert [name for name, _ in listing(dataset.validation)] == ["c/v.png"]


def test_names_with_line_breaks_and_escapes_stay_in_their_line(tmp_path):
    """Found by fuzzing: `train` was a file, and a class in validation had a line break."""
    for name in ("train/a/x.jpg", "train/b/x.jpg", "val/w\n\x1b[2J/x.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    with pytest.raises(UsageError, match=r"1 classes are in") as error:
        load("image_folder", data_dir=tmp_path)
    assert str(error.value).isprintable()
    (tmp_path / "val" / "w\n\x1b[2J").rename(tmp_path / "val" / "a")
    (tmp_path / "val" / "w\n.txt").write_text("")
    (note,) = load("image_folder", data_dir=tmp_path).notes[:1]
    assert note.isprintable()
