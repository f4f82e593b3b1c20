"""Architectures by name: `models.create("shufflenet_v2")` returns a Flax Linen module."""

from models.registry import GROUPS as GROUPS
from models.registry import check as check
from models.registry import create as create
from models.registry import names as names
from models.registry import select as select
from models.registry import summary as summary
from models.registry import torch_fields as torch_fields
from models.registry import variant as variant
