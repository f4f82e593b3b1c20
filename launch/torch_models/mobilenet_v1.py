"""MobileNet v1 in PyTorch, with the layers and parameter names of marvis/pytorch-mobilenet.

    state_dict: model.0.{0,1}, model.1.{0,1,3,4}, … model.13.{0,1,3,4}, fc

Needs torch.
"""

import torch
from torch import nn

# Input channels, output channels and stride of the depthwise separable blocks.
LAYOUT = (
    (32, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    *((512, 512, 1),) * 5,
    (512, 1024, 2),
    (1024, 1024, 1),
)
# Our name: factor on all channels.
VARIANTS = {
    "mobilenet_v1": 1.0,
    "mobilenet_v1_x0_75": 0.75,
    "mobilenet_v1_x0_5": 0.5,
    "mobilenet_v1_x0_25": 0.25,
}


def create(name: str, num_classes: int = 1000) -> nn.Module:
    """The variant `name`, freshly drawn."""
    return MobileNetV1(num_classes, VARIANTS[name])


class MobileNetV1(nn.Module):
    """The network; `width` multiplies all channels, and the average is over the whole image."""

    def __init__(self, num_classes: int = 1000, width: float = 1.0):
        super().__init__()
        stem = nn.Sequential(*_filtered(3, int(32 * width), kernel_size=3, stride=2, padding=1))
        blocks = [
            _separable(int(inputs * width), int(outputs * width), stride)
            for inputs, outputs, stride in LAYOUT
        ]
        self.model = nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1))
        self.fc = nn.Linear(int(1024 * width), num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps `[N, 3, H, W]` to logits `[N, num_classes]`."""
        return self.fc(self.model(images).flatten(1))


def _filtered(inputs, outputs, **window):
    """Convolution, batch norm, ReLU: three layers."""
    return [
        nn.Conv2d(inputs, outputs, bias=False, **window),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def _separable(inputs, outputs, stride):
    return nn.Sequential(
        *_filtered(inputs, inputs, kernel_size=3, stride=stride, padding=1, groups=inputs),
        *_filtered(inputs, outputs, kernel_size=1),
    )
