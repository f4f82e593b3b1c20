"""Effective compute, inference, and the paper's other domains."""

import dataclasses
import math

from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.errors import UsageError
from jaxeff.report import published
from jaxeff.report.published import Printed, recompute
from jaxeff.report.trends import MOORE_MONTHS, months_between


@dataclasses.dataclass(frozen=True)
class EffectiveCompute:
    """Growth of what the largest trainings of a period were worth (the paper's Figure 5).

    Attributes:
      compute_growth: growth of the operations spent on the largest trainings (Amodei and Hernandez,
        *AI and Compute*, 2018: 300 000 from 2012 to 2018).
      algorithms: how many times less compute the same result takes (25 from AlexNet to ShuffleNet
        v2, 2018).
      years: length of the period.
      hardware_doubling_months: months in which the operations that a unit of money buys double.
    """

    compute_growth: float = 300_000.0
    algorithms: float = 25.0
    years: float = 6.0
    hardware_doubling_months: float = MOORE_MONTHS

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not 0 < getattr(self, field.name) < float("inf"):
                raise UsageError(
                    f"--{field.name}={getattr(self, field.name)}: give a number above 0"
                )

    @property
    def hardware(self) -> float:
        """Growth of the operations that a unit of money buys, over the period."""
        return 2 ** (12 * self.years / self.hardware_doubling_months)

    @property
    def spending(self) -> float:
        """Growth that hardware does not explain: more money, and longer training."""
        return self.compute_growth / self.hardware

    @property
    def total(self) -> float:
        """Hardware x spending x algorithms."""
        return self.compute_growth * self.algorithms


@dataclasses.dataclass(frozen=True)
class DomainGain:
    """A gain of Appendix A, computed from its primary numbers.

    Attributes:
      original: model that set the level.
      improved: model that reached it with less.
      how: the formula with its numbers.
      original_flops: operations, with their bounds within the rounding of the printed inputs; None
        where the appendix gives a ratio only.
      improved_flops: likewise.
      factor: the gain, with its bounds.
    """

    original: str
    improved: str
    how: str
    original_flops: tuple[float, float, float] | None
    improved_flops: tuple[float, float, float] | None
    factor: tuple[float, float, float]


def domain_gains() -> list[DomainGain]:
    """Appendix A, recomputed. Each triple is a value and its bounds within rounding."""

    def fraction_of(flops, percent):
        return flops * percent / 100

    translation = (
        ("Seq2Seq", "Transformer", "4.0e19", "3.3e18", "20"),
        ("GNMT", "Transformer", "1.4e20", "2.3e19", "68"),
    )
    gains = []
    for original, improved, before, whole, percent in translation:
        inputs = Printed(before), Printed(whole), Printed(percent)
        gains.append(
            DomainGain(
                original,
                improved,
                f"{before} / ({percent} % of {whole}) operations",
                recompute(lambda flops: flops, inputs[0]),
                recompute(fraction_of, *inputs[1:]),
                recompute(lambda a, b, c: a / fraction_of(b, c), *inputs),
            )
        )
    # 4.4 is the ratio of the chips in use at a step; the steps are those to the same strength.
    go = Printed("4.4"), Printed("700000"), Printed("390000")
    gains.append(
        DomainGain(
            "AlphaGo Zero",
            "AlphaZero",
            "4.4 x 700 000 / 390 000 steps",
            None,
            None,
            recompute(lambda a, b, c: a * b / c, *go),
        )
    )
    return gains


def teraflop_s_days_of(gain: DomainGain, which: str) -> tuple[float, float, float] | None:
    """`original` or `improved` operations of a gain in teraflop/s-days, with bounds."""
    flops = gain.original_flops if which == "original" else gain.improved_flops
    return None if flops is None else tuple(value / TERAFLOP_S_DAY for value in flops)


@dataclasses.dataclass(frozen=True)
class InferenceGain:
    """Less forward compute for the same accuracy.

    Attributes:
      level: the accuracy, named for the model that set it.
      original: the model that set it.
      improved: the model that reaches it with less.
      factor: ratio of their multiply-accumulates, by our exact counts.
      printed: the factor as the paper prints it.
      printed_doubling: the doubling time in months as the paper prints it.
      months: months between the publications.
    """

    level: str
    original: str
    improved: str
    factor: float
    printed: Printed
    printed_doubling: Printed
    months: float

    @property
    def doubling_months(self) -> float:
        """Months in which the forward compute halves."""
        return self.months / math.log2(self.factor)


def inference_gains(costs) -> list[InferenceGain]:
    """The gains of the paper's Section 4.2, from `model_costs.model_costs()`."""
    dates = {row.our_name: row.published for row in published.alexnet_level()}
    # ShuffleNet's own article compares its half width with AlexNet.
    rows = (
        ("AlexNet", "alexnet", "shufflenet_v1_x0_5", "shufflenet_v1", "18", "15"),
        ("ResNet-50", "resnet50", "efficientnet_b0", "efficientnet_b0", "10", "13"),
    )
    return [
        InferenceGain(
            level,
            original,
            improved,
            costs[original].macs_forward_per_image / costs[improved].macs_forward_per_image,
            Printed(printed),
            Printed(doubling),
            months_between(dates[original], dates[dated]),
        )
        for level, original, improved, dated, printed, doubling in rows
    ]
