"""Layers whose arithmetic is PyTorch's and whose form is the backend's fastest."""

from jaxeff.nn.apart import gradient_apart as gradient_apart
from jaxeff.nn.conv import Conv as Conv
from jaxeff.nn.conv import conv2d as conv2d
from jaxeff.nn.dense import Dense as Dense
from jaxeff.nn.dropout import Dropout as Dropout
from jaxeff.nn.forms import forms_of_backend as forms_of_backend
from jaxeff.nn.forms import native_forms as native_forms
from jaxeff.nn.norm import BatchNorm as BatchNorm
from jaxeff.nn.pool import adaptive_average_pool as adaptive_average_pool
from jaxeff.nn.pool import average_pool as average_pool
from jaxeff.nn.pool import global_average_pool as global_average_pool
from jaxeff.nn.pool import max_pool as max_pool
from jaxeff.nn.recompute import recomputed as recomputed
from jaxeff.nn.stochastic_depth import StochasticDepth as StochasticDepth
