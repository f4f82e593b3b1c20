from jaxeff.compute.macs import count_macs
from jaxeff.compute.units import (
    IMAGENET_EPOCH_IMAGES,
    TERAFLOP_S_DAY,
    paper_flops,
    teraflop_s_days,
)
from jaxeff.compute.xla import xla_flops

__all__ = [
    "IMAGENET_EPOCH_IMAGES",
    "TERAFLOP_S_DAY",
    "count_macs",
    "paper_flops",
    "teraflop_s_days",
    "xla_flops",
]
