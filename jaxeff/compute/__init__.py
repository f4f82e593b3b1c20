from jaxeff.compute.cost import StepCost, step_cost
from jaxeff.compute.hardware import (
    arithmetic_peak,
    device_memory,
    find_device,
    measure_matmul_peak,
    peak_flops_per_second,
)
from jaxeff.compute.links import device_links
from jaxeff.compute.macs import count_activations, count_macs
from jaxeff.compute.roofline import Roofline, device_roofline
from jaxeff.compute.schedule import CostSchedule, Segment
from jaxeff.compute.traffic import count_bytes
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
    "CostSchedule",
    "Roofline",
    "Segment",
    "StepCost",
    "arithmetic_peak",
    "count_activations",
    "count_bytes",
    "count_macs",
    "device_links",
    "device_memory",
    "device_roofline",
    "find_device",
    "measure_matmul_peak",
    "paper_flops",
    "peak_flops_per_second",
    "step_cost",
    "teraflop_s_days",
    "xla_flops",
]
