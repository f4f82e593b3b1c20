"""EfficientNet (Tan & Le 2019, arXiv:1905.11946), as torchvision builds it.

Modules carry torchvision's names (`features.2.0` / `block.0.0`), so that a parameter's path here is
its path there. Strided convolutions pad both sides alike, as torchvision's do; the authors' own
TensorFlow code pads the end more. The constants of batch normalisation are the authors', because
the runs that the paper counts were trained with them; `TORCHVISION_BATCH_NORM` has torchvision's.
"""

import functools
import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    StochasticDepth,
    global_average_pool,
    initializers,
)

STEM_FEATURES = 32
# Of B0 (Table 1): expand ratio, kernel size, stride of the first block, features, blocks.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# U(-1/sqrt(num_classes), 1/sqrt(num_classes)).
CLASSIFIER_INIT = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")


class MBConv(nn.Module):
    """Widens with a 1x1 convolution, filters depthwise, weighs the channels and narrows again.

    The shortcut is added where it fits: stride 1 and as many channels out as in.

    Attributes:
      expand_ratio: of the widened channels to the block's own; 1 leaves the first convolution out.
      kernel_size: of the depthwise convolution.
      stride: of the depthwise convolution.
      features: output channels.
      stochastic_depth_rate: probability of leaving an image to the shortcut alone.
      axis_name: the `pmap` axis that splits the batch, or None.
      conv: makes a convolution.
      norm: makes a batch normalisation.
    """

    expand_ratio: int
    kernel_size: int
    stride: int
    features: int
    stochastic_depth_rate: float
    axis_name: str | None
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, inputs, train: bool = False):
        """Maps `[N, H, W, C]` to `[N, ceil(H / stride), ceil(W / stride), features]`."""
        channels = inputs.shape[-1]
        expanded = channels * self.expand_ratio
        depthwise = int(self.expand_ratio != 1)  # Its position among the block's layers.

        x = inputs
        if self.expand_ratio != 1:
            x = self.conv(expanded, 1, name="block.0.0")(x)
            x = nn.silu(self.norm(name="block.0.1")(x))
        window = (self.kernel_size, self.stride, (self.kernel_size - 1) // 2)
        x = self.conv(expanded, *window, groups=expanded, name=f"block.{depthwise}.0")(x)
        x = nn.silu(self.norm(name=f"block.{depthwise}.1")(x))
        x = SqueezeExcitation(channels // 4, self.conv, name=f"block.{depthwise + 1}")(x)
        x = self.conv(self.features, 1, name=f"block.{depthwise + 2}.0")(x)
        x = self.norm(name=f"block.{depthwise + 2}.1")(x)
        if self.stride != 1 or channels != self.features:
            return x
        drop = StochasticDepth(self.stochastic_depth_rate, self.axis_name, name="stochastic_depth")
        return drop(x, train) + inputs


class SqueezeExcitation(nn.Module):
    """Scales each channel by a weight from the means of all (Hu et al. 2017, arXiv:1709.01507).

    Attributes:
      features: channels between the two 1x1 convolutions.
      conv: makes a convolution.
    """

    features: int
    conv: Any

    @nn.compact
    def __call__(self, x):
        """Maps `[N, H, W, C]` to the same shape."""
        conv = functools.partial(self.conv, use_bias=True)
        weights = global_average_pool(x)[:, None, None, :]
        weights = nn.silu(conv(self.features, 1, name="fc1")(weights))
        return nn.sigmoid(conv(x.shape[-1], 1, name="fc2")(weights)) * x


class EfficientNet(nn.Module):
    """Stem, seven stages of `MBConv`, a 1x1 convolution and a classifier.

    Attributes:
      width: factor on the channels of B0, which are then rounded to multiples of 8.
      depth: factor on the blocks of B0's stages, which are then rounded up.
      num_classes: length of the logits.
      dtype: of the arithmetic.
      axis_name: the `pmap` axis that splits the batch, or None.
      dropout_rate: before the classifier.
      stochastic_depth_rate: the slope of the rates of the blocks, which rise linearly from 0: block
        i of n has i / n of it.
      batch_norm_epsilon: added to the variance.
      batch_norm_decay: of the running statistics, 1 - PyTorch's `momentum`.
    """

    width: float
    depth: float
    num_classes: int = 1000
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None
    dropout_rate: float = 0.2
    stochastic_depth_rate: float = 0.2
    batch_norm_epsilon: float = 1e-3
    batch_norm_decay: float = 0.99

    @nn.compact
    def __call__(self, images, train: bool = False):
        """Maps normalised images `[N, H, W, 3]` to float32 logits `[N, num_classes]`."""
        conv = functools.partial(
            Conv,
            use_bias=False,
            kernel_init=initializers.kaiming_normal_fan_out,
            bias_init=initializers.zero_bias,
            dtype=self.dtype,
        )

        def norm(**fields):
            layer = BatchNorm(
                axis_name=self.axis_name,
                decay=self.batch_norm_decay,
                epsilon=self.batch_norm_epsilon,
                dtype=self.dtype,
                **fields,
            )
            return functools.partial(layer, train=train)

        blocks_of = [math.ceil(blocks * self.depth) for *_, blocks in STAGES]
        stem = _rounded(STEM_FEATURES * self.width)
        x = conv(stem, 3, 2, 1, name="features.0.0")(images)
        x = nn.silu(norm(name="features.0.1")(x))
        position = 0
        for stage, (expand_ratio, kernel_size, stride, features, _) in enumerate(STAGES, start=1):
            for block in range(blocks_of[stage - 1]):
                x = MBConv(
                    expand_ratio,
                    kernel_size,
                    stride if block == 0 else 1,
                    _rounded(features * self.width),
                    self.stochastic_depth_rate * position / sum(blocks_of),
                    self.axis_name,
                    conv,
                    norm,
                    name=f"features.{stage}.{block}",
                )(x, train)
                position += 1
        x = conv(4 * x.shape[-1], 1, name="features.8.0")(x)
        x = nn.silu(norm(name="features.8.1")(x))
        x = global_average_pool(x)
        x = Dropout(self.dropout_rate, self.axis_name, name="classifier.0")(x, train)
        classifier = Dense(
            self.num_classes,
            kernel_init=CLASSIFIER_INIT,
            bias_init=initializers.zero_bias,
            dtype=self.dtype,
            name="classifier.1",
        )
        return classifier(x).astype(jnp.float32)


def _rounded(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, but at least 8 and at least 90 % of them."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


VARIANTS = {
    name: functools.partial(EfficientNet, width, depth, dropout_rate=dropout_rate)
    for name, (width, depth, dropout_rate) in {
        "efficientnet_b0": (1.0, 1.0, 0.2),
        "efficientnet_b1": (1.0, 1.1, 0.2),
        "efficientnet_b2": (1.1, 1.2, 0.3),
        "efficientnet_b3": (1.2, 1.4, 0.3),
        "efficientnet_b4": (1.4, 1.8, 0.4),
        "efficientnet_b5": (1.6, 2.2, 0.4),
        "efficientnet_b6": (1.8, 2.6, 0.5),
        "efficientnet_b7": (2.0, 3.1, 0.5),
    }.items()
}

# The fields with which a variant is torchvision's, so that its published weights compute here what
# they compute there: `models.create(name, **TORCHVISION_BATCH_NORM[name])`.
TORCHVISION_BATCH_NORM = {
    name: {"batch_norm_epsilon": epsilon, "batch_norm_decay": decay}
    for sizes, epsilon, decay in (("01234", 1e-5, 0.9), ("567", 1e-3, 0.99))
    for name in (f"efficientnet_b{size}" for size in sizes)
}
