"""DenseNet-BC (Huang et al. 2017, arXiv:1608.06993), as torchvision builds it.

Modules carry torchvision's names (`features.denseblock1.denselayer1` / `conv1`), so that a
parameter's path here is its path there.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    average_pool,
    global_average_pool,
    initializers,
    max_pool,
)

BOTTLENECK = 4  # Channels between a layer's two convolutions, as a multiple of the growth rate.


class DenseLayer(nn.Module):
    """Adds `growth_rate` channels, computed from all that came before in the block.

    Batch norm and ReLU come before each of the two convolutions.
    """

    growth_rate: int
    conv: Any
    norm: Any
    dropout: Any

    @nn.compact
    def __call__(self, x):
        """Maps `[N, H, W, C]` to `[N, H, W, C + growth_rate]`."""
        new = nn.relu(self.norm(name="norm1")(x))
        new = self.conv(BOTTLENECK * self.growth_rate, 1, name="conv1")(new)
        new = nn.relu(self.norm(name="norm2")(new))
        new = self.conv(self.growth_rate, 3, 1, 1, name="conv2")(new)
        return jnp.concatenate([x, self.dropout(name="dropout")(new)], axis=-1)


class Transition(nn.Module):
    """Halves the channels and the image between two blocks."""

    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x):
        """Maps `[N, H, W, C]` to `[N, H / 2, W / 2, C / 2]`."""
        x = nn.relu(self.norm(name="norm")(x))
        x = self.conv(x.shape[-1] // 2, 1, name="conv")(x)
        return average_pool(x, 2, 2)


class DenseNet(nn.Module):
    """Stem, four dense blocks with transitions between them, and a classifier.

    Attributes:
      block_layers: layers of each block.
      growth_rate: channels that each layer adds, the paper's k.
      stem_features: channels of the first convolution.
      num_classes: length of the logits.
      dtype: of the arithmetic.
      axis_name: the `pmap` axis that splits the batch, or None.
      dropout_rate: on what each layer adds; torchvision's and the measurements' is 0.
    """

    block_layers: tuple[int, int, int, int]
    growth_rate: int = 32
    stem_features: int = 64
    num_classes: int = 1000
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None
    dropout_rate: float = 0.0

    @nn.compact
    def __call__(self, images, train: bool = False):
        """Maps normalised images `[N, H, W, 3]`, 29 px or more, to float32 logits."""
        conv = functools.partial(
            Conv, use_bias=False, kernel_init=initializers.kaiming_normal_fan_in, dtype=self.dtype
        )

        def norm(**fields):
            layer = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, **fields)
            return functools.partial(layer, train=train)

        def dropout(**fields):
            layer = Dropout(self.dropout_rate, self.axis_name, **fields)
            return functools.partial(layer, train=train)

        x = conv(self.stem_features, 7, 2, 3, name="features.conv0")(images)
        x = nn.relu(norm(name="features.norm0")(x))
        x = max_pool(x, 3, 2, 1)
        for block, layers in enumerate(self.block_layers, start=1):
            if block > 1:
                x = Transition(conv, norm, name=f"features.transition{block - 1}")(x)
            for layer in range(1, layers + 1):
                name = f"features.denseblock{block}.denselayer{layer}"
                x = DenseLayer(self.growth_rate, conv, norm, dropout, name=name)(x)
        x = nn.relu(norm(name="features.norm5")(x))
        x = global_average_pool(x)
        dense = Dense(
            self.num_classes,
            bias_init=initializers.zero_bias,
            dtype=self.dtype,
            name="classifier",
        )
        return dense(x).astype(jnp.float32)


VARIANTS = {
    name: functools.partial(DenseNet, block_layers)
    for name, block_layers in {
        "densenet121": (6, 12, 24, 16),
        "densenet169": (6, 12, 32, 32),
        "densenet201": (6, 12, 48, 32),
    }.items()
}
