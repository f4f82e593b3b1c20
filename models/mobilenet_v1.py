"""MobileNet (Howard et al. 2017, arXiv:1704.04861), as marvis/pytorch-mobilenet builds it.

This is the implementation that the paper trained. Modules carry its names (`model.1.0`), so that a
parameter's path here is its path there. It averages over 7x7 pixels, the whole image at 224 px;
here it is the whole image at every size.
"""

import functools

import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn import BatchNorm, Conv, Dense, global_average_pool

STEM_FEATURES = 32
# Channels and stride of each depthwise separable block (Table 1).
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


class MobileNetV1(nn.Module):
    """A convolution, thirteen depthwise separable blocks and a classifier.

    Attributes:
      width: factor on the channels of every layer, the paper's α; products are rounded down.
      num_classes: length of the logits.
      dtype: of the arithmetic.
      axis_name: the `pmap` axis that splits the batch, or None.
    """

    width: float = 1.0
    num_classes: int = 1000
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, train: bool = False):
        """Maps normalised images `[N, H, W, 3]` to float32 logits `[N, num_classes]`."""

        def conv(x, index, *window, groups=1):
            """The convolution `model.index`, with the batch norm and the ReLU that follow it."""
            block, layer = index
            fields = {"use_bias": False, "groups": groups, "dtype": self.dtype}
            x = Conv(*window, **fields, name=f"model.{block}.{layer}")(x)
            norm = BatchNorm(
                axis_name=self.axis_name, dtype=self.dtype, name=f"model.{block}.{layer + 1}"
            )
            return nn.relu(norm(x, train))

        x = conv(images, (0, 0), int(self.width * STEM_FEATURES), 3, 2, 1)
        for block, (features, stride) in enumerate(BLOCKS, start=1):
            channels = x.shape[-1]
            x = conv(x, (block, 0), channels, 3, stride, 1, groups=channels)
            x = conv(x, (block, 3), int(self.width * features), 1)
        x = global_average_pool(x)
        return Dense(self.num_classes, dtype=self.dtype, name="fc")(x).astype(jnp.float32)


VARIANTS = {
    name: functools.partial(MobileNetV1, width)
    for name, width in {
        "mobilenet_v1": 1.0,
        "mobilenet_v1_x0_75": 0.75,
        "mobilenet_v1_x0_5": 0.5,
        "mobilenet_v1_x0_25": 0.25,
    }.items()
}
