"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), as torchvision builds it.

Modules carry torchvision's names (`features.2` / `conv.0.0`), so that a parameter's path here is
its path there.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import BatchNorm, Conv, Dense, Dropout, global_average_pool, initializers

# Table 2: expansion, output channels, blocks and the first block's stride of each stage.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Widens by a 1x1, filters each channel 3x3, narrows by a 1x1 (Figure 4 d).

    Without the first where `expansion` is 1; beside the identity where the shape does not change.

    Attributes:
      features: channels of the result.
      stride: of the 3x3 convolution.
      expansion: channels of the 3x3 convolution for each of the input.
      conv: a convolution layer without bias.
      norm: takes a name and returns a batch norm.
    """

    features: int
    stride: int
    expansion: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x):
        """Maps `[N, H, W, C]` to `[N, H / stride, W / stride, features]`."""
        hidden = self.expansion * x.shape[-1]
        layer = 0  # PyTorch's number, which starts at the first convolution that is there.
        residual = x
        if self.expansion != 1:
            residual = self.conv(hidden, 1, name="conv.0.0")(residual)
            residual = nn.relu6(self.norm(name="conv.0.1")(residual))
            layer = 1
        residual = self.conv(hidden, 3, self.stride, 1, groups=hidden, name=f"conv.{layer}.0")(
            residual
        )
        residual = nn.relu6(self.norm(name=f"conv.{layer}.1")(residual))
        residual = self.conv(self.features, 1, name=f"conv.{layer + 1}")(residual)
        residual = self.norm(name=f"conv.{layer + 2}")(residual)
        if self.stride == 1 and x.shape[-1] == self.features:
            return x + residual
        return residual


class MobileNetV2(nn.Module):
    """Stem, seven stages of inverted residuals, a 1x1 convolution and a classifier.

    Attributes:
      num_classes: length of the logits.
      dtype: of the arithmetic.
      axis_name: the `pmap` axis that splits the batch, or None.
      dropout_rate: before the classifier.
    """

    num_classes: int = 1000
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None
    dropout_rate: float = 0.2

    @nn.compact
    def __call__(self, images, train: bool = False):
        """Maps normalised images `[N, H, W, 3]` to float32 logits `[N, num_classes]`."""
        conv = functools.partial(
            Conv, use_bias=False, kernel_init=initializers.kaiming_normal_fan_out, dtype=self.dtype
        )

        def norm(**fields):
            layer = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, **fields)
            return functools.partial(layer, train=train)

        x = conv(32, 3, 2, 1, name="features.0.0")(images)
        x = nn.relu6(norm(name="features.0.1")(x))
        layer = 1
        for expansion, features, blocks, first_stride in STAGES:
            for index in range(blocks):
                stride = first_stride if index == 0 else 1
                name = f"features.{layer}"
                x = InvertedResidual(features, stride, expansion, conv, norm, name=name)(x)
                layer += 1
        x = conv(1280, 1, name=f"features.{layer}.0")(x)
        x = nn.relu6(norm(name=f"features.{layer}.1")(x))
        x = global_average_pool(x)
        x = Dropout(self.dropout_rate, self.axis_name, name="classifier.0")(x, train)
        dense = Dense(
            self.num_classes,
            kernel_init=nn.initializers.normal(0.01),
            bias_init=initializers.zero_bias,
            dtype=self.dtype,
            name="classifier.1",
        )
        return dense(x).astype(jnp.float32)


VARIANTS = {"mobilenet_v2": MobileNetV2}
