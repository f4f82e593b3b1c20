"""AlexNet (Krizhevsky 2014, arXiv:1404.5997, "one weird trick"), as torchvision builds it.

This is the single-column network that the paper re-trained for its 79.1 % top-5 baseline. Modules
carry torchvision's names.
"""

import functools

import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import Conv, Dense, Dropout, adaptive_average_pool, max_pool


class AlexNet(nn.Module):
    """Five convolutions and three fully connected layers.

    Attributes:
      num_classes: length of the logits.
      dtype: of the arithmetic.
      axis_name: the `pmap` axis that splits the batch, or None.
      dropout_rate: before each of the first two fully connected layers.
    """

    num_classes: int = 1000
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None
    dropout_rate: float = 0.5

    @nn.compact
    def __call__(self, images, train: bool = False):
        """Maps normalised images `[N, H, W, 3]`, 63 px or more, to float32 logits."""
        conv = functools.partial(Conv, dtype=self.dtype)
        dense = functools.partial(Dense, dtype=self.dtype)
        dropout = functools.partial(Dropout, self.dropout_rate, self.axis_name)

        x = nn.relu(conv(64, 11, 4, 2, name="features.0")(images))
        x = max_pool(x, 3, 2)
        x = nn.relu(conv(192, 5, 1, 2, name="features.3")(x))
        x = max_pool(x, 3, 2)
        x = nn.relu(conv(384, 3, 1, 1, name="features.6")(x))
        x = nn.relu(conv(256, 3, 1, 1, name="features.8")(x))
        x = nn.relu(conv(256, 3, 1, 1, name="features.10")(x))
        x = max_pool(x, 3, 2)
        x = adaptive_average_pool(x, 6)
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)  # PyTorch's order: channels first.
        x = dropout(name="classifier.0")(x, train)
        x = nn.relu(dense(4096, name="classifier.1")(x))
        x = dropout(name="classifier.3")(x, train)
        x = nn.relu(dense(4096, name="classifier.4")(x))
        return dense(self.num_classes, name="classifier.6")(x).astype(jnp.float32)


VARIANTS = {"alexnet": AlexNet}
