"""Layers with PyTorch's arithmetic and start values, in XLA's own operations."""

from jaxeff.nn.batch_norm import BatchNorm as BatchNorm
from jaxeff.nn.conv import Conv as Conv
from jaxeff.nn.dense import Dense as Dense
from jaxeff.nn.dropout import EXAMPLES_STREAM as EXAMPLES_STREAM
from jaxeff.nn.dropout import Dropout as Dropout
from jaxeff.nn.dropout import example_keys as example_keys
from jaxeff.nn.pool import adaptive_average_pool as adaptive_average_pool
from jaxeff.nn.pool import average_pool as average_pool
from jaxeff.nn.pool import global_average_pool as global_average_pool
from jaxeff.nn.pool import max_pool as max_pool
from jaxeff.nn.stochastic_depth import StochasticDepth as StochasticDepth
