"""Dropout whose mask belongs to the image, not to the device that computes it."""

import jax
import jax.numpy as jnp
from flax import linen as nn

EXAMPLES_STREAM = "examples"
"""RNG stream whose key is the same on every device; where it is given, masks come from it."""


class Dropout(nn.Module):
    """Zeroes each feature of `[N, ...]` with probability `rate` and scales the rest by 1/(1-rate).

    Srivastava et al. 2014. Draws from the RNG stream `dropout`, each image's mask from the image's
    own key (`image_keys`), so that splitting a batch over the devices of `axis_name` does not
    change the result.

    Attributes:
      rate: probability of zeroing, in [0, 1).
      axis_name: the `pmap` axis over which the batch is split, or None.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, inputs, train: bool = False):
        """Applies dropout to `inputs` `[N, ...]` when `train`, else returns them."""
        if not train or self.rate == 0.0:
            return inputs

        def keep(key):
            return jax.random.bernoulli(key, 1 - self.rate, inputs.shape[1:])

        kept = jax.vmap(keep)(image_keys(self, inputs.shape[0]))
        return jnp.where(kept, inputs / (1 - self.rate), jnp.zeros_like(inputs))


def image_keys(layer: nn.Module, count: int) -> jax.Array:
    """A key for each image of this device's part of the batch.

    The next key of `layer`'s RNG stream `examples`, or else `dropout`, folded with the image's
    position in the global batch: an image has the same key however the batch is split over devices.

    Args:
      layer: a bound module with a field `axis_name`, the `pmap` axis over which the batch is split,
        or None.
      count: images on this device.

    Returns:
      `[count]` keys.
    """
    has_stream = layer.has_rng(EXAMPLES_STREAM)
    key = layer.make_rng(EXAMPLES_STREAM if has_stream else "dropout")
    return example_keys(key, count, None if layer.is_initializing() else layer.axis_name)


def example_keys(key: jax.Array, count: int, axis_name: str | None) -> jax.Array:
    """`key` folded with the place of each of this device's `count` examples in the global batch.

    Args:
      key: the same on every device.
      count: examples on this device.
      axis_name: the `pmap` axis over which the batch is split, or None.

    Returns:
      `[count]` keys.
    """
    positions = jnp.arange(count)
    if axis_name is not None:
        positions += jax.lax.axis_index(axis_name) * count
    return jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)
