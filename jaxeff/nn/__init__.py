"""Layers with PyTorch's arithmetic and start values, in XLA's own operations."""

from jaxeff.nn.batch_norm import BatchNorm
from jaxeff.nn.conv import Conv
from jaxeff.nn.dense import Dense
from jaxeff.nn.dropout import EXAMPLES_STREAM, Dropout, example_keys
from jaxeff.nn.pool import adaptive_average_pool, average_pool, global_average_pool, max_pool
from jaxeff.nn.stochastic_depth import StochasticDepth

__all__ = [
    "EXAMPLES_STREAM",
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "StochasticDepth",
    "adaptive_average_pool",
    "average_pool",
    "example_keys",
    "global_average_pool",
    "max_pool",
]
