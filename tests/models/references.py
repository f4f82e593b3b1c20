"""What the PyTorch implementations compute from seeded weights. Needs torch and torchvision."""

import numpy as np
import torch

from jaxeff.report import published
from launch import torch_models
from tests.models import seeded

# Ours takes images normalised for ImageNet, as the published weights of torchvision's do.
ARGUMENTS = {"googlenet": {"transform_input": True}}
# Compared by files in `golden/`: the sixteen of the paper's Table 3.
GOLDEN = tuple(row.our_name for row in published.alexnet_level())


def create(name: str, num_classes: int, seed: int) -> torch.nn.Module:
    """The reference of architecture `name`, freshly drawn from `seed`.

    Raises:
      KeyError: there is none.
    """
    torch.manual_seed(seed)
    return torch_models.create(name, num_classes, **ARGUMENTS.get(name, {}))


def set_seeded_weights(module: torch.nn.Module) -> None:
    """Fills every parameter and running statistic with `seeded.weight`, and turns dropout off.

    The module then computes in float64: in float32, a value beside a ReLU's corner can put a
    gradient on either side, and it should be the reference that is right.
    """
    module.double()
    with torch.no_grad():
        for key, value in module.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                value.copy_(torch.from_numpy(seeded.weight(key, tuple(value.shape))))
    for layer in module.modules():
        if isinstance(layer, (torch.nn.Dropout, torch_models.torchvision.ops.StochasticDepth)):
            layer.p = 0.0


def images(size: int) -> torch.Tensor:
    """`seeded.images` as float64 `[N, 3, size, size]`."""
    return torch.from_numpy(seeded.images(size).transpose(0, 3, 1, 2).astype(np.float64))


def train_step(module: torch.nn.Module, size: int) -> dict:
    """Loss, gradients and updated running statistics of one batch in training mode, as NumPy."""
    module.train()
    module.zero_grad()
    logits = module(images(size))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(seeded.labels()))
    loss.backward()
    return {
        "loss": loss.item(),
        "gradients": {key: p.grad.numpy() for key, p in module.named_parameters()},
        "running": {
            key: value.numpy()
            for key, value in module.named_buffers()
            if not key.endswith("num_batches_tracked")
        },
    }


def forward_macs(module: torch.nn.Module, size: int) -> int:
    """Multiply-accumulates of one image's forward pass by PyTorch's own counter."""
    from torch.utils.flop_counter import FlopCounterMode

    module.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 3, size, size))
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def state(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """The module's parameters and buffers as NumPy arrays."""
    return {key: value.numpy() for key, value in module.state_dict().items()}
