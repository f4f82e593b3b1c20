"""Stochastic depth whose choice belongs to the image, not to the device that computes it."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxeff.nn.dropout import image_keys


class StochasticDepth(nn.Module):
    """Zeroes whole images of `[N, ...]` with probability `rate`, scales the rest by 1/(1-rate).

    Huang et al. 2016 (arXiv:1603.09382), applied to a residual branch before the shortcut is added:
    torchvision's `StochasticDepth` in its mode `row`. Draws from the RNG stream `dropout`, each
    image's choice from the image's own key (`image_keys`), so that splitting a batch over the
    devices of `axis_name` does not change the result.

    Attributes:
      rate: probability of zeroing, in [0, 1).
      axis_name: the `pmap` axis over which the batch is split, or None.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, inputs, train: bool = False):
        """Applies stochastic depth to `inputs` `[N, ...]` when `train`, else returns them."""
        if not train or self.rate == 0.0:
            return inputs

        def keep(key):
            return jax.random.bernoulli(key, 1 - self.rate)

        kept = jax.vmap(keep)(image_keys(self, inputs.shape[0]))
        kept = kept.reshape(-1, *(1,) * (inputs.ndim - 1))
        return jnp.where(kept, inputs / (1 - self.rate), jnp.zeros_like(inputs))
