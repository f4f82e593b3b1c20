"""Host transforms, against torchvision's on PIL images where it is installed."""

import itertools

import numpy as np
import pytest
from PIL import Image

from jaxeff import data
from jaxeff.data import augment, pixels
from jaxeff.data.dataset import ArraySource
from jaxeff.errors import UsageError
from tests.data.numbered import dataset_of, numbered
from tests.data.test_jpeg import PHOTOGRAPH

# A photograph-like square with every grey value in it.
SQUARE = PHOTOGRAPH.crop((7, 3, 127, 123))
NEEDS_TORCHVISION = "compares with torchvision: pip install jaxeff[bench]"


def torchvision():
    return pytest.importorskip("torchvision.transforms", reason=NEEDS_TORCHVISION)


@pytest.mark.parametrize("name", pixels.OPERATIONS)
def test_each_operation_of_randaugment_is_torchvisions_at_every_magnitude(name):
    transforms = torchvision()
    from torchvision.transforms.autoaugment import _apply_op

    assert set(pixels.OPERATIONS) == set(transforms.RandAugment()._augmentation_space(31, (9, 9)))
    operation, changed = pixels.OPERATIONS[name], 0
    for side, image in ((120, SQUARE), (32, SQUARE.resize((32, 32)))):
        magnitudes, signed = transforms.RandAugment()._augmentation_space(31, (side, side))[name]
        assert operation.signed == signed
        for magnitude, sign in itertools.product(range(31), (1, -1) if signed else (1,)):
            theirs = float(magnitudes[magnitude]) if magnitudes.ndim else 0.0
            nearest = transforms.InterpolationMode.NEAREST
            expected = _apply_op(image, name, sign * theirs, nearest, None)
            # Theirs are in single precision, which moves a grey level here and there.
            strength = operation.strength(magnitude, side)
            strength = round(strength) if name == "Posterize" else strength
            np.testing.assert_allclose(strength, theirs, rtol=1e-6)
            ours = operation.apply(image, sign * theirs)
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(expected))
            changed += not np.array_equal(np.asarray(ours), np.asarray(image))
    assert changed or name == "Identity"


def test_randaugment_draws_every_operation_both_ways(monkeypatch):
    seen = []
    for name, operation in pixels.OPERATIONS.items():
        spy = operation._replace(apply=lambda i, x, name=name: seen.append((name, x > 0)) or i)
        monkeypatch.setitem(pixels.OPERATIONS, name, spy)
    transform, rng = data.RandAugment(3, 9), np.random.default_rng(0)
    square = np.asarray(SQUARE)
    for _ in range(400):
        np.testing.assert_array_equal(transform(square, rng), square)
    counts = {name: sum(n == name for n, _ in seen) for name in pixels.OPERATIONS}
    assert sum(counts.values()) == 1200
    # 1200 / 14 = 86, with a standard deviation of 9.
    assert min(counts.values()) > 50
    assert max(counts.values()) < 122
    for name, operation in pixels.OPERATIONS.items():
        ways = {positive for n, positive in seen if n == name}
        assert len(ways) == (2 if operation.signed else 1), name


@pytest.mark.parametrize("factor", [0.0, 0.37, 1.0, 1.6])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_change_as_torchvisions(name, factor):
    functional = torchvision().functional
    ours = getattr(pixels, f"_{name}")(SQUARE, factor)
    expected = getattr(functional, f"adjust_{name}")(SQUARE, factor)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(expected))


@pytest.mark.parametrize("fraction", [-0.5, -0.1, 0.0, 0.31, 0.5])
def test_hue_moves_as_torchvisions(fraction):
    expected = torchvision().functional.adjust_hue(SQUARE, fraction)
    np.testing.assert_array_equal(np.asarray(pixels._hue(SQUARE, fraction)), np.asarray(expected))


class Middle:
    """Stands in for a generator: the middle of every range, and operations from last to first."""

    def __init__(self):
        self.ranges = []

    def uniform(self, low, high):
        self.ranges.append((low, high))
        return low + 0.75 * (high - low)

    def permutation(self, count):
        return range(count)[::-1]


def test_colour_jitter_draws_torchvisions_ranges_and_applies_them_in_the_order_drawn():
    transforms = torchvision()
    jitter, rng = data.ColourJitter(0.4, 1.5, 0.2, 0.1), Middle()
    ours = jitter(np.asarray(SQUARE), rng)
    theirs = transforms.ColorJitter(0.4, 1.5, 0.2, 0.1)
    np.testing.assert_allclose(
        rng.ranges, [theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue]
    )
    factors = [low + 0.75 * (high - low) for low, high in rng.ranges]
    image, adjust = SQUARE, transforms.functional
    image = adjust.adjust_hue(image, factors[3])
    image = adjust.adjust_saturation(image, factors[2])
    image = adjust.adjust_contrast(image, factors[1])
    image = adjust.adjust_brightness(image, factors[0])
    np.testing.assert_array_equal(ours, np.asarray(image))


def test_no_jitter_changes_nothing_and_draws_nothing():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    square = np.asarray(SQUARE)
    np.testing.assert_array_equal(data.ColourJitter()(square, rng), square)
    assert rng.bit_generator.state == before


def test_the_random_resized_crop_is_torchvisions():
    """The same box on the same image gives the same pixels, and boxes have the same statistics."""
    transforms, size, drawn = torchvision(), 48, []
    import torch

    torch.manual_seed(0)
    for seed in range(20):
        box = augment.random_resized_crop_box(
            np.random.default_rng(seed),
            PHOTOGRAPH.height,
            PHOTOGRAPH.width,
            (0.08, 1),
            (0.75, 4 / 3),
        )
        expected = transforms.functional.resized_crop(PHOTOGRAPH, *box, [size, size])
        ours = data.Augmentation(flip="none")
        image = augment.train_image(PHOTOGRAPH, size, ours, np.random.default_rng(seed))
        np.testing.assert_array_equal(image, np.asarray(expected))
    rng = np.random.default_rng(0)
    for _ in range(2000):
        ours = augment.random_resized_crop_box(rng, 400, 560, (0.08, 1), (0.75, 4 / 3))
        theirs = transforms.RandomResizedCrop.get_params(PHOTOGRAPH, (0.08, 1), (0.75, 4 / 3))
        drawn.append([ours, theirs])
    ours, theirs = np.moveaxis(np.array(drawn, float), 1, 0)
    # Standard deviations are about 100 pixels, so those of the means are 2.2.
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=10)
    np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=0.08)


@pytest.mark.parametrize("mode", ["reflect", "zeros"])
def test_pad_and_crop_is_torchvisions(mode):
    transforms = torchvision()
    padding, size = 5, 24
    for seed in range(30):
        rng = np.random.default_rng(seed)
        top, left = rng.integers(2 * padding + 1), rng.integers(2 * padding + 1)
        square = PHOTOGRAPH.resize((size, size), Image.Resampling.BILINEAR)
        padded = transforms.functional.pad(
            square, padding, padding_mode="reflect" if mode == "reflect" else "constant"
        )
        expected = transforms.functional.crop(padded, top, left, size, size)
        ours = data.Augmentation(data.PadAndCrop(padding, mode), flip="none")
        image = augment.train_image(PHOTOGRAPH, size, ours, np.random.default_rng(seed))
        np.testing.assert_array_equal(image, np.asarray(expected))


def test_the_stream_applies_the_transforms_in_their_order_after_crop_and_flip():
    jitter, rand_augment = data.ColourJitter(0.4, 0.4, 0.4, 0.1), data.RandAugment(2, 20)
    image = np.asarray(SQUARE)
    both = data.Augmentation(pixels=(jitter, rand_augment))
    for seed in range(5):
        ours = augment.train_image(image, 32, both, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        plain = augment.train_image(image, 32, data.Augmentation(), rng)
        expected = rand_augment(jitter(plain, rng), rng)
        np.testing.assert_array_equal(ours, expected)
        assert (ours != plain).any()


def taken(augmentation, steps=6, shard=data.Shard(), **options):  # noqa: B008 (frozen)
    options = data.StreamOptions(8, seed=4, **options)
    batches = data.train_batches(numbered(21), 16, augmentation, options, shard)
    try:
        return list(itertools.islice(batches, steps))
    finally:
        batches.close()


def test_transforms_are_the_same_in_workers_in_parts_and_after_resuming():
    augmentation = data.Augmentation(
        data.PadAndCrop(3),
        flip="alternating",
        pixels=(data.ColourJitter(0.4, 0.4, 0.4, 0.1), data.RandAugment()),
    )
    whole = np.stack([batch["image"] for batch in taken(augmentation)])
    workers = [batch["image"] for batch in taken(augmentation, num_workers=2)]
    np.testing.assert_array_equal(workers, whole)
    resumed = [batch["image"] for batch in taken(augmentation, steps=3, start_example=3 * 8)]
    np.testing.assert_array_equal(resumed, whole[3:])
    parts = [taken(augmentation, shard=data.Shard(index, 2)) for index in range(2)]
    parts = [np.concatenate([a["image"], b["image"]]) for a, b in zip(*parts, strict=True)]
    np.testing.assert_array_equal(parts, whole)


def _darker(pixels, rng):
    pixels //= 2
    return pixels


@pytest.mark.parametrize("image", [SQUARE, np.asarray(SQUARE)], ids=["PIL", "array"])
def test_a_transform_may_work_in_place(image):
    before, rng = np.array(image), np.random.default_rng(0)
    darker = data.Augmentation(data.PadAndCrop(0), "none", (data.ColourJitter(), _darker))
    made = augment.train_image(image, 120, darker, rng)
    np.testing.assert_array_equal(made, before // 2)
    np.testing.assert_array_equal(np.asarray(image), before)


@pytest.mark.parametrize("path", ["pixels", "skipping", "device"])
def test_the_stream_flips_each_image_in_every_other_epoch(path):
    """All of the image is shown, so that each is as it is or flipped."""
    count, epochs = 24, 4
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    source = ArraySource(images, np.arange(count, dtype=np.int32))
    augmentation = data.Augmentation(data.PadAndCrop(0), flip="alternating")
    options = data.StreamOptions(8, on_bad_image="skip" if path == "skipping" else "stop")
    dataset = dataset_of(source, source)
    if path == "device":
        batches = data.crop_batches(dataset, augmentation, options)
    else:
        batches = data.train_batches(dataset, 16, augmentation, options)
    flipped = np.empty((epochs, count), bool)
    try:
        for step, batch in enumerate(itertools.islice(batches, epochs * count // 8)):
            if path == "device":
                batch["image"] = data.crop_and_flip(images, batch, 16, augmentation.crop)
            for image, label in zip(np.asarray(batch["image"]), batch["label"], strict=True):
                as_it_is, turned = (
                    (image == i).all() for i in (images[label], images[label][:, ::-1])
                )
                assert as_it_is != turned
                flipped[step * 8 // count, label] = turned
    finally:
        batches.close()
    assert 4 < flipped[0].sum() < 20
    np.testing.assert_array_equal(flipped[1], ~flipped[0])
    np.testing.assert_array_equal(flipped[2:], flipped[:2])


def _grey(pixels, rng):
    return pixels.mean(-1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: data.ColourJitter(contrast=-1), "contrast of -1: give 0 or more"),
        (lambda: data.ColourJitter(hue=0.6), "hue of 0.6: give"),
        (lambda: data.RandAugment(-1), "-1 operations"),
        (lambda: data.RandAugment(2, 31), "magnitude 31: give a whole number, 0 to 30"),
        (lambda: data.RandomResizedCrop(area=(0.5, 0.1)), "crop area"),
        (lambda: data.RandomResizedCrop(aspect=(0, 1)), "crop aspect"),
        (lambda: data.PadAndCrop(-1), "padding of -1 pixels"),
        (lambda: data.PadAndCrop(1, "wrap"), "padding mode 'wrap': give reflect or zeros"),
        (lambda: data.Augmentation(flip="both"), "flip 'both': give random, alternating or none"),
        (lambda: data.Augmentation("centre"), "crop 'centre': give a RandomResizedCrop or"),
        (lambda: data.Augmentation(pixels=data.RandAugment()), r"such as \(RandAugment\(\),\)"),
        (lambda: taken(data.Augmentation(data.PadAndCrop(16)), 1), "a padding of at most 15"),
        (
            lambda: taken(data.Augmentation(pixels=(_grey,)), 1),
            r"transform _grey returned float64 \(16, 16\), not pixels uint8 \(16, 16, 3\)",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(make, says):
    with pytest.raises(UsageError, match=says):
        make()
