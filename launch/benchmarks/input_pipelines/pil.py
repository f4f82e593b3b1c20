"""torchvision's training transform written with PIL alone, in threads."""


class Step:
    """Takes training batches of a folder of images.

    Args:
      work: the fields of `contenders.InputWork`.
    """

    def __init__(self, work: dict):
        import concurrent.futures
        import itertools
        import pathlib

        import numpy as np

        self._size, self._batch = work["image_size"], work["batch_size"]
        paths = sorted((pathlib.Path(work["data_dir"]) / "train").glob("*/*"))
        self._paths = itertools.cycle(paths)
        self._random = np.random.default_rng(0)
        self._pool = concurrent.futures.ThreadPoolExecutor(work["cores"])

    def take(self, steps: int) -> None:
        """Takes `steps` batches."""
        import numpy as np

        for _ in range(steps):
            np.stack(
                list(self._pool.map(self._image, (next(self._paths) for _ in range(self._batch))))
            )

    def _image(self, path):
        import numpy as np
        from PIL import Image

        from jaxeff.data import augment

        image = Image.open(path).convert("RGB")
        top, left, height, width = augment.random_resized_crop_box(
            self._random, image.height, image.width, (0.08, 1.0), (3 / 4, 4 / 3)
        )
        crop = image.crop((left, top, left + width, top + height))
        crop = crop.resize((self._size, self._size), Image.Resampling.BILINEAR)
        if self._random.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(crop)

    def facts(self) -> dict:
        """PIL's version."""
        import PIL

        return {"software": f"pillow {PIL.__version__}"}

    def peak_memory_bytes(self) -> None:
        """As the process has it."""
