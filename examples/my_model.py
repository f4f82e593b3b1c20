"""A network of one's own: a small ResNet with squeeze-and-excite.

    jaxeff train --model=examples/my_model.py:SEResNet --model_args=width=16

trains it on the bundled digits to their level and says what that took. Any Linen module will do
that has a field `num_classes` and takes images `[N, H, W, 3]` and `train`; `dtype` is optional.
Batch norm is over the global batch on any number of devices.
"""

import jax.numpy as jnp
from flax import linen as nn

# Where it is dated and linked in the report.
PUBLISHED = "2017-09-05"
URL = "https://arxiv.org/abs/1709.01507"


class SqueezeExcite(nn.Module):
    """Weighs channels by what the whole image shows (Hu et al. 2017)."""

    reduction: int = 4
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        """`[N, H, W, C]` to the same."""
        channels = x.shape[-1]
        weights = nn.Dense(channels // self.reduction, dtype=self.dtype)(x.mean((1, 2)))
        weights = nn.Dense(channels, dtype=self.dtype)(nn.relu(weights))
        return x * nn.sigmoid(weights)[:, None, None]


class SEResNet(nn.Module):
    """Three stages of residual blocks, each half as large and twice as wide as the last."""

    num_classes: int
    width: int = 16
    depth: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images, train: bool):
        """Normalised images `[N, H, W, 3]` to float32 logits `[N, num_classes]`."""

        def conv_norm(x, channels, kernel=3, stride=1):
            x = nn.Conv(channels, (kernel, kernel), stride, use_bias=False, dtype=self.dtype)(x)
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, dtype=self.dtype)(x)

        x = nn.relu(conv_norm(images, self.width, stride=2))
        for stage in range(3):
            channels = self.width * 2**stage
            for block in range(self.depth):
                stride = 2 if block == 0 else 1
                shortcut = conv_norm(x, channels, kernel=1, stride=stride) if stride == 2 else x
                x = nn.relu(conv_norm(x, channels, stride=stride))
                x = SqueezeExcite(dtype=self.dtype)(conv_norm(x, channels))
                x = nn.relu(x + shortcut)
        return nn.Dense(self.num_classes)(x.mean((1, 2))).astype(jnp.float32)
