"""Architectures by name: `models.create("shufflenet_v2")` returns a Flax Linen module."""

from models.registry import check as check
from models.registry import create as create
from models.registry import names as names
