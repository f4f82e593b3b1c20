"""Start values as PyTorch's layers draw them."""

import math

import jax
from jax.nn import initializers

# torch.nn.Conv2d and Linear: kaiming_uniform with a = sqrt(5), that is U(-1/sqrt(fan_in),
# 1/sqrt(fan_in)), whose variance is 1 / (3 fan_in).
torch_default_kernel = initializers.variance_scaling(1 / 3, "fan_in", "uniform")

# torch.nn.init.kaiming_normal_ (He et al. 2015, arXiv:1502.01852); the fans of a grouped kernel are
# those of its shape: all output channels, and the input channels of one group.
kaiming_normal_fan_out = initializers.variance_scaling(2.0, "fan_out", "normal")
kaiming_normal_fan_in = initializers.variance_scaling(2.0, "fan_in", "normal")
# torch.nn.init.kaiming_uniform_.
kaiming_uniform = initializers.variance_scaling(2.0, "fan_in", "uniform")


def zero_bias(fan_in: int):
    """The initializer of a bias that starts at zero, whatever the fan-in."""
    del fan_in
    return initializers.zeros


def torch_default_bias(fan_in: int):
    """The initializer of a bias whose layer sums over `fan_in` inputs: U(±1/sqrt(fan_in))."""
    bound = 1 / math.sqrt(fan_in)

    def init(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
