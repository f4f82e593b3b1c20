"""The PyTorch implementations that the paper trained, under our names.

torchvision's models as they are; ShuffleNet v1 and MobileNet v1 in files of their own, with the
layers and names of jaxony/ShuffleNet and marvis/pytorch-mobilenet. Needs torch and torchvision.
"""

import contextlib

import numpy as np
import torch

from jaxeff.report import published
from tests.models import reference_mobilenet_v1, reference_shufflenet_v1, seeded

# torchvision's CPU wheels do not load its custom operators beside another build of torch; two of
# them must be known by name before the import, and none of the classifiers uses them.
_OPERATORS = torch.library.Library("torchvision", "DEF")
for _schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    with contextlib.suppress(RuntimeError):  # torchvision's own library was loaded.
        _OPERATORS.define(_schema)

import torchvision  # noqa: E402

# Ours: torchvision's, where the names differ.
TORCHVISION_NAMES = {"shufflenet_v2": "shufflenet_v2_x1_0"}
# Arguments without which a constructor does not build what the paper trained, or warns.
ARGUMENTS = {
    "googlenet": {"aux_logits": False, "init_weights": True, "transform_input": True},
}
# Compared by files in `golden/`: the sixteen of the paper's Table 3.
GOLDEN = tuple(row.our_name for row in published.alexnet_level())


def create(name: str, num_classes: int, seed: int) -> torch.nn.Module:
    """The reference of architecture `name`, freshly drawn from `seed`.

    Raises:
      KeyError: there is none.
    """
    torch.manual_seed(seed)
    for family in (reference_mobilenet_v1, reference_shufflenet_v1):
        if name in family.VARIANTS:
            return family.create(name, num_classes)
    torchvision_name = TORCHVISION_NAMES.get(name, name)
    if torchvision_name not in torchvision.models.list_models(torchvision.models):
        raise KeyError(f"{name} has no reference")
    constructor = getattr(torchvision.models, torchvision_name)
    return constructor(num_classes=num_classes, **ARGUMENTS.get(name, {}))


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
        if isinstance(layer, (torch.nn.Dropout, torchvision.ops.StochasticDepth)):
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
