"""ResNet (He et al. 2015, arXiv:1512.03385) and its relatives, as torchvision builds them.

ResNeXt (Xie et al. 2016, arXiv:1611.05431) groups the middle convolution, Wide ResNet (Zagoruyko
and Komodakis 2016, arXiv:1605.07146) doubles its channels. Modules carry torchvision's names
(`layer1.0` / `conv1`), so that a parameter's path here is its path there.
"""

import functools
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import BatchNorm, Conv, Dense, global_average_pool, initializers, max_pool


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside the identity (Figure 5, left).

    Attributes:
      features: channels of the convolutions and of the result.
      stride: of the first convolution.
      conv: a convolution layer without bias.
      norm: takes a name and returns a batch norm.
    """

    expansion: ClassVar[int] = 1

    features: int
    stride: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x):
        """Maps `[N, H, W, C]` to `[N, H / stride, W / stride, features]`."""
        residual = self.conv(self.features, 3, self.stride, 1, name="conv1")(x)
        residual = nn.relu(self.norm(name="bn1")(residual))
        residual = self.conv(self.features, 3, 1, 1, name="conv2")(residual)
        residual = self.norm(name="bn2")(residual)
        return nn.relu(residual + _shortcut(self, x))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 convolutions, beside the identity (Figure 5, right).

    The stride is that of the 3x3 convolution, as in torchvision ("ResNet v1.5"); the paper has it
    in the first 1x1.

    Attributes:
      features: a quarter of the result's channels.
      stride: of the 3x3 convolution.
      conv: a convolution layer without bias.
      norm: takes a name and returns a batch norm.
      groups: of the 3x3 convolution (ResNeXt's cardinality).
      width_per_group: channels of a group where `features` is 64; proportional to it elsewhere.
    """

    expansion: ClassVar[int] = 4

    features: int
    stride: int
    conv: Any
    norm: Any
    groups: int = 1
    width_per_group: int = 64

    @nn.compact
    def __call__(self, x):
        """Maps `[N, H, W, C]` to `[N, H / stride, W / stride, 4 * features]`."""
        width = self.features * self.width_per_group // 64 * self.groups
        residual = self.conv(width, 1, name="conv1")(x)
        residual = nn.relu(self.norm(name="bn1")(residual))
        residual = self.conv(width, 3, self.stride, 1, groups=self.groups, name="conv2")(residual)
        residual = nn.relu(self.norm(name="bn2")(residual))
        residual = self.conv(self.expansion * self.features, 1, name="conv3")(residual)
        residual = self.norm(name="bn3")(residual)
        return nn.relu(residual + _shortcut(self, x))


def _shortcut(block, x):
    """The identity, or a 1x1 convolution with batch norm where `block` changes the shape of `x`."""
    features = block.expansion * block.features
    if block.stride == 1 and x.shape[-1] == features:
        return x
    x = block.conv(features, 1, block.stride, name="downsample.0")(x)
    return block.norm(name="downsample.1")(x)


class ResNet(nn.Module):
    """Stem, four stages of residual blocks and a classifier.

    Attributes:
      stage_sizes: number of blocks in each stage.
      block: `BasicBlock` or `Bottleneck`, configured but for features, stride and layers.
      stage_features: the blocks' `features` in each stage; the first is also the stem's channels.
      num_classes: length of the logits.
      dtype: of the arithmetic.
      axis_name: the `pmap` axis that splits the batch, or None.
    """

    stage_sizes: tuple[int, ...]
    block: Any
    stage_features: tuple[int, ...] = (64, 128, 256, 512)
    num_classes: int = 1000
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, train: bool = False):
        """Maps normalised images `[N, H, W, 3]` to float32 logits `[N, num_classes]`."""
        conv = functools.partial(
            Conv, use_bias=False, kernel_init=initializers.kaiming_normal_fan_out, dtype=self.dtype
        )

        def norm(**fields):
            layer = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, **fields)
            return functools.partial(layer, train=train)

        x = conv(self.stage_features[0], 7, 2, 3, name="conv1")(images)
        x = nn.relu(norm(name="bn1")(x))
        x = max_pool(x, 3, 2, 1)
        stages = zip(self.stage_sizes, self.stage_features, strict=True)
        for stage, (blocks, features) in enumerate(stages, start=1):
            for index in range(blocks):
                stride = 2 if stage > 1 and index == 0 else 1
                name = f"layer{stage}.{index}"
                x = self.block(features, stride, conv, norm, name=name)(x)
        x = global_average_pool(x)
        return Dense(self.num_classes, dtype=self.dtype, name="fc")(x).astype(jnp.float32)


def scaled_down_resnet50(steps: int, **fields) -> ResNet:
    """ResNet-50 with EfficientNet's compound scaling (arXiv:1905.11946) taken out `steps` times.

    The ablation of Hernandez and Brown (arXiv:2005.04305): a step is 1.4 times less depth, 1.2
    times less width and 1.3 times lower resolution. They do not print the network that came of it;
    here the blocks of each stage are divided by 1.4^steps and rounded to the nearest number, at
    least 1, and the channels of each stage are divided by 1.2^steps and rounded to the nearest
    multiple of 8. The stem follows the first stage, and the blocks stay bottlenecks that expand
    fourfold.

    The resolution belongs to the run, not to the network: train two steps at 133 px (224 / 1.3^2).

    Args:
      steps: how often to scale down; 0 is ResNet-50.
      **fields: of `ResNet`.
    """
    stage_sizes = tuple(max(1, round(blocks / 1.4**steps)) for blocks in (3, 4, 6, 3))
    stage_features = tuple(8 * round(features / 1.2**steps / 8) for features in (64, 128, 256, 512))
    return ResNet(stage_sizes, Bottleneck, stage_features, **fields)


VARIANTS = {
    "resnet18": functools.partial(ResNet, (2, 2, 2, 2), BasicBlock),
    "resnet34": functools.partial(ResNet, (3, 4, 6, 3), BasicBlock),
    "resnet50": functools.partial(ResNet, (3, 4, 6, 3), Bottleneck),
    "resnet101": functools.partial(ResNet, (3, 4, 23, 3), Bottleneck),
    "resnet152": functools.partial(ResNet, (3, 8, 36, 3), Bottleneck),
    "resnext50_32x4d": functools.partial(
        ResNet, (3, 4, 6, 3), functools.partial(Bottleneck, groups=32, width_per_group=4)
    ),
    "wide_resnet50_2": functools.partial(
        ResNet, (3, 4, 6, 3), functools.partial(Bottleneck, width_per_group=128)
    ),
    "resnet50_scaled_down": functools.partial(scaled_down_resnet50, 2),
}
