"""What is done to a whole training batch on the devices, as part of the step and of its cost.

Every transform is called as `transform(key, batch, axis_name)` and returns a batch:

- `key` is the same on every device and another in each step;
- `batch` holds `image` float32 `[n, H, W, 3]` in 0…255, before they are normalised, and `label`
  float32 `[n, K]`, probabilities of the classes; `n` is this device's part of the global batch;
- `axis_name` is the axis of `pmap` over which the batch is split, None where it is whole.

The result for an image depends on its place in the global batch, not on how many devices share it.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxeff.data.dataset import IMAGENET_MEAN
from jaxeff.errors import UsageError

Batch = Mapping[str, jax.Array]
BatchTransform = Callable[[jax.Array, Batch, str | None], Batch]

_ERASING_TRIES = 10


@dataclass(frozen=True)
class Mixup:
    """Each image blended with its neighbour, and its label likewise (Zhang et al. 2017).

    `image = λ image + (1 − λ) other`, with one `λ` from Beta(α, α) for the batch, as in the
    authors' code. Images 2i and 2i + 1 are each other's neighbours: the stream is shuffled, so the
    pairs are random, and no device needs the images of another.

    Attributes:
      alpha: α, above 0: 1 makes `λ` uniform, small values leave it near 0 and 1.

    Raises:
      UsageError: alpha is not above 0 or, where it is called, a device has an odd part of a batch.
    """

    alpha: float = 0.2

    def __post_init__(self):
        _check_alpha(self)

    def __call__(self, key: jax.Array, batch: Batch, axis_name: str | None) -> Batch:
        """The blended batch, of the same shapes."""
        weight = jax.random.beta(key, self.alpha, self.alpha)
        return dict(batch) | {
            name: _blend(batch[name], _neighbours(batch[name], self), weight)
            for name in ("image", "label")
        }


@dataclass(frozen=True)
class CutMix:
    """A box of each image replaced by that of its neighbour, and the labels blended by area.

    As in the authors' code (Yun et al. 2019): with `λ` from Beta(α, α), the box has `sqrt(1 − λ)`
    of the image's sides, rounded down, and its centre anywhere in the image, whose edges cut it
    off. What is left of its area is the weight of the neighbour's label. One box for the batch;
    neighbours as in `Mixup`.

    Attributes:
      alpha: α, above 0; the paper's 1 makes `λ` uniform.

    Raises:
      UsageError: as `Mixup`.
    """

    alpha: float = 1.0

    def __post_init__(self):
        _check_alpha(self)

    def __call__(self, key: jax.Array, batch: Batch, axis_name: str | None) -> Batch:
        """The batch with boxes pasted, of the same shapes."""
        images, labels = batch["image"], batch["label"]
        height, width = images.shape[1:3]
        for_weight, for_row, for_column = jax.random.split(key, 3)
        side = jnp.sqrt(1 - jax.random.beta(for_weight, self.alpha, self.alpha))
        rows = _span(for_row, side, height)
        columns = _span(for_column, side, width)
        pasted = rows[:, None] & columns[None, :]
        kept = 1 - pasted.sum() / (height * width)
        return dict(batch) | {
            "image": jnp.where(pasted[..., None], _neighbours(images, self), images),
            "label": _blend(labels, _neighbours(labels, self), kept),
        }


@dataclass(frozen=True)
class RandomErasing:
    """A box of some images filled with one colour (Zhong et al. 2017), as torchvision's.

    For each image that is to be erased, area (uniform) and aspect (log-uniform) are drawn ten
    times; the first box that fits is erased, and if none does, nothing is.

    Attributes:
      probability: the fraction of images that are erased.
      area: smallest and largest area of the box, as fractions of the image's.
      aspect: smallest and largest height over width of the box.
      value: the colour, 0…255 for red, green and blue; ImageNet's mean by default. Where the data
        have another mean, `255 * mean` makes the box 0 for the network.

    Raises:
      UsageError: a number is out of range.
    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.33)
    aspect: tuple[float, float] = (0.3, 3.3)
    value: tuple[float, float, float] = tuple(255 * mean for mean in IMAGENET_MEAN)

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise UsageError(f"erasing with probability {self.probability}: give 0 to 1")
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise UsageError(f"erased area {self.area}: give two rising fractions of 1")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise UsageError(f"erased aspect {self.aspect}: give two rising numbers above 0")

    def __call__(self, key: jax.Array, batch: Batch, axis_name: str | None) -> Batch:
        """The batch with boxes erased, of the same shapes."""
        images = batch["image"]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, _places(len(images), axis_name))
        boxes = jax.vmap(lambda key: self._box(key, *images.shape[1:3]))(keys)
        value = jnp.asarray(self.value, images.dtype)
        return dict(batch) | {"image": jnp.where(boxes[..., None], value, images)}

    def _box(self, key, height, width):
        """Which pixels of one image are erased, bool `[height, width]`."""
        for_whether, for_area, for_aspect, for_top, for_left = jax.random.split(key, 5)
        low, high = (fraction * height * width for fraction in self.area)
        area = jax.random.uniform(for_area, (_ERASING_TRIES,), minval=low, maxval=high)
        low, high = (math.log(aspect) for aspect in self.aspect)
        aspect = jnp.exp(jax.random.uniform(for_aspect, (_ERASING_TRIES,), minval=low, maxval=high))
        rows = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
        columns = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
        fits = (rows < height) & (columns < width)
        first = jnp.argmax(fits)
        erased = fits.any() & (jax.random.uniform(for_whether) < self.probability)
        top = jax.random.randint(for_top, (), 0, height - rows[first] + 1)
        left = jax.random.randint(for_left, (), 0, width - columns[first] + 1)
        inside = _between(height, top, top + rows[first])[:, None]
        return erased & inside & _between(width, left, left + columns[first])[None, :]


@dataclass(frozen=True)
class OneOf:
    """One of several transforms for each batch, such as `Mixup` or `CutMix`.

    Attributes:
      transforms: the ones to choose from.
      probabilities: of each, in their order; what is missing to 1 leaves the batch as it is.

    Raises:
      UsageError: there is not one probability, not negative, for each transform, or their sum is
        above 1.
    """

    transforms: tuple[BatchTransform, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self):
        if len(self.transforms) != len(self.probabilities) or not self.transforms:
            raise UsageError(
                f"OneOf has {len(self.transforms)} transforms and {len(self.probabilities)} "
                "probabilities: give one for each"
            )
        if min(self.probabilities) < 0 or sum(self.probabilities) > 1 + 1e-6:
            raise UsageError(
                f"probabilities {self.probabilities} of OneOf: give none below 0, at most 1 in all"
            )

    def __call__(self, key: jax.Array, batch: Batch, axis_name: str | None) -> Batch:
        """The batch as one of the transforms makes it."""
        for_choice, for_transform = jax.random.split(key)
        bounds = jnp.asarray(list(itertools.accumulate(self.probabilities)))
        branches = [
            lambda key, batch, transform=transform: dict(transform(key, batch, axis_name))
            for transform in self.transforms
        ]
        if sum(self.probabilities) < 1 - 1e-6:
            branches.append(lambda key, batch: batch)
        choice = jnp.sum(jax.random.uniform(for_choice) >= bounds)
        return jax.lax.switch(choice, branches, for_transform, dict(batch))


def _check_alpha(transform):
    if not transform.alpha > 0:
        name = type(transform).__name__
        raise UsageError(f"{name}'s alpha of {transform.alpha}: give a number above 0")


def _blend(one, other, weight):
    return weight * one + (1 - weight) * other


def _neighbours(array, transform):
    """Elements 2i + 1 and 2i in each other's places."""
    if len(array) % 2:
        raise UsageError(
            f"{type(transform).__name__} pairs the images of a device, and this one has "
            f"{len(array)}: give a batch size that is a multiple of twice the number of devices"
        )
    return array.reshape(-1, 2, *array.shape[1:])[:, ::-1].reshape(array.shape)


def _span(key, side, length):
    """Which of `length` pixels lie in a span of `side` of them around one of them, bool."""
    half = jnp.floor(side * length).astype(jnp.int32) // 2
    centre = jax.random.randint(key, (), 0, length)
    return _between(length, centre - half, centre + half)


def _between(length, start, stop):
    place = jnp.arange(length)
    return (start <= place) & (place < stop)


def _places(count, axis_name):
    """The places of this device's `count` images in the global batch."""
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * count
    return first + jnp.arange(count)
