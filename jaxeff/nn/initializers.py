"""Start values as PyTorch's layers draw them."""

import math

import jax
from jax.nn import initializers

# torch.nn.Conv2d and Linear: kaiming_uniform with a = sqrt(5), that is U(-1/sqrt(fan_in),
# 1/sqrt(fan_in)), whose variance is 1 / (3 fan_in).
torch_default_kernel = initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def torch_default_bias(fan_in: int):
    """The initializer of a bias whose layer sums over `fan_in` inputs: U(±1/sqrt(fan_in))."""
    bound = 1 / math.sqrt(fan_in)

    def init(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
