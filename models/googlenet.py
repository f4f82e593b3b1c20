"""GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842), as torchvision builds it: with batch norm.

Modules carry torchvision's names (`inception3a` / `branch2.0` / `conv`). What the paper calls the
5x5 branch has a 3x3 window in torchvision, a mistake that its weights and the measured numbers
depend on.
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
    adaptive_average_pool,
    global_average_pool,
    max_pool,
)

# torchvision truncates at ±2, which is 200 deviations.
kernel_init = nn.initializers.normal(0.01)


class BasicConv(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    conv: Any
    norm: Any
    features: int
    kernel_size: int
    strides: int = 1
    padding: int = 0

    @nn.compact
    def __call__(self, x):
        """Maps `[N, H, W, C]` to `[N, H', W', features]`."""
        window = (self.kernel_size, self.strides, self.padding)
        x = self.conv(self.features, *window, name="conv")(x)
        return nn.relu(self.norm(name="bn")(x))


class Inception(nn.Module):
    """Four branches side by side (Figure 2b).

    Attributes:
      features1: channels of the 1x1 branch.
      reduce2: channels in front of the second branch's 3x3 convolution.
      features2: channels of that branch.
      reduce3: channels in front of the third branch's 3x3 convolution, 5x5 in the paper.
      features3: channels of that branch.
      features4: channels of the pooling branch.
      conv: makes a `BasicConv`.
    """

    features1: int
    reduce2: int
    features2: int
    reduce3: int
    features3: int
    features4: int
    conv: Any

    @nn.compact
    def __call__(self, x):
        """Maps `[N, H, W, C]` to `[N, H, W, F]`, `F` the sum of the branches' channels."""
        branch1 = self.conv(self.features1, 1, name="branch1")(x)
        branch2 = self.conv(self.reduce2, 1, name="branch2.0")(x)
        branch2 = self.conv(self.features2, 3, 1, 1, name="branch2.1")(branch2)
        branch3 = self.conv(self.reduce3, 1, name="branch3.0")(x)
        branch3 = self.conv(self.features3, 3, 1, 1, name="branch3.1")(branch3)
        branch4 = self.conv(self.features4, 1, name="branch4.1")(max_pool(x, 3, 1, 1))
        return jnp.concatenate([branch1, branch2, branch3, branch4], axis=-1)


class AuxiliaryHead(nn.Module):
    """A small classifier on an inner layer, for training only."""

    num_classes: int
    dropout: Any
    conv: Any
    dense: Any

    @nn.compact
    def __call__(self, x):
        """Maps `[N, H, W, C]` to float32 logits `[N, num_classes]`."""
        x = self.conv(128, 1, name="conv")(adaptive_average_pool(x, 4))
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)  # PyTorch's order: channels first.
        x = nn.relu(self.dense(1024, name="fc1")(x))
        x = self.dropout(name="dropout")(x)
        return self.dense(self.num_classes, name="fc2")(x).astype(jnp.float32)


class GoogLeNet(nn.Module):
    """Stem, nine inception modules and a classifier.

    With `aux_heads`, a training pass also puts the logits of two auxiliary classifiers into the
    collection `auxiliary`, where the caller makes it mutable. The paper adds their losses to the
    network's, 0.3 times each.

    Attributes:
      num_classes: length of the logits.
      dtype: of the arithmetic.
      axis_name: the `pmap` axis that splits the batch, or None.
      dropout_rate: before the classifier.
      aux_heads: adds the auxiliary classifiers.
      aux_dropout_rate: in the auxiliary classifiers.
      transform_input: takes images normalised like ours to (pixel / 255 - 0.5) / 0.5 first, as the
        published weights need.
    """

    num_classes: int = 1000
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None
    dropout_rate: float = 0.2
    aux_heads: bool = False
    aux_dropout_rate: float = 0.7
    transform_input: bool = False

    @nn.compact
    def __call__(self, images, train: bool = False):
        """Maps normalised images `[N, H, W, 3]`, 15 px or more, to float32 logits."""
        plain = functools.partial(Conv, use_bias=False, kernel_init=kernel_init, dtype=self.dtype)

        def norm(**fields):
            layer = BatchNorm(self.axis_name, epsilon=1e-3, dtype=self.dtype, **fields)
            return functools.partial(layer, train=train)

        conv = functools.partial(BasicConv, plain, norm)
        dense = functools.partial(Dense, kernel_init=kernel_init, dtype=self.dtype)
        inception = functools.partial(Inception, conv=conv)

        def dropout(rate, **fields):
            return functools.partial(Dropout(rate, self.axis_name, **fields), train=train)

        def auxiliary(x, name):
            if self.aux_heads and (train or self.is_initializing()):
                aux_dropout = functools.partial(dropout, self.aux_dropout_rate)
                logits = AuxiliaryHead(self.num_classes, aux_dropout, conv, dense, name=name)(x)
                if not self.is_initializing():
                    self.sow("auxiliary", "logits", logits)

        x = _half_normalised(images) if self.transform_input else images
        x = conv(64, 7, 2, 3, name="conv1")(x)
        x = max_pool(x, 3, 2, ceil_mode=True)
        x = conv(64, 1, name="conv2")(x)
        x = conv(192, 3, 1, 1, name="conv3")(x)
        x = max_pool(x, 3, 2, ceil_mode=True)
        x = inception(64, 96, 128, 16, 32, 32, name="inception3a")(x)
        x = inception(128, 128, 192, 32, 96, 64, name="inception3b")(x)
        x = max_pool(x, 3, 2, ceil_mode=True)
        x = inception(192, 96, 208, 16, 48, 64, name="inception4a")(x)
        auxiliary(x, "aux1")
        x = inception(160, 112, 224, 24, 64, 64, name="inception4b")(x)
        x = inception(128, 128, 256, 24, 64, 64, name="inception4c")(x)
        x = inception(112, 144, 288, 32, 64, 64, name="inception4d")(x)
        auxiliary(x, "aux2")
        x = inception(256, 160, 320, 32, 128, 128, name="inception4e")(x)
        x = max_pool(x, 2, 2, ceil_mode=True)
        x = inception(256, 160, 320, 32, 128, 128, name="inception5a")(x)
        x = inception(384, 192, 384, 48, 128, 128, name="inception5b")(x)
        x = dropout(self.dropout_rate, name="dropout")(global_average_pool(x))
        return dense(self.num_classes, name="fc")(x).astype(jnp.float32)


def _half_normalised(images):
    """From ImageNet's mean and deviation per channel to 0.5 and 0.5."""
    mean, std = jnp.array([0.485, 0.456, 0.406]), jnp.array([0.229, 0.224, 0.225])
    return images * (std / 0.5) + (mean - 0.5) / 0.5


VARIANTS = {"googlenet": GoogLeNet}
