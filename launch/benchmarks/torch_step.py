"""PyTorch's training step of the same model, batch, precision and optimizer.

Images in `channels_last`, bfloat16 by autocast, SGD with momentum and weight decay, uint8 images
normalised on the device: what PyTorch's ImageNet example does, in its faster memory format.
"""


class Step:
    """A step in PyTorch on its GPU, or on the CPU where it has none.

    Args:
      work: the fields of `contenders.Work`.
      compiled: through `torch.compile`.
    """

    def __init__(self, work: dict, compiled: bool):
        import torch
        from torch_models import create

        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if work["threads"] is not None:
            torch.set_num_threads(work["threads"])
        torch.backends.cudnn.benchmark = True
        # As JAX multiplies float32 on these devices by default.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        module = create(work["model"], work["num_classes"])
        module = module.to(self._device, memory_format=torch.channels_last).train()
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
        generator = torch.Generator().manual_seed(0)
        shape = (work["batch_size"], 3, work["image_size"], work["image_size"])
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        images = images.to(self._device, memory_format=torch.channels_last)
        labels = torch.randint(0, work["num_classes"], shape[:1], generator=generator)
        labels = labels.to(self._device)
        mean = 255 * torch.tensor((0.485, 0.456, 0.406), device=self._device).view(1, 3, 1, 1)
        std = 255 * torch.tensor((0.229, 0.224, 0.225), device=self._device).view(1, 3, 1, 1)
        mixed = work["dtype"] == "bfloat16"

        def loss_of(images, labels):
            inputs = (images.float() - mean) / std
            with torch.autocast(self._device.type, torch.bfloat16, enabled=mixed):
                logits = module(inputs)
            return torch.nn.functional.cross_entropy(logits.float(), labels)

        forward = torch.compile(loss_of) if compiled else loss_of

        def step():
            optimizer.zero_grad()
            loss = forward(images, labels)
            loss.backward()
            optimizer.step()

        self._step = step

    def take(self, steps: int) -> None:
        """Takes `steps` steps and waits for their results."""
        for _ in range(steps):
            self._step()
        if self._device.type == "cuda":
            self._torch.cuda.synchronize()

    def facts(self) -> dict:
        """What ran where."""
        return {"platform": self._device.type, "software": f"torch {self._torch.__version__}"}

    def peak_memory_bytes(self) -> int | None:
        """Of the GPU's allocations since the start, or None on CPU."""
        if self._device.type == "cuda":
            return self._torch.cuda.max_memory_allocated()
        return None
