"""From an image file to the square of pixels that the network sees.

Training takes a random crop, evaluation the centre one, both as torchvision's `RandomResizedCrop`,
`Resize` and `CenterCrop` do on PIL images with the default, antialiased bilinear filter: the
paper's numbers were made with those. Images stay uint8: the device normalises them.
"""

import io
import math
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxeff.data import jpeg
from jaxeff.data.options import Augmentation, PadAndCrop, RandomResizedCrop
from jaxeff.errors import UsageError

# Some ImageNet files carry broken camera data. Nothing here reads it, and PIL warns about each.
warnings.filterwarnings("ignore", message="(?i).*corrupt exif", module=r"PIL\.")

# PIL warns of photographs of more than 90 million pixels, and refuses twice as many as an attack.
# Cameras make 200 million; a file of a few hundred bytes can say as many, which take a gigabyte.
MOST_PIXELS = Image.MAX_IMAGE_PIXELS = jpeg.MOST_PIXELS
# The largest image of that many pixels, uncompressed in 16 bits.
MOST_BYTES = 6 * MOST_PIXELS
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `open_image` refuses them.
# What PIL may take a file for. It knows others, of which some are read by programs that it starts.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
# An evaluation resizes no image to more pixels; of a longer one, a part alone is resized.
_MOST_RESIZED = 50_000_000

_CROP_TRIES = 10

# What `decode` takes: the path or the bytes of an image file, an array uint8 `[height, width, 3]`,
# or a PIL image.
ImageLike = str | Path | bytes | np.ndarray | Image.Image


def random_resized_crop_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> tuple[int, int, int, int]:
    """A random box inside an image, as torchvision's `RandomResizedCrop.get_params` draws it.

    Area is uniform, aspect log-uniform. A box that does not fit is drawn again; after ten of them
    the largest centred box within the bounds of aspect is taken.

    Args:
      rng: where the numbers come from.
      height: the image's, pixels.
      width: the image's, pixels.
      area: smallest and largest area, as fractions of the image's.
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


class TrainCrop(NamedTuple):
    """What was drawn for one showing of a training image.

    Attributes:
      box: the part of the image that becomes the square: `(top, left, height, width)`, pixels.
      offset: where in the padded square the result begins, `(top, left)` in pixels of the result;
        `(0, 0)` where nothing is padded.
      flip: whether the result is flipped left to right.
    """

    box: tuple[int, int, int, int]
    offset: tuple[int, int]
    flip: bool


def train_image(
    image: ImageLike,
    size: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
    flip: bool = False,
) -> np.ndarray:
    """A random crop of an image as a square, flipped or not, its pixels changed or not.

    `jaxeff.data.jpeg` decodes ordinary JPEG files, as far as the crop needs; its pixels are close
    to PIL's, not equal. PIL decodes all others.

    Args:
      image: as `decode` takes it.
      size: side of the result, pixels.
      augmentation: how images vary.
      rng: where the numbers come from.
      flip: whether an alternating flip flips this image this time.

    Returns:
      uint8 `[size, size, 3]`.

    Raises:
      UsageError: as `decode`, the square is too small for the padding, or a transform in
        `augmentation.pixels` returns something else than pixels of the same shape.
    """
    content = _content(image)
    header = jpeg.frame(content) if isinstance(content, bytes) else None
    decoded = None if header else decode(content, name=image)
    height, width = (header.height, header.width) if header else (decoded.height, decoded.width)
    drawn = train_crop(height, width, augmentation, rng, flip)
    pixels = jpeg.crop(content, header, drawn.box, size) if header else None
    if pixels is None:
        decoded = decoded or decode(content, name=image)
        top, left, height, width = drawn.box
        # Resizing with `box=` instead would let pixels from outside the crop into its border.
        crop = decoded.crop((left, top, left + width, top + height))
        pixels = np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR))
    if isinstance(augmentation.crop, PadAndCrop):
        pixels = _pad_and_crop(pixels, augmentation.crop, *drawn.offset)
    if drawn.flip:
        pixels = cv2.flip(pixels, 1)
    for transform in augmentation.pixels:
        pixels = _transformed(pixels, transform, rng)
    return pixels


def train_crop(
    height: int,
    width: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
    flip: bool = False,
) -> TrainCrop:
    """What `train_image` would draw for an image of `height` times `width` pixels."""
    match augmentation.crop:
        case RandomResizedCrop(area, aspect):
            box = random_resized_crop_box(rng, height, width, area, aspect)
            offset = (0, 0)
        case PadAndCrop(padding):
            box = (0, 0, height, width)
            offset = (int(rng.integers(2 * padding + 1)), int(rng.integers(2 * padding + 1)))
    if augmentation.flip == "random":
        flip = rng.random() < 0.5
    return TrainCrop(box, offset, flip and augmentation.flip != "none")


def _pad_and_crop(pixels, crop, top, left):
    size = len(pixels)
    crop.check(size)
    border = cv2.BORDER_REFLECT_101 if crop.mode == "reflect" else cv2.BORDER_CONSTANT
    padded = cv2.copyMakeBorder(pixels, *4 * (crop.padding,), border)
    return np.ascontiguousarray(padded[top : top + size, left : left + size])


def _transformed(pixels, transform, rng):
    if not pixels.flags.writeable:  # PIL's are not, and a transform may work in place.
        pixels = pixels.copy()
    changed = transform(pixels, rng)
    if getattr(changed, "shape", None) != pixels.shape or changed.dtype != np.uint8:
        name = getattr(transform, "__name__", type(transform).__name__)
        raise UsageError(
            f"the transform {name} returned "
            f"{getattr(changed, 'dtype', type(changed).__name__)} {getattr(changed, 'shape', '')}, "
            f"not pixels uint8 {pixels.shape}: return an array like the one that it was given"
        )
    return changed


def evaluation_image(image: Image.Image, size: int, crop_fraction: float) -> np.ndarray:
    """The centre of `image`: short side to `int(size / crop_fraction)`, then the middle square.

    `size=224, crop_fraction=224 / 256` is the paper's evaluation: short side to 256, centre 224.
    The long side is cut off to whole pixels, and half a pixel at the crop's corner is rounded to
    even, as torchvision does. Of an image that is so long that this would make more than 50 million
    pixels, the middle alone is resized: the same pixels, but for rounding.

    Args:
      image: in RGB.
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
    top, left = round((resized[1] - size) / 2), round((resized[0] - size) / 2)
    box = None
    if math.prod(resized) > _MOST_RESIZED:
        across, down = image.width / resized[0], image.height / resized[1]
        # Interpolation reaches a pixel of the image or of the result, whichever is larger.
        margin_x, margin_y = math.ceil(2 + 2 / across), math.ceil(2 + 2 / down)
        first_x, first_y = max(0, left - margin_x), max(0, top - margin_y)
        last_x = min(resized[0], left + size + margin_x)
        last_y = min(resized[1], top + size + margin_y)
        # PIL's boxes have few digits, so they are told from where the pixels begin that they need.
        x, y = math.floor(first_x * across), math.floor(first_y * down)
        right, bottom = min(image.width, last_x * across), min(image.height, last_y * down)
        image = image.crop((x, y, math.ceil(right), math.ceil(bottom)))
        box = (first_x * across - x, first_y * down - y, right - x, bottom - y)
        resized = (last_x - first_x, last_y - first_y)
        top, left = top - first_y, left - first_x
    pixels = np.asarray(image.resize(resized, Image.Resampling.BILINEAR, box))
    return np.ascontiguousarray(pixels[top : top + size, left : left + size])


def decode(image: ImageLike, name: object = None) -> Image.Image:
    """The image in RGB; grey, palette, CMYK, 16-bit and transparent ones are converted.

    Transparency is dropped, the camera's orientation tag is applied to TIFF files alone, and of
    several pages or frames the first is taken, as torchvision (PIL) does. Pixels of more than 16
    bits or of floating point are refused: nothing says which value is white. So are files of other
    formats than `FORMATS`, and images of more than `MOST_PIXELS`.

    Args:
      image: path or bytes of an image file, array uint8 `[height, width, 3]`, or a PIL image.
      name: what a message calls it; by default, itself.

    Raises:
      UsageError: the file cannot be read or is no complete image; names the file.
    """
    if isinstance(image, np.ndarray):
        return Image.fromarray(image)
    if isinstance(image, Image.Image):
        return _to_rgb(image)
    content = _content(image)
    try:
        with open_image(io.BytesIO(content)) as file:
            return _to_rgb(file)
    except Exception as error:  # PIL's parsers let through whatever broken bytes make them raise
        raise UsageError(_cannot_decode(image if name is None else name, error)) from error


def open_image(file: str | os.PathLike | io.BytesIO) -> Image.Image:
    """The image in `file`, of one of `FORMATS`; only its header has been read.

    Raises:
      Exception: it is none, has more than `MOST_PIXELS`, or whatever its bytes lead PIL to.
    """
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise ValueError(
            f"{image.width:,} x {image.height:,} pixels, and an image has {MOST_PIXELS:,} at most"
        )
    return image


def _content(image):
    """The bytes of an image file; anything but a path is returned unchanged."""
    if not isinstance(image, str | Path):
        return image
    try:
        # PIL would read the file in some forty pieces, and threads would pass the GIL at each.
        with open(image, "rb") as file:
            if (size := os.fstat(file.fileno()).st_size) > MOST_BYTES:
                raise UsageError(
                    _cannot_decode(image, ValueError(f"{size:,} bytes, more than any image has"))
                )
            return file.read()
    except (OSError, ValueError) as error:  # A name with a zero byte is a ValueError.
        raise UsageError(_cannot_decode(image, error)) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode == "F":
        raise ValueError("floating-point pixels, of which nothing says what is white")
    if image.mode.startswith("I"):  # 16 bits a pixel, which `convert` would clip at 255
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() >= 1 << 16:
            raise ValueError("pixels of 32 bits, of which nothing says what is white")
        return Image.fromarray((pixels >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _cannot_decode(image: str | Path | bytes, error: Exception) -> str:
    if isinstance(image, bytes):
        where, reason = f"{len(image)} bytes", str(error)
    elif isinstance(error, OSError) and error.errno is not None:
        where, reason = repr(os.fspath(image)), os.strerror(error.errno)
    else:
        where, reason = repr(os.fspath(image)), str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # its text shows where the bytes lie in memory
        reason = "no known image format"
    return (
        f"cannot read {where} as an image ({' '.join(reason.split())}): "
        "replace or remove that file, then run the same command again (with "
        "--accept_changed_data where the run has begun)"
    )
