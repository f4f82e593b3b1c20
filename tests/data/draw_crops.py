"""Draws `docs/crops.png`: what crops of rings, finer and finer outwards, become in half the pixels.

Run it from the root of the repository: `python tests/data/draw_crops.py`.
"""

import io
import pathlib

import cv2
import numpy as np
from PIL import Image, ImageDraw

from jaxeff.data import jpeg

SIDE = 672
SIZE = 224
BOXES = ((100, 100, 400, 400), (0, 0, SIDE, SIDE))
GAP, HEADING = 8, 20
CONTRAST = 4


def main() -> None:
    """Writes the image, and prints the mean absolute differences from PIL."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    # The distance between rings falls to two pixels at the edges.
    rings = (127.5 + 127.5 * np.cos(np.pi * (x**2 + y**2) / SIDE)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(rings).save(file, "JPEG", quality=92)
    content = file.getvalue()
    decoded = Image.open(file).convert("RGB")
    titles = ("PIL, antialiased", "jaxeff", "no antialiasing", f"{CONTRAST} x (jaxeff - PIL)")
    sheet = Image.new("L", (len(titles) * (SIZE + GAP) + GAP, 2 * (SIZE + GAP) + HEADING), 255)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((GAP + column * (SIZE + GAP), 4), title, fill=0)
    for row, box in enumerate(BOXES):
        top, left, height, width = box
        corners = (left, top, left + width, top + height)
        pil = np.asarray(decoded.resize((SIZE, SIZE), Image.BILINEAR, box=corners), np.int16)
        ours = jpeg.crop(content, jpeg.frame(content), box, SIZE).astype(np.int16)
        plain = cv2.resize(np.asarray(decoded.crop(corners)), (SIZE, SIZE)).astype(np.int16)
        print(f"{box}: {abs(ours - pil).mean():.1f}; unfiltered {abs(plain - pil).mean():.1f}")
        panels = (pil, ours, plain, 128 + CONTRAST * (ours - pil))
        for column, panel in enumerate(panels):
            image = Image.fromarray(panel.clip(0, 255).astype(np.uint8)[..., 0])
            sheet.paste(image, (GAP + column * (SIZE + GAP), HEADING + row * (SIZE + GAP)))
    sheet.quantize(32).save(pathlib.Path("docs/crops.png"), optimize=True)


if __name__ == "__main__":
    main()
