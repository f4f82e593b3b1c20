"""ShuffleNet V2 (Ma et al. 2018, arXiv:1807.11164), as torchvision builds it.

Modules carry torchvision's names (`stage2.0` / `branch1.0`), so that a parameter's path here is
its path there.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import BatchNorm, Conv, Dense, global_average_pool, max_pool

STAGE_UNITS = (4, 8, 4)


class Unit(nn.Module):
    """Splits the channels in two, transforms one half and shuffles (Figure 3 c and d).

    A unit with stride 2 transforms all channels in both branches and halves the image.
    """

    features: int
    stride: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x):
        """Maps `[N, H, W, C]` to `[N, H / stride, W / stride, features]`."""
        half = self.features // 2
        if self.stride == 1:
            shortcut, residual = jnp.split(x, 2, axis=-1)
        else:
            shortcut = self.conv(x.shape[-1], 3, 2, 1, groups=x.shape[-1], name="branch1.0")(x)
            shortcut = self.norm(name="branch1.1")(shortcut)
            shortcut = self.conv(half, 1, name="branch1.2")(shortcut)
            shortcut = nn.relu(self.norm(name="branch1.3")(shortcut))
            residual = x
        residual = self.conv(half, 1, name="branch2.0")(residual)
        residual = nn.relu(self.norm(name="branch2.1")(residual))
        residual = self.conv(half, 3, self.stride, 1, groups=half, name="branch2.3")(residual)
        residual = self.norm(name="branch2.4")(residual)
        residual = self.conv(half, 1, name="branch2.5")(residual)
        residual = nn.relu(self.norm(name="branch2.6")(residual))
        return _interleave(shortcut, residual)


def _interleave(left, right):
    """Channel shuffle with two groups: left 0, right 0, left 1, right 1, …"""
    return jnp.stack([left, right], axis=-1).reshape(*left.shape[:-1], -1)


class ShuffleNetV2(nn.Module):
    """Stem, three stages of units, a 1x1 convolution and a classifier.

    Attributes:
      stage_features: channels of the stem, the three stages and the last convolution.
      num_classes: length of the logits.
      dtype: of the arithmetic.
      axis_name: the `pmap` axis that splits the batch, or None.
    """

    stage_features: tuple[int, int, int, int, int]
    num_classes: int = 1000
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, train: bool = False):
        """Maps normalised images `[N, H, W, 3]` to float32 logits `[N, num_classes]`."""
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype)

        def norm(**fields):
            layer = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, **fields)
            return functools.partial(layer, train=train)

        stem, *stages, last = self.stage_features
        x = conv(stem, 3, 2, 1, name="conv1.0")(images)
        x = nn.relu(norm(name="conv1.1")(x))
        x = max_pool(x, 3, 2, 1)
        for stage, (features, units) in enumerate(zip(stages, STAGE_UNITS, strict=True), start=2):
            for unit in range(units):
                stride = 2 if unit == 0 else 1
                x = Unit(features, stride, conv, norm, name=f"stage{stage}.{unit}")(x)
        x = conv(last, 1, name="conv5.0")(x)
        x = nn.relu(norm(name="conv5.1")(x))
        x = global_average_pool(x)
        return Dense(self.num_classes, dtype=self.dtype, name="fc")(x).astype(jnp.float32)


VARIANTS = {
    name: functools.partial(ShuffleNetV2, stage_features)
    for name, stage_features in {
        "shufflenet_v2_x0_5": (24, 48, 96, 192, 1024),
        "shufflenet_v2": (24, 116, 232, 464, 1024),
        "shufflenet_v2_x1_5": (24, 176, 352, 704, 1024),
        "shufflenet_v2_x2_0": (24, 244, 488, 976, 2048),
    }.items()
}
