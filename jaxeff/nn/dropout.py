"""Dropout whose mask belongs to the image, not to the device that computes it."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class Dropout(nn.Module):
    """Zeroes each feature of `[N, ...]` with probability `rate` and scales the rest by 1/(1-rate).

    Srivastava et al. 2014. Draws from the RNG stream `dropout`. Each image's mask is drawn from a
    key of its own, the stream's key folded with the image's position in the global batch, so that
    splitting a batch over the devices of `axis_name` does not change the result.

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
        count = inputs.shape[0]
        positions = jnp.arange(count)
        if self.axis_name is not None and not self.is_initializing():
            positions += jax.lax.axis_index(self.axis_name) * count
        stream = self.make_rng("dropout")

        def keep(position):
            key = jax.random.fold_in(stream, position)
            return jax.random.bernoulli(key, 1 - self.rate, inputs.shape[1:])

        kept = jax.vmap(keep)(positions)
        return jnp.where(kept, inputs / (1 - self.rate), jnp.zeros_like(inputs))
