"""PyTorch's `DataLoader` over torchvision's `ImageFolder`, as its ImageNet example reads it."""


class Step:
    """Takes training batches of a folder of images.

    Args:
      work: the fields of `contenders.InputWork`.
    """

    def __init__(self, work: dict):
        import pathlib

        import torch
        import torch_models  # noqa: F401 (lets torchvision load beside another build of torch)
        import torchvision
        from torchvision.transforms import v2

        torch.set_num_threads(1)
        transform = v2.Compose(
            [
                v2.RandomResizedCrop(work["image_size"], antialias=True),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
            ]
        )
        folder = torchvision.datasets.ImageFolder(
            pathlib.Path(work["data_dir"]) / "train", transform
        )
        self._loader = torch.utils.data.DataLoader(
            folder,
            batch_size=work["batch_size"],
            sampler=torch.utils.data.RandomSampler(folder, replacement=True, num_samples=2**40),
            num_workers=work["cores"] if work["cores"] > 1 else 0,
            persistent_workers=False,
        )
        self._batches = iter(self._loader)
        self._version = torch.__version__

    def take(self, steps: int) -> None:
        """Takes `steps` batches."""
        for _ in range(steps):
            next(self._batches)

    def facts(self) -> dict:
        """PyTorch's version."""
        return {"software": f"torch {self._version}"}

    def peak_memory_bytes(self) -> None:
        """As the process has it."""
