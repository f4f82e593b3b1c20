import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeff import compute, data
from jaxeff.errors import UsageError
from jaxeff.train.description import describe
from tests.devices import on_four_devices

SIZE, CLASSES = 12, 5
DRAWN = 3  # a key by which each transform changes something
TRANSFORMS = {
    "Mixup": data.Mixup(0.4),
    "CutMix": data.CutMix(1.0),
    "RandomErasing": data.RandomErasing(0.7),
    "OneOf": data.OneOf((data.Mixup(0.4), data.CutMix(1.0)), (0.4, 0.4)),
}
KEYS = jax.random.split(jax.random.key(0), 200)


def batch_of(count, size=SIZE):
    rng = np.random.default_rng(0)
    return {
        "image": rng.uniform(0, 255, (count, size, size, 3)).astype(np.float32),
        "label": rng.dirichlet(np.ones(CLASSES), count).astype(np.float32),
    }


@functools.cache
@functools.cache
def results(name, count=8):
    """The batch as each of `KEYS` transforms it, stacked."""
    transform = TRANSFORMS[name]
    return jax.device_get(
        jax.jit(jax.vmap(lambda key: transform(key, batch_of(count), None)))(KEYS)
    )


def neighbours(array):
    return array[[i ^ 1 for i in range(len(array))]]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_shapes_stay_and_labels_sum_to_one(name):
    batch, made = batch_of(8), results(name)
    for part in ("image", "label"):
        assert made[part].shape == (len(KEYS), *batch[part].shape)
        assert made[part].dtype == np.float32
    assert (made["image"] != batch["image"]).any()
    np.testing.assert_allclose(made["label"].sum(-1), 1, atol=1e-6)


def test_erasing_leaves_labels_alone():
    np.testing.assert_array_equal(
        results("RandomErasing")["label"], np.broadcast_to(batch_of(8)["label"], (200, 8, CLASSES))
    )


def weight_of(mixed, one, other):
    """The weight of `one` in `mixed`, by least squares."""
    a, b = (mixed - other).ravel().astype(float), (one - other).ravel().astype(float)
    return a @ b / (b @ b)


def test_mixup_blends_neighbours_and_their_labels_with_one_weight_from_beta():
    batch, made = batch_of(8), results("Mixup")
    others, weights = {name: neighbours(batch[name]) for name in batch}, []
    for images, labels in zip(made["image"], made["label"], strict=True):
        weight = weight_of(images, batch["image"], others["image"])
        weights.append(weight)
        for name, mixed in (("image", images), ("label", labels)):
            expected = weight * batch[name] + (1 - weight) * others[name]
            np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-4)
    # Beta(0.4, 0.4): mean 1/2, variance 1 / (4 (2 * 0.4 + 1)) = 0.139, of 200.
    assert abs(np.mean(weights) - 0.5) < 0.1
    assert abs(np.var(weights) - 0.139) < 0.025
    reference = np.random.default_rng(0).beta(0.4, 0.4, 20_000)
    deciles = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(
        np.quantile(weights, deciles), np.quantile(reference, deciles), atol=0.13
    )


def test_cutmix_pastes_one_box_and_blends_labels_by_its_area():
    batch, made = batch_of(8), results("CutMix")
    others, areas = {name: neighbours(batch[name]) for name in batch}, []
    for images, labels in zip(made["image"], made["label"], strict=True):
        pasted = (images == others["image"]).all(-1)
        assert (pasted == pasted[0]).all(), "one box for the batch"
        pasted = pasted[0]
        kept = ~pasted
        np.testing.assert_array_equal(images[:, kept], batch["image"][:, kept])
        rows, columns = pasted.any(1), pasted.any(0)
        np.testing.assert_array_equal(pasted, np.outer(rows, columns))
        for span in (rows, columns):
            assert abs(np.diff(span.astype(int), prepend=0, append=0)).sum() in (0, 2), "one piece"
        weight = kept.mean()
        expected = weight * batch["label"] + (1 - weight) * others["label"]
        np.testing.assert_allclose(labels, expected, atol=1e-6)
        areas.append(pasted.mean())
    assert np.max(areas) > 0.6
    assert np.min(areas) == 0


def authors_cutmix_area(rng, size):
    """`rand_bbox` of github.com/clovaai/CutMix-PyTorch for alpha 1."""
    side = int(size * np.sqrt(1 - rng.beta(1, 1)))
    area = 1
    for _ in range(2):
        centre = rng.integers(size)
        low, high = (np.clip(centre + sign * (side // 2), 0, size) for sign in (-1, 1))
        area *= high - low
    return area / size**2


def test_cutmix_pastes_as_much_as_the_authors_code():
    batch = batch_of(8)
    pasted = results("CutMix")["image"] == neighbours(batch["image"])
    areas = pasted.all(-1)[:, 0].mean((1, 2))
    rng = np.random.default_rng(0)
    reference = [authors_cutmix_area(rng, SIZE) for _ in range(20_000)]
    np.testing.assert_allclose(areas.mean(), np.mean(reference), atol=0.05)
    np.testing.assert_allclose(areas.std(), np.std(reference), atol=0.04)


def boxes(transform, size, count):
    """For each image the erased box's top, left, height and width; zeros where there is none."""
    images = np.full((count, size, size, 3), 7, np.float32)
    batch = {"image": images, "label": np.ones((count, 1), np.float32)}
    made = jax.jit(lambda key: transform(key, batch, None)["image"])(jax.random.key(1))
    found = []
    for image in np.asarray(made):
        erased = (image != 7).all(-1)
        np.testing.assert_allclose(
            image[erased], np.broadcast_to(transform.value, (erased.sum(), 3))
        )
        np.testing.assert_array_equal(image[~erased], 7)
        rows, columns = np.flatnonzero(erased.any(1)), np.flatnonzero(erased.any(0))
        assert erased.sum() == len(rows) * len(columns), "a box"
        found.append((rows[0], columns[0], len(rows), len(columns)) if len(rows) else (0,) * 4)
    return np.array(found)


def test_erased_boxes_are_torchvisions():
    transforms = pytest.importorskip(
        "torchvision.transforms", reason="compares with torchvision: pip install jaxeff[bench]"
    )
    import torch

    size, count = 32, 2000
    erasing = data.RandomErasing(0.5, (0.02, 0.5), (0.3, 3.3), value=(1.0, 2.0, 3.0))
    ours = boxes(erasing, size, count)
    erased = ours[:, 2] > 0
    assert abs(erased.mean() - 0.5) < 0.04
    torch.manual_seed(0)
    image, params = torch.zeros(3, size, size), transforms.RandomErasing.get_params
    theirs = [params(image, erasing.area, erasing.aspect, [0.0])[:4] for _ in range(count)]
    theirs, ours = np.array(theirs, float), ours[erased].astype(float)
    # Standard deviations are 3 to 5 pixels, of 1000.
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.6)
    np.testing.assert_allclose(ours.std(0), theirs.std(0), atol=0.4)
    assert len(np.unique(ours, axis=0)) > 500, "each image has its own box"


def test_a_box_that_never_fits_erases_nothing():
    assert not boxes(data.RandomErasing(1.0, (0.9, 0.9), (5.0, 5.0)), 8, 20).any()
    assert boxes(data.RandomErasing(1.0, value=(0, 0, 0)), 16, 20).all(axis=0)[2]


def test_one_of_chooses_as_often_as_it_is_told():
    batch, made = batch_of(8), results("OneOf")
    names = []
    for images in made["image"]:
        from_either = (images == batch["image"]) | (images == neighbours(batch["image"]))
        untouched = (images == batch["image"]).all()
        names.append("none" if untouched else "CutMix" if from_either.all() else "Mixup")
    counts = {name: names.count(name) for name in ("none", "CutMix", "Mixup")}
    # 40, 80 and 80 of 200, with standard deviations of 6 and 7; some boxes are empty.
    assert 25 < counts["none"] < 75
    assert 45 < counts["CutMix"] < 95
    assert 60 < counts["Mixup"] < 100


def test_what_else_is_in_a_batch_stays():
    batch = batch_of(4) | {"weight": jnp.arange(4.0)}
    for transform in TRANSFORMS.values():
        made = jax.eval_shape(lambda key, t=transform: t(key, batch, None), jax.random.key(0))
        assert made.keys() == batch.keys()


def on_all_devices():
    """Each transform of sixteen images, shared by all devices, as lists."""
    devices = jax.device_count()
    split = {k: v.reshape(devices, -1, *v.shape[1:]) for k, v in batch_of(16).items()}
    made = {}
    for name, transform in TRANSFORMS.items():
        pmapped = jax.pmap(
            lambda key, batch, transform=transform: transform(key, batch, "batch"),
            axis_name="batch",
            in_axes=(None, 0),
        )
        parts = jax.device_get(pmapped(jax.random.key(DRAWN), split))
        made[name] = [float(np.asarray(parts[k], float).sum()) for k in ("image", "label")]
        made[name] += parts["image"].reshape(16, -1).astype(float)[:, ::17].tolist()
    return made


def test_four_devices_make_what_one_makes():
    four = on_four_devices(__name__, "on_all_devices")
    for name, transform in TRANSFORMS.items():
        made = jax.jit(lambda key, transform=transform: transform(key, batch_of(16), None))(
            jax.random.key(DRAWN)
        )
        image, label = (np.asarray(made[k], float) for k in ("image", "label"))
        assert (image != batch_of(16)["image"]).any(), "something to compare"
        np.testing.assert_allclose(four[name][:2], [image.sum(), label.sum()], rtol=1e-6)
        np.testing.assert_allclose(four[name][2:], image.reshape(16, -1)[:, ::17], rtol=1e-6)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_a_transform_costs_is_counted(name):
    def step(key, batch):
        return TRANSFORMS[name](key, batch, None)

    cost = compute.step_cost(step, jax.random.key(0), batch_of(8))
    # Drawing one number from a Beta distribution takes a loop of unknown length.
    assert all("random_gamma" in operation for operation in cost.uncounted)
    pixels = 8 * SIZE**2 * 3
    # A blend is three operations a pixel, a choice is none; drawing random numbers comes on top.
    assert cost.flops > (3 * pixels if name in ("Mixup", "OneOf") else 8)


def test_every_number_of_a_transform_is_in_its_description():
    erasing = data.RandomErasing(0.7, (0.02, 0.3), (0.5, 2.5), (1.0, 2.0, 3.0))
    one_of = data.OneOf((data.Mixup(0.4), erasing), (0.25, 0.125))
    assert describe(one_of) == {
        "OneOf": {
            "transforms": [
                {"Mixup": {"alpha": 0.4}},
                {
                    "RandomErasing": {
                        "probability": 0.7,
                        "area": [0.02, 0.3],
                        "aspect": [0.5, 2.5],
                        "value": [1.0, 2.0, 3.0],
                    }
                },
            ],
            "probabilities": [0.25, 0.125],
        }
    }
    augmentation = data.Augmentation(data.PadAndCrop(2), "alternating", (data.RandAugment(3, 7),))
    assert describe(augmentation) == {
        "Augmentation": {
            "crop": {"PadAndCrop": {"padding": 2, "mode": "reflect"}},
            "flip": "alternating",
            "pixels": [{"RandAugment": {"operations": 3, "magnitude": 7}}],
        }
    }


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: data.Mixup(0), "Mixup's alpha of 0: give"),
        (lambda: data.CutMix(-1.0), "CutMix's alpha of -1.0"),
        (lambda: data.RandomErasing(1.5), "probability 1.5"),
        (lambda: data.RandomErasing(area=(0.3, 1.2)), "erased area"),
        (lambda: data.RandomErasing(aspect=(2, 1)), "erased aspect"),
        (lambda: data.OneOf((data.Mixup(),), (0.5, 0.5)), "1 transforms and 2 probabilities"),
        (lambda: data.OneOf((data.Mixup(), data.CutMix()), (0.6, 0.5)), "at most 1 in all"),
        (
            lambda: jax.eval_shape(
                lambda key: data.Mixup()(key, batch_of(3), None), jax.random.key(0)
            ),
            "Mixup pairs the images of a device, and this one has 3: give a batch size",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(make, says):
    with pytest.raises(UsageError, match=says):
        make()
