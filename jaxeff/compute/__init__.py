from jaxeff.compute.cost import StepCost, step_cost
from jaxeff.compute.hardware import (
    arithmetic_peak,
    find_device,
    measure_matmul_peak,
    peak_flops_per_second,
)
from jaxeff.compute.macs import count_activations, count_macs
from jaxeff.compute.schedule import CostSchedule, Segment
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
    "Segment",
    "StepCost",
    "arithmetic_peak",
    "count_activations",
    "count_macs",
    "find_device",
    "measure_matmul_peak",
    "paper_flops",
    "peak_flops_per_second",
    "step_cost",
    "teraflop_s_days",
    "xla_flops",
]
