"""VGG (Simonyan and Zisserman 2014, arXiv:1409.1556), as torchvision builds it.

The variants with `_bn` have a batch norm (arXiv:1502.03167) after each convolution. Modules carry
torchvision's names (`features.0`), so that a parameter's path here is its path there.
"""

import functools

import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import BatchNorm, Conv, Dense, Dropout, adaptive_average_pool, initializers, max_pool

STAGE_FEATURES = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each ending in max pooling, and three connected layers.

    Attributes:
      stage_sizes: number of convolutions in each stage.
      batch_norm: whether a batch norm follows each convolution (which keeps its bias).
      num_classes: length of the logits.
      dtype: of the arithmetic.
      axis_name: the `pmap` axis that splits the batch, or None.
      dropout_rate: after each of the first two fully connected layers.
    """

    stage_sizes: tuple[int, ...]
    batch_norm: bool = False
    num_classes: int = 1000
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None
    dropout_rate: float = 0.5

    @nn.compact
    def __call__(self, images, train: bool = False):
        """Maps normalised images `[N, H, W, 3]`, 32 px or more, to float32 logits."""
        conv = functools.partial(
            Conv,
            kernel_init=initializers.kaiming_normal_fan_out,
            bias_init=initializers.zero_bias,
            dtype=self.dtype,
        )
        dense = functools.partial(
            Dense,
            kernel_init=nn.initializers.normal(0.01),
            bias_init=initializers.zero_bias,
            dtype=self.dtype,
        )
        norm = functools.partial(BatchNorm, axis_name=self.axis_name, dtype=self.dtype)
        dropout = functools.partial(Dropout, self.dropout_rate, self.axis_name)

        x = images
        layer = 0  # PyTorch's number, which counts batch norm, ReLU and pooling too.
        for convolutions, features in zip(self.stage_sizes, STAGE_FEATURES, strict=True):
            for _ in range(convolutions):
                x = conv(features, 3, 1, 1, name=f"features.{layer}")(x)
                if self.batch_norm:
                    layer += 1
                    x = norm(name=f"features.{layer}")(x, train)
                x = nn.relu(x)
                layer += 2
            x = max_pool(x, 2, 2)
            layer += 1
        x = adaptive_average_pool(x, 7)
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)  # PyTorch's order: channels first.
        x = nn.relu(dense(4096, name="classifier.0")(x))
        x = dropout(name="classifier.2")(x, train)
        x = nn.relu(dense(4096, name="classifier.3")(x))
        x = dropout(name="classifier.5")(x, train)
        return dense(self.num_classes, name="classifier.6")(x).astype(jnp.float32)


VARIANTS = {
    name + suffix: functools.partial(VGG, stage_sizes, batch_norm)
    for name, stage_sizes in {
        "vgg11": (1, 1, 2, 2, 2),
        "vgg13": (2, 2, 2, 2, 2),
        "vgg16": (2, 2, 3, 3, 3),
        "vgg19": (2, 2, 4, 4, 4),
    }.items()
    for suffix, batch_norm in (("", False), ("_bn", True))
}
