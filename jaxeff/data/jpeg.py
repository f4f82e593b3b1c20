"""Crops out of JPEG files with no more decoding than the crop needs.

Three things save work, none of which moves a pixel where the crop is not shrunk:

- rows below the crop are not decoded: the copy of the header that the decoder gets says that the
  image ends there (sequential files only);
- where the crop is at least twice as large as the result, the inverse transform yields a half, a
  quarter or an eighth of the resolution (DCT scaling);
- the rest of the way is linear interpolation behind a short filter that together have the variance
  of PIL's antialiasing triangle, at a fraction of its time.

libjpeg-turbo decodes (simplejpeg) with the settings of PIL: the exact inverse transform and the
smooth upsampling of colour. Whatever is not an ordinary grey or YCbCr file with eight bits, or has
damage, is left to PIL, which also decides whether it is an image at all.
"""

import math
import re
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg

# The loader has a thread or a process for each core already.
cv2.setNumThreads(1)

# PIL is left to refuse larger images.
MOST_PIXELS = 250_000_000
# Rows are decoded in blocks of this many; colour upsampling alone needs rows of the next block.
_BLOCK_ROWS = 16
# Below this ratio the filter would change less than rounding does.
_NO_SHRINKING = 1.1
_SCALES = (8, 4, 2)
# What libjpeg says at the end of an image that has been cut off.
_CUT = re.compile(r"extraneous bytes before marker 0xd9")
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
# Other kinds of frame, the end of the image, the start of its data.
_OTHER = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xD9, 0xDA)
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))


@dataclass(frozen=True)
class Frame:
    """What a file's header says.

    Attributes:
      height: the image's, pixels.
      width: the image's, pixels.
      sequential: whether rows lie in the file one after the other.
      offset: where the frame header begins in the file, bytes.
    """

    height: int
    width: int
    sequential: bool
    offset: int


def frame(content: bytes) -> Frame | None:
    """The header of a JPEG file that `crop` can decode, or None."""
    if content[:2] != b"\xff\xd8":
        return None
    position, end = 2, len(content) - 10
    while position < end:
        if content[position] != 0xFF:
            return None
        marker = content[position + 1]
        if marker in _WITHOUT_LENGTH or marker == 0xFF:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _SEQUENTIAL or marker == _PROGRESSIVE:
            height = int.from_bytes(content[position + 5 : position + 7])
            width = int.from_bytes(content[position + 7 : position + 9])
            ordinary = content[position + 4] == 8 and content[position + 9] in (1, 3)
            if not (ordinary and 0 < height * width <= MOST_PIXELS):
                return None
            return Frame(height, width, marker in _SEQUENTIAL, position)
        if marker in _OTHER:
            return None
        position += 2 + int.from_bytes(content[position + 2 : position + 4])
    return None


def crop(
    content: bytes, header: Frame, box: tuple[int, int, int, int], size: int
) -> np.ndarray | None:
    """The pixels of `box`, resized to a square.

    Args:
      content: the file.
      header: `frame(content)`.
      box: `(top, left, height, width)` within the image, pixels.
      size: side of the result, pixels.

    Returns:
      uint8 `[size, size, 3]`, or None where the file is damaged: PIL is to decide.
    """
    top, left, height, width = box
    scale = next((s for s in _SCALES if min(height, width) >= s * size), 1)
    rows = header.height
    # Whole blocks cost no more than parts and keep scaled sizes whole; upsampling needs two rows.
    needed = -(-(top + height + 2 * scale) // _BLOCK_ROWS) * _BLOCK_ROWS
    if header.sequential and needed < rows:
        rows = needed
        place = header.offset + 5
        content = b"".join((content[:place], rows.to_bytes(2), content[place + 2 :]))
    shape = (-(-rows // scale), -(-header.width // scale), 3)
    pixels = np.empty(shape, np.uint8)
    try:
        simplejpeg.decode_jpeg(
            content,
            "RGB",
            min_height=shape[0],
            min_width=shape[1],
            min_factor=scale,
            buffer=pixels.reshape(-1),
        )
    except ValueError as error:
        # The decoder complains when it has decoded all, of the first damage that it met.
        if rows == header.height or not _CUT.search(str(error)):
            return None
    if scale == 1:
        return _shrink(pixels[top : top + height, left : left + width], size)
    return _resample(pixels, top / scale, left / scale, height / scale, width / scale, size)


def _shrink(pixels, size):
    """Interpolates whole pixels; nothing outside of them takes part."""
    return cv2.resize(_filtered(pixels, *pixels.shape[:2], size), (size, size))


def _resample(pixels, top, left, height, width, size):
    """The same for a box that begins and ends between pixels of a scaled image."""
    y, x = math.floor(top), math.floor(left)
    pixels = pixels[y : math.ceil(top + height), x : math.ceil(left + width)]
    step_y, step_x = height / size, width / size
    # The result's pixel i has its centre (i + 1/2) steps from the box's edge; OpenCV counts from
    # the centre of the first pixel.
    onto = np.array(
        [
            [step_x, 0, left - x + step_x / 2 - 0.5],
            [0, step_y, top - y + step_y / 2 - 0.5],
        ]
    )
    return cv2.warpAffine(
        _filtered(pixels, height, width, size),
        onto,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _filtered(pixels, height, width, size):
    if max(height, width) <= _NO_SHRINKING * size:
        return pixels
    border = cv2.BORDER_REPLICATE | cv2.BORDER_ISOLATED
    return cv2.sepFilter2D(pixels, -1, _taps(width / size), _taps(height / size), borderType=border)


def _taps(ratio):
    """A filter of variance (ratio^2 - 1) / 6: with interpolation's 1 / 6, that of PIL's triangle.

    PIL shrinks by `ratio` with a triangle of half-width `ratio`, whose variance is ratio^2 / 6.
    """
    if ratio <= 1:
        taps = [1.0]
    elif ratio <= 2:
        side = (ratio * ratio - 1) / 12
        taps = [side, 1 - 2 * side, side]
    else:
        half_width = math.sqrt(ratio * ratio - 1)
        reach = math.ceil(half_width) - 1
        taps = [1 - abs(i) / half_width for i in range(-reach, reach + 1)]
    return np.array(taps, np.float32) / np.float32(sum(taps))
