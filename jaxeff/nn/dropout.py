"""Dropout whose mask belongs to the image, not to the device that computes it."""

import jax
import jax.numpy as jnp
from flax import linen as nn


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

    The next key of `layer`'s RNG stream `dropout`, folded with the image's position in the global
    batch: an image has the same key however the batch is split over devices.

    Args:
      layer: a bound module with a field `axis_name`, the `pmap` axis over which the batch is split,
        or None.
      count: images on this device.

    Returns:
      `[count]` keys.
    """
    positions = jnp.arange(count)
    if layer.axis_name is not None and not layer.is_initializing():
        positions += jax.lax.axis_index(layer.axis_name) * count
    stream = layer.make_rng("dropout")
    return jax.vmap(lambda position: jax.random.fold_in(stream, position))(positions)
