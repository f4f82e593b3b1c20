"""ShuffleNet v1 in PyTorch, with the layers, names and start values of jaxony/ShuffleNet.

That implementation is the one the paper trained. Two differences, both without effect on training:
its forward pass ends with a log-softmax, which the cross-entropy repeats without changing anything,
and here the logits come back; and its table for one group ends in 567 channels, where the article's
Table 1 has 576.
"""

import torch
from torch import nn
from torch.nn import functional as F

# Our name: groups of the 1x1 convolutions; channels after the stem and after each stage.
VARIANTS = {
    "shufflenet_v1": (3, [24, 240, 480, 960]),
    "shufflenet_v1_g1": (1, [24, 144, 288, 576]),
    "shufflenet_v1_g2": (2, [24, 200, 400, 800]),
    "shufflenet_v1_g4": (4, [24, 272, 544, 1088]),
    "shufflenet_v1_g8": (8, [24, 384, 768, 1536]),
    "shufflenet_v1_x0_25": (3, [12, 60, 120, 240]),
    "shufflenet_v1_x0_5": (3, [12, 120, 240, 480]),
    "shufflenet_v1_x1_5": (3, [24, 360, 720, 1440]),
    "shufflenet_v1_x2_0": (3, [48, 480, 960, 1920]),
}
UNITS = {"stage2": 4, "stage3": 8, "stage4": 4}


def create(name: str, num_classes: int = 1000) -> nn.Module:
    """The variant `name`, freshly drawn."""
    return ShuffleNet(*VARIANTS[name], num_classes)


class ShuffleNet(nn.Module):
    """`groups` of the 1x1 convolutions, `channels` of the stem and the three stages."""

    def __init__(self, groups: int, channels: list[int], num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels[0], 3, stride=2, padding=1)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for stage, before, after in zip(UNITS, channels[:-1], channels[1:], strict=True):
            units = nn.Sequential()
            for number in range(UNITS[stage]):
                halves = number == 0
                ungrouped = halves and stage == "stage2"
                unit = ShuffleUnit(before if halves else after, after, groups, ungrouped, halves)
                units.add_module(f"ShuffleUnit_{stage.capitalize()}_{number}", unit)
            self.add_module(stage, units)
        self.fc = nn.Linear(channels[-1], num_classes)
        self.apply(_draw)

    def forward(self, images):
        """Maps `[N, 3, H, W]` to logits `[N, num_classes]`."""
        x = self.maxpool(self.conv1(images))
        x = self.stage4(self.stage3(self.stage2(x)))
        return self.fc(x.mean(dim=(2, 3)))


class ShuffleUnit(nn.Module):
    """From `before` to `after` channels; where it `halves` the image, it concatenates."""

    def __init__(self, before: int, after: int, groups: int, ungrouped: bool, halves: bool):
        super().__init__()
        narrow = after // 4
        wide = after - before if halves else after
        self.halves = halves
        self.shuffle = nn.ChannelShuffle(groups)
        self.g_conv_1x1_compress = _pointwise(before, narrow, 1 if ungrouped else groups)
        self.depthwise_conv3x3 = nn.Conv2d(
            narrow, narrow, 3, stride=2 if halves else 1, padding=1, groups=narrow
        )
        self.bn_after_depthwise = nn.BatchNorm2d(narrow)
        self.g_conv_1x1_expand = _pointwise(narrow, wide, groups)

    def forward(self, x):
        """Maps `[N, before, H, W]` to `[N, after, H', W']`."""
        out = self.shuffle(F.relu(self.g_conv_1x1_compress(x)))
        out = self.g_conv_1x1_expand(self.bn_after_depthwise(self.depthwise_conv3x3(out)))
        if not self.halves:
            return F.relu(x + out)
        averages = F.avg_pool2d(x, 3, stride=2, padding=1)  # Zeros of the padding count.
        return F.relu(torch.cat((averages, out), 1))


def _pointwise(before, after, groups):
    layers = nn.Sequential()
    layers.add_module("conv1x1", nn.Conv2d(before, after, 1, groups=groups))
    layers.add_module("batch_norm", nn.BatchNorm2d(after))
    return layers


def _draw(layer):
    """Start values; those of a batch norm are PyTorch's own, ones and zeros."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.001)
        nn.init.zeros_(layer.bias)
