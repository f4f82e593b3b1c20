"""Our own pipeline, as train.py uses it."""


class Step:
    """Takes training batches of a folder of images.

    Args:
      work: the fields of `contenders.InputWork`.
    """

    def __init__(self, work: dict):
        import itertools
        import pathlib

        from jaxeff import data
        from jaxeff.data import image_folder

        source = image_folder.load_images(pathlib.Path(work["data_dir"]) / "train")
        dataset = data.Dataset(
            name="benchmark",
            train=source,
            validation=source,
            class_names=(),
            image_size=work["image_size"],
            target=None,
            fingerprint="",
            horizontal_flip=True,
            evaluation_crop_fraction=1.0,
            in_memory=False,
        )
        self._batches = data.train_batches(
            dataset,
            work["image_size"],
            data.Augmentation(),
            data.StreamOptions(
                work["batch_size"], num_workers=data.loader_processes(work["cores"])
            ),
        )
        self._islice = itertools.islice

    def take(self, steps: int) -> None:
        """Takes `steps` batches."""
        for _ in self._islice(self._batches, steps):
            pass

    def facts(self) -> dict:
        """The decoder's version."""
        import importlib.metadata

        return {"software": f"simplejpeg {importlib.metadata.version('simplejpeg')}"}

    def peak_memory_bytes(self) -> None:
        """As the process has it."""
