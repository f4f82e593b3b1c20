"""ShuffleNet v1 (Zhang et al. 2017, arXiv:1707.01083), as jaxony/ShuffleNet builds it.

Modules carry that implementation's names, so that a parameter's path here is its path there. Where
it departs from the article, this follows it: the stem has neither batch normalisation nor ReLU, and
the convolutions have biases. Its log-softmax at the end is left to the loss.

The article's other sizes are built from the same layers. One group has 576 channels at the end
(Table 1; jaxony has 567). The widths x0.5, x1.5 and x2.0 have the channels of the authors' own
code (megvii-model/ShuffleNet-Series), whose stem does not follow the factor. There is no such code
for x0.25: a stem of 12 channels gives the 13 million multiply-accumulates of Table 2, 6 give 11.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import (
    BatchNorm,
    Conv,
    Dense,
    average_pool,
    global_average_pool,
    initializers,
    max_pool,
)

STAGE_UNITS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """A bottleneck of grouped 1x1 convolutions around a depthwise one (Figure 2 b and c).

    With stride 1 the result is added to the input; with stride 2 it is concatenated to the input's
    3x3 averages.

    Attributes:
      features: output channels, with the shortcut's where it is concatenated.
      stride: 1 or 2.
      groups: of the shuffle and the second 1x1 convolution.
      first_groups: of the first 1x1 convolution.
      conv: makes a convolution.
      norm: makes a batch normalisation.
    """

    features: int
    stride: int
    groups: int
    first_groups: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, inputs):
        """Maps `[N, H, W, C]` to `[N, ceil(H / stride), ceil(W / stride), features]`."""
        bottleneck = self.features // 4
        expanded = self.features if self.stride == 1 else self.features - inputs.shape[-1]

        x = self.conv(bottleneck, 1, groups=self.first_groups, name="g_conv_1x1_compress.conv1x1")(
            inputs
        )
        x = nn.relu(self.norm(name="g_conv_1x1_compress.batch_norm")(x))
        x = channel_shuffle(x, self.groups)
        x = self.conv(bottleneck, 3, self.stride, 1, groups=bottleneck, name="depthwise_conv3x3")(x)
        x = self.norm(name="bn_after_depthwise")(x)
        x = self.conv(expanded, 1, groups=self.groups, name="g_conv_1x1_expand.conv1x1")(x)
        x = self.norm(name="g_conv_1x1_expand.batch_norm")(x)
        if self.stride == 1:
            return nn.relu(inputs + x)
        return nn.relu(jnp.concatenate([average_pool(inputs, 3, 2, 1), x], axis=-1))


def channel_shuffle(x, groups: int):
    """Deals the channels of `[N, H, W, C]` so that each group takes as many from every group.

    Channel `g * (C / groups) + i` becomes channel `i * groups + g`.
    """
    return x.reshape(*x.shape[:-1], groups, -1).swapaxes(-1, -2).reshape(x.shape)


class ShuffleNetV1(nn.Module):
    """Stem, three stages of units and a classifier.

    Attributes:
      groups: of the 1x1 convolutions, but for the first of stage 2, which is not grouped.
      stage_features: channels of the stem and of the three stages.
      num_classes: length of the logits.
      dtype: of the arithmetic.
      axis_name: the `pmap` axis that splits the batch, or None.
    """

    groups: int
    stage_features: tuple[int, int, int, int]
    num_classes: int = 1000
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, train: bool = False):
        """Maps normalised images `[N, H, W, 3]` to float32 logits `[N, num_classes]`."""
        conv = functools.partial(
            Conv,
            kernel_init=initializers.kaiming_normal_fan_out,
            bias_init=initializers.zero_bias,
            dtype=self.dtype,
        )

        def norm(**fields):
            layer = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, **fields)
            return functools.partial(layer, train=train)

        stem, *stages = self.stage_features
        x = conv(stem, 3, 2, 1, name="conv1")(images)
        x = max_pool(x, 3, 2, 1)
        for stage, (features, units) in enumerate(zip(stages, STAGE_UNITS, strict=True), start=2):
            for unit in range(units):
                x = ShuffleUnit(
                    features,
                    2 if unit == 0 else 1,
                    self.groups,
                    1 if (stage, unit) == (2, 0) else self.groups,
                    conv,
                    norm,
                    name=f"stage{stage}.ShuffleUnit_Stage{stage}_{unit}",
                )(x)
        x = global_average_pool(x)
        classifier = Dense(
            self.num_classes,
            kernel_init=nn.initializers.normal(0.001),
            bias_init=initializers.zero_bias,
            dtype=self.dtype,
            name="fc",
        )
        return classifier(x).astype(jnp.float32)


VARIANTS = {
    name: functools.partial(ShuffleNetV1, groups, stage_features)
    for name, (groups, stage_features) in {
        "shufflenet_v1": (3, (24, 240, 480, 960)),
        "shufflenet_v1_g1": (1, (24, 144, 288, 576)),
        "shufflenet_v1_g2": (2, (24, 200, 400, 800)),
        "shufflenet_v1_g4": (4, (24, 272, 544, 1088)),
        "shufflenet_v1_g8": (8, (24, 384, 768, 1536)),
        "shufflenet_v1_x0_25": (3, (12, 60, 120, 240)),
        "shufflenet_v1_x0_5": (3, (12, 120, 240, 480)),
        "shufflenet_v1_x1_5": (3, (24, 360, 720, 1440)),
        "shufflenet_v1_x2_0": (3, (48, 480, 960, 1920)),
    }.items()
}
