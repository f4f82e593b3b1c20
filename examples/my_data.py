"""Data of one's own: any images and labels that NumPy can hold.

    python examples/my_data.py shapes.npz
    jaxeff train --model=shufflenet_v2_x0_5 --dataset=arrays --data_dir=shapes.npz \\
        --image_size=64 --target=top1:0.95

writes one file with `train_images`, `train_labels`, `validation_images` and `validation_labels`,
images uint8 `[N, H, W, 3]` and labels whole numbers from 0, and trains on it. With `images` and
`labels` alone the split is made for you, the same each time.
"""

import sys

import numpy as np


def shapes(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Discs, squares and stripes of random place, size and brightness on noise.

    Returns:
      uint8 `[count, 32, 32, 3]` and int64 `[count]`.
    """
    labels = rng.integers(0, 3, count)
    y, x = np.mgrid[:32, :32]
    images = rng.integers(0, 80, (count, 32, 32, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        cy, cx = rng.uniform(10, 22, 2)
        radius = rng.uniform(4, 10)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        square = np.maximum(abs(y - cy), abs(x - cx)) < 0.9 * radius
        stripes = square & (x // 2 % 2 == 0)
        image[(disc, square, stripes)[label]] += np.uint8(rng.integers(60, 170))
    return images, labels


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    train_images, train_labels = shapes(1500, rng)
    validation_images, validation_labels = shapes(500, rng)
    np.savez_compressed(
        sys.argv[1],
        train_images=train_images,
        train_labels=train_labels,
        validation_images=validation_images,
        validation_labels=validation_labels,
    )
    print(f"{sys.argv[1]}: {len(train_labels)} images to train on, {len(validation_labels)} more")
