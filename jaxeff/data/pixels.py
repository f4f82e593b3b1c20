"""What is done to the pixels of a training image on the host, after the crop and the flip.

Every transform is called with pixels, uint8 `[S, S, 3]`, and a generator, and returns pixels of the
same shape. The operations are PIL's, as torchvision's are on PIL images: the pixels are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from jaxeff.errors import UsageError

# Magnitudes are counted from 0 to 30 (Cubuk et al. 2019, Section 4.2).
MOST_MAGNITUDE = 30


@dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue changed at random, in a random order.

    As torchvision's `ColorJitter` (Howard 2013; Szegedy et al. 2014): the first three are
    multiplied by a factor uniform between `max(0, 1 - x)` and `1 + x`, the hue is moved by a
    fraction of the circle uniform between `-x` and `x`.

    Attributes:
      brightness: largest relative change; 0 leaves it as it is, as do the others.
      contrast: likewise.
      saturation: likewise.
      hue: largest fraction of the circle of hues, at most 0.5.

    Raises:
      UsageError: a number is out of range.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self):
        for name in ("brightness", "contrast", "saturation"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} of {getattr(self, name)}: give 0 or more")
        if not 0 <= self.hue <= 0.5:
            raise UsageError(f"hue of {self.hue}: give a fraction of the circle, 0 to 0.5")

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The image in other colours, uint8 `[S, S, 3]`."""
        changes = [
            (change, rng.uniform(max(0.0, 1 - most), 1 + most))
            for change, most in (
                (_brightness, self.brightness),
                (_contrast, self.contrast),
                (_saturation, self.saturation),
            )
            if most
        ]
        if self.hue:
            changes.append((_hue, rng.uniform(-self.hue, self.hue)))
        image = Image.fromarray(pixels)
        for i in rng.permutation(len(changes)):
            change, factor = changes[i]
            image = change(image, factor)
        return np.asarray(image)


def _brightness(image, factor):
    return ImageEnhance.Brightness(image).enhance(factor)


def _contrast(image, factor):
    return ImageEnhance.Contrast(image).enhance(factor)


def _saturation(image, factor):
    return ImageEnhance.Color(image).enhance(factor)


def _sharpness(image, factor):
    return ImageEnhance.Sharpness(image).enhance(factor)


def _hue(image, fraction):
    """The hue moved by `fraction` of its circle, which has 255 parts here and wraps at 256."""
    hue, saturation, value = image.convert("HSV").split()
    moved = np.asarray(hue) + np.int32(fraction * 255).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(moved), saturation, value)).convert("RGB")


@dataclass(frozen=True)
class RandAugment:
    """Some operations one after the other, each drawn from `OPERATIONS` (Cubuk et al. 2019).

    As torchvision's `RandAugment` with its default, nearest-neighbour interpolation: where an image
    is moved, rotated or sheared, what comes into view is black. An operation that has a direction
    is applied in either with equal probability.

    Attributes:
      operations: how many, with repetition; the paper's N.
      magnitude: how strong, 0 to 30; the paper's M.

    Raises:
      UsageError: a number is out of range.
    """

    operations: int = 2
    magnitude: int = 9

    def __post_init__(self):
        if self.operations < 0:
            raise UsageError(f"{self.operations} operations of RandAugment: give 0 or more")
        if self.magnitude not in range(MOST_MAGNITUDE + 1):
            raise UsageError(
                f"RandAugment's magnitude {self.magnitude}: give a whole number, 0 to "
                f"{MOST_MAGNITUDE}"
            )

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The image changed `operations` times, uint8 `[S, S, 3]`."""
        image, names = Image.fromarray(pixels), tuple(OPERATIONS)
        for _ in range(self.operations):
            operation = OPERATIONS[names[rng.integers(len(names))]]
            strength = operation.strength(self.magnitude, image.width)
            if operation.signed and rng.integers(2):
                strength = -strength
            image = operation.apply(image, strength)
        return np.asarray(image)


class Operation(NamedTuple):
    """An operation of RandAugment.

    Attributes:
      apply: the function of a PIL image and a strength.
      weakest: the strength at magnitude 0.
      strongest: the strength at magnitude 30, between which it is linear.
      signed: whether the strength may be negative as well.
      of_side: whether the strengths are fractions of the image's side.
    """

    apply: Callable[[Image.Image, float], Image.Image]
    weakest: float = 0.0
    strongest: float = 0.0
    signed: bool = False
    of_side: bool = False

    def strength(self, magnitude: int, side: int) -> float:
        """The strength at `magnitude`, 0 to 30, for an image of `side` pixels."""
        scale = side if self.of_side else 1
        fraction = magnitude / MOST_MAGNITUDE
        return scale * (self.weakest + (self.strongest - self.weakest) * fraction)


def _affine(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


OPERATIONS = {
    "Identity": Operation(lambda image, _: image),
    "ShearX": Operation(lambda i, x: _affine(i, 1, x, 0, 0, 1, 0), 0, 0.3, signed=True),
    "ShearY": Operation(lambda i, x: _affine(i, 1, 0, 0, x, 1, 0), 0, 0.3, signed=True),
    "TranslateX": Operation(
        lambda i, x: _affine(i, 1, 0, -int(x), 0, 1, 0), 0, 150 / 331, signed=True, of_side=True
    ),
    "TranslateY": Operation(
        lambda i, x: _affine(i, 1, 0, 0, 0, 1, -int(x)), 0, 150 / 331, signed=True, of_side=True
    ),
    "Rotate": Operation(lambda image, degrees: image.rotate(degrees), 0, 30, signed=True),
    "Brightness": Operation(lambda i, x: _brightness(i, 1 + x), 0, 0.9, signed=True),
    "Color": Operation(lambda i, x: _saturation(i, 1 + x), 0, 0.9, signed=True),
    "Contrast": Operation(lambda i, x: _contrast(i, 1 + x), 0, 0.9, signed=True),
    "Sharpness": Operation(lambda i, x: _sharpness(i, 1 + x), 0, 0.9, signed=True),
    # The number of bits that are kept.
    "Posterize": Operation(lambda image, bits: ImageOps.posterize(image, round(bits)), 8, 4),
    "Solarize": Operation(lambda image, threshold: ImageOps.solarize(image, threshold), 255, 0),
    "AutoContrast": Operation(lambda image, _: ImageOps.autocontrast(image)),
    "Equalize": Operation(lambda image, _: ImageOps.equalize(image)),
}
