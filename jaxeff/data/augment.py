"""From a picture file to the square of pixels that the network sees.

Training takes a random crop, evaluation the centre one, both as torchvision's `RandomResizedCrop`,
`Resize` and `CenterCrop` do on PIL images with the default, antialiased bilinear filter: the
paper's numbers were made with those. Images stay uint8: the device normalises them.
"""

import io
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxeff.data import jpeg
from jaxeff.errors import UsageError

# Some ImageNet files carry broken camera data. Nothing here reads it, and PIL warns about each.
warnings.filterwarnings("ignore", message="(?i).*corrupt exif", module=r"PIL\.")

# PIL warns of photographs of more than 90 million pixels, and refuses twice as many as an attack.
Image.MAX_IMAGE_PIXELS = 400_000_000

_CROP_TRIES = 10


@dataclass(frozen=True)
class Augmentation:
    """How training pictures vary; the paper's, which are torchvision's, by default.

    Attributes:
        crop_area: smallest and largest area of the crop, as fractions of the picture's.
        crop_aspect: smallest and largest width over height of the crop, before it is squared.
        horizontal_flip: mirror every other picture, at random.
    """

    crop_area: tuple[float, float] = (0.08, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    horizontal_flip: bool = True


def random_resized_crop_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> tuple[int, int, int, int]:
    """A random box inside a picture, as torchvision's `RandomResizedCrop.get_params` draws it.

    Area is uniform, aspect log-uniform; a box that does not fit is drawn again, ten times at most.
    Then the largest centred box within the bounds of aspect is taken.

    Args:
        rng: where the numbers come from.
        height: the picture's, pixels.
        width: the picture's, pixels.
        area: smallest and largest area, as fractions of the picture's.
        aspect: smallest and largest width over height.

    Returns:
        `(top, left, height, width)` in pixels.
    """
    log_aspect = (math.log(aspect[0]), math.log(aspect[1]))
    for _ in range(_CROP_TRIES):
        crop_area = height * width * rng.uniform(*area)
        crop_aspect = math.exp(rng.uniform(*log_aspect))
        crop_width = round(math.sqrt(crop_area * crop_aspect))
        crop_height = round(math.sqrt(crop_area / crop_aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(height - crop_height + 1))
            left = int(rng.integers(width - crop_width + 1))
            return top, left, crop_height, crop_width

    crop_height, crop_width = height, width
    if width / height < aspect[0]:
        crop_height = round(width / aspect[0])
    elif width / height > aspect[1]:
        crop_width = round(height * aspect[1])
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return top, left, crop_height, crop_width


def train_image(
    picture: str | Path | bytes | np.ndarray | Image.Image,
    size: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> np.ndarray:
    """A random crop of a picture, resized to a square and mirrored half of the time.

    Ordinary JPEG files are decoded by `jaxeff.data.jpeg`, as far as the crop needs; its pixels are
    close to PIL's, not equal. All else is PIL's.

    Args:
        picture: as `decode` takes it.
        size: side of the result, pixels.
        augmentation: how pictures vary.
        rng: where the numbers come from.

    Returns:
        uint8 `[size, size, 3]`.

    Raises:
        UsageError: as `decode`.
    """
    content = _content(picture)
    header = jpeg.frame(content) if isinstance(content, bytes) else None
    image = None if header else decode(content, name=picture)
    height, width = (header.height, header.width) if header else (image.height, image.width)
    box, flip = train_crop(height, width, augmentation, rng)
    pixels = jpeg.crop(content, header, box, size) if header else None
    if pixels is None:
        image = image or decode(content, name=picture)
        top, left, height, width = box
        # Cropped first: resizing with `box=` would let pixels from outside the crop into its
        # border.
        crop = image.crop((left, top, left + width, top + height))
        pixels = np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR))
    if flip:
        pixels = cv2.flip(pixels, 1)
    return pixels


def train_crop(
    height: int, width: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[tuple[int, int, int, int], bool]:
    """The box `(top, left, height, width)` and the flip that `train_image` would draw."""
    box = random_resized_crop_box(
        rng, height, width, augmentation.crop_area, augmentation.crop_aspect
    )
    return box, augmentation.horizontal_flip and rng.random() < 0.5


def evaluation_image(image: Image.Image, size: int, crop_fraction: float) -> np.ndarray:
    """The centre of `image`: short side to `int(size / crop_fraction)`, then the middle square.

    `size=224, crop_fraction=224 / 256` is the paper's evaluation: short side to 256, centre 224.
    The long side is cut off to whole pixels, and half a pixel at the crop's corner is rounded to
    even, as torchvision does.

    Args:
        image: RGB picture.
        size: side of the result, pixels.
        crop_fraction: above 0, at most 1.

    Returns:
        uint8 `[size, size, 3]`.
    """
    short = int(size / crop_fraction)
    if image.width <= image.height:
        resized = (short, int(short * image.height / image.width))
    else:
        resized = (int(short * image.width / image.height), short)
    pixels = np.asarray(image.resize(resized, Image.Resampling.BILINEAR))
    top = round((pixels.shape[0] - size) / 2)
    left = round((pixels.shape[1] - size) / 2)
    return np.ascontiguousarray(pixels[top : top + size, left : left + size])


def decode(
    picture: str | Path | bytes | np.ndarray | Image.Image, name: object = None
) -> Image.Image:
    """The picture in RGB; grey, palette, CMYK, 16-bit and transparent ones are converted.

    Transparency is dropped and the camera's orientation tag is not applied, as torchvision does.

    Args:
        picture: path or bytes of a picture file, array uint8 `[height, width, 3]`, or a PIL image.
        name: what to call it in a message, if not itself.

    Raises:
        UsageError: the file cannot be read or is no complete picture; names the file.
    """
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    if isinstance(picture, Image.Image):
        return _to_rgb(picture)
    content = _content(picture)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _to_rgb(image)
    except Exception as error:  # PIL's parsers let through whatever broken bytes make them raise
        raise UsageError(_cannot_decode(picture if name is None else name, error)) from error


def _content(picture):
    """The bytes of a picture file; what is no path, as it is."""
    if not isinstance(picture, str | Path):
        return picture
    try:
        # Read whole: PIL reads in some forty pieces, and threads would pass the GIL around at each.
        return Path(picture).read_bytes()
    except OSError as error:
        raise UsageError(_cannot_decode(picture, error)) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I"):  # 16 bits a pixel, which `convert` would clip at 255
        high_byte = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(high_byte.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _cannot_decode(picture: str | Path | bytes, error: Exception) -> str:
    if isinstance(picture, bytes):
        where, reason = f"{len(picture)} bytes", str(error)
    elif isinstance(error, OSError) and error.errno is not None:
        where, reason = repr(os.fspath(picture)), os.strerror(error.errno)
    else:
        where, reason = repr(os.fspath(picture)), str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # its text shows where the bytes lie in memory
        reason = "no known picture format"
    return (
        f"cannot read {where} as a picture ({' '.join(reason.split())}): "
        "replace or remove that file, then run the same command again"
    )
