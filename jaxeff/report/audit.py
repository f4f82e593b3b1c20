"""Each printed number of the paper and of its published table, recomputed.

An entry agrees where some value within the rounding of its inputs rounds to the printed digits.
Where it does not, the entry gives the reason, if one is known.
"""

import dataclasses
import math
import re
from collections.abc import Mapping

from jaxeff.compute import IMAGENET_EPOCH_IMAGES, TERAFLOP_S_DAY, paper_flops
from jaxeff.report import published, tables, trends
from jaxeff.report.effective_compute import (
    EffectiveCompute,
    domain_gains,
    inference_gains,
    teraflop_s_days_of,
)
from jaxeff.report.model_costs import ModelCost
from jaxeff.report.published import Printed, recompute

AGREES, DISAGREES, OPEN = "agrees", "disagrees", "cannot be recomputed"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A printed number under audit.

    Attributes:
      where: table or section.
      quantity: what the number says.
      printed: as printed.
      recomputed: our value, as text; empty where there is none.
      how: the formula with its numbers.
      verdict: `AGREES`, `DISAGREES` or `OPEN`.
      reason: why it disagrees, or cannot be recomputed.
    """

    where: str
    quantity: str
    printed: str
    recomputed: str
    how: str
    verdict: str
    reason: str = ""


def audit(costs: Mapping[str, ModelCost]) -> list[Entry]:
    """Audits every printed number, in the paper's order.

    Args:
      costs: as `model_costs.model_costs` gives them.
    """
    return [
        *_headline(costs),
        *_table1(),
        *_table2(),
        *_table3(costs),
        *_accuracies(),
        *_appendix(),
        *_published_table(),
    ]


def _check(where, quantity, printed, bounds, how, reason="", digits=4):
    value, low, high = bounds if isinstance(bounds, tuple) else (bounds,) * 3
    agrees = Printed(printed).allows(low, high)
    return Entry(
        where,
        quantity,
        printed,
        f"{value:.{digits}g}",
        how,
        AGREES if agrees else DISAGREES,
        "" if agrees else reason or "no reason is known",
    )


def _compute(row):
    return recompute(
        lambda macs: paper_flops(1e9 * macs, row.epochs * IMAGENET_EPOCH_IMAGES), row.gmacs
    )


def _headline(costs):
    models = {row.model: row for row in published.alexnet_level()}
    alexnet, best = models["AlexNet"], models["EfficientNet-b0"]

    def factor(first, second):
        return alexnet.epochs * first / (best.epochs * second)

    points = tables.alexnet_points("printed", costs)
    fit = trends.doubling_months(trends.frontier(points))
    ends = trends.end_to_end_months(trends.frontier(points))
    yield _check(
        "Abstract, Section 4.1", "less compute, AlexNet to EfficientNet-b0", "44",
        recompute(factor, alexnet.gmacs, best.gmacs), "90 x 0.77 / (4 x 0.39)",
    )  # fmt: skip
    yield _check(
        "Abstract", "doubling time in months", "16", fit,
        "least squares of log2(compute) on date through the six models of the frontier; "
        f"end to end it is {ends:.1f}",
    )  # fmt: skip
    yield _check(
        "Abstract", "Moore's law over the same 7 years", "11", 2 ** (84 / 24), "2 ^ (84 / 24)"
    )
    earlier = dataclasses.replace(alexnet, epochs=62)
    yield _check(
        "Section 3.3", "less compute, counting AlexNet from epoch 62 (78.8 %)", "30",
        recompute(lambda a, b: earlier.epochs * a / (best.epochs * b), alexnet.gmacs, best.gmacs),
        "62 x 0.77 / (4 x 0.39)",
    )  # fmt: skip
    for gain in inference_gains(costs):
        reason = (
            "the printed factor is that of ShuffleNet's own article (720 over 38 million); exact "
            "counts of the same networks differ"
            if gain.level == "AlexNet"
            else "exact counts; with the printed 3.86 and 0.39 the factor is 9.9"
        )
        yield _check(
            "Section 4.2", f"less inference compute to {gain.level} level", gain.printed.text,
            gain.factor, f"exact forward MACs of {gain.original} over {gain.improved}", reason,
        )  # fmt: skip
        yield _check(
            "Section 4.2", f"doubling time of that, months ({gain.level} level)",
            gain.printed_doubling.text,
            recompute(lambda f, months=gain.months: months / math.log2(f), gain.printed),
            f"{gain.months:.1f} months / log2({gain.printed.text})",
            "months between first arXiv versions (AlexNet: the published date)",
        )  # fmt: skip
    effective = EffectiveCompute()
    yield _check(
        "Section 4.4", "effective compute 2012 to 2018, million", "7.5", effective.total / 1e6,
        "300 000 x 25",
    )  # fmt: skip
    to_2018 = models["ShuffleNet_v2_1x"]
    yield _check(
        "Section 4.4", "algorithms to 2018", "25",
        recompute(lambda a, b: 90 * a / (to_2018.epochs * b), alexnet.gmacs, to_2018.gmacs),
        "90 x 0.77 / (20 x 0.14)",
    )  # fmt: skip
    yield _check(
        "Section 2", "mixed-integer programming: 500 000 times in 21 years, months of doubling",
        "13", recompute(lambda f: 21 * 12 / math.log2(f), 5e5), "252 / log2(500 000)",
    )  # fmt: skip
    yield _check(
        "Section 2", "DawnBench: cost to ResNet-50 level", "184",
        recompute(lambda a, b: a / b, Printed("2323"), Printed("12.60")), "2323 / 12.60",
    )  # fmt: skip
    yield Entry(
        "Section 4.3", "ResNet-50 scaled down twice: more efficient by", "2.1", "",
        "epochs x MACs of resnet50 over resnet50_scaled_down", OPEN,
        "the epochs of the scaled-down network are not printed; train it to know",
    )  # fmt: skip


def _table1():
    models = {row.model: row for row in published.alexnet_level()}
    first = models["AlexNet"]
    for row in published.breakdown():
        model = models[row.model]
        epochs = first.epochs / model.epochs
        for quantity, printed, bounds, how in (
            ("epochs factor", row.epochs, epochs, f"{first.epochs} / {model.epochs}"),
            (
                "FLOPs an epoch factor",
                row.flops_per_epoch,
                1.0 if model is first else recompute(lambda a, b: a / b, first.gmacs, model.gmacs),
                f"{first.gmacs.text} / {model.gmacs.text}",
            ),
            (
                "training factor",
                row.training,
                1.0
                if model is first
                else recompute(lambda a, b, e=epochs: e * a / b, first.gmacs, model.gmacs),
                f"{first.epochs} x {first.gmacs.text} / ({model.epochs} x {model.gmacs.text})",
            ),
        ):
            yield _check("Table 1", f"{row.model}: {quantity}", printed.text, bounds, how)


_UNITS = {"year": 12.0, "month": 1.0, "day": 1 / trends.DAYS_A_MONTH}


def _months(text):
    number, unit = re.fullmatch(r"(\d+) (year|month|day)s?", text).groups()
    return Printed(number), _UNITS[unit]


def _table2():
    table = tables.table2()
    for row, values in zip(published.domains(), table.rows, strict=True):
        name = f"{row.original} to {row.improved}"
        cells = dict(zip(table.columns, values, strict=True))
        factor, years = cells["factor, ours"], cells["years, ours"]
        if factor is None:
            yield Entry(
                "Table 2", f"{name}: factor", row.factor.text, "", "", OPEN,
                "no operations are printed for it",
            )  # fmt: skip
        else:
            gains = {(gain.original, gain.improved): gain for gain in domain_gains()}
            gain = gains.get((row.original, row.improved))
            reasons = {
                "ResNet": "17 / 0.75 is 22.7; with the printed 71 epochs of 0.70e9 multiply-"
                "accumulates EfficientNet-b1 takes 2.2, and the factor is 7.7"
            }
            bounds = factor if gain is None else gain.factor
            how = "Table 3" if gain is None else gain.how
            if row.original == "ResNet":
                how = "17 / 0.75, the published table"
            yield _check(
                "Table 2", f"{name}: factor", row.factor.text, bounds, how,
                reasons.get(row.original, ""),
            )  # fmt: skip
        period, unit = _months(row.period)
        if years is not None:
            reason = {
                "AlexNet": "2012-06 to 2019-05 is 7 years",
                "ResNet": "2015-12-10 to 2019-05-28 is 3.5 years; the published table dates "
                "ResNet-50 2015-01-10, from where it is 4.4",
            }.get(row.original, "")
            value = 12 * years / unit
            entry = _check(
                "Table 2", f"{name}: period, {row.period.split()[1]}", period.text, value,
                "between first arXiv versions (AlexNet: as published)", reason,
            )  # fmt: skip
            yield dataclasses.replace(entry, printed=row.period)
        doubling, doubling_unit = _months(row.doubling_time)
        months = (
            12 * years
            if years is not None
            else recompute(lambda n, u=unit: n * u, period)
        )  # fmt: skip
        span = months if isinstance(months, tuple) else (months,) * 3
        by = recompute(math.log2, row.factor)
        bounds = tuple(
            a / b / doubling_unit for a, b in zip(span, (by[0], by[2], by[1]), strict=True)
        )
        reason = {
            "AlexNet": "16 is the slope of a least-squares fit through six models; the ends alone "
            "give 15.3",
            "ResNet": "10 times between the arXiv dates (41.6 months) doubles every 12.5 months",
            "GNMT": "with the printed period of 1 year it is 3.8; between the arXiv dates "
            "(2016-09-26, 2017-06-12) lie 8.5 months",
        }.get(row.original, "")
        entry = _check(
            "Table 2", f"{name}: doubling time, {row.doubling_time.split()[1]}", doubling.text,
            bounds, f"{span[0]:.1f} months / log2({row.factor.text})", reason,
        )  # fmt: skip
        yield dataclasses.replace(entry, printed=row.doubling_time)


_MACS_REASONS = {
    "resnet50": "torchvision strides in the 3x3 convolution of a block, the original article "
    "(3.8e9 operations) in the 1x1, which costs less",
    "vgg11": "THOP also counts biases, ReLUs or pooling in some versions",
}


def _table3(costs):
    for row in published.alexnet_level():
        value, low, high = (operations / 1e15 for operations in _compute(row))
        yield _check(
            "Table 3", f"{row.model}: compute, 1e15 operations", row.petaflops.text,
            (value, low, high), f"3 x {row.gmacs.text}e9 x {row.epochs} x 1.28e6",
        )  # fmt: skip
    for row in published.alexnet_level():
        exact = costs[row.our_name].macs_forward_per_image / 1e9
        yield _check(
            "Table 3", f"{row.model}: forward multiply-accumulates, 1e9", row.gmacs.text, exact,
            "exact count of convolutions and matrix products, padding included",
            f"printed {100 * (row.gmacs.value / exact - 1):+.1f} % from the exact count, which "
            "agrees with PyTorch's own counter; " + _MACS_REASONS.get(
                row.our_name, "the version of THOP that was used is not stated, so not traced"
            ),
        )  # fmt: skip
    alexnet = next(row for row in published.alexnet_level() if row.model == "AlexNet")
    yield Entry(
        "Table 3", "unit of the compute column", "teraflop/s-days", "1e15 operations",
        f"{alexnet.petaflops.text} / 86.4 = {alexnet.petaflops.value / 86.4:.2f} teraflop/s-days, "
        "which the published table prints as 3.1", DISAGREES,
        "the column is in 1e15 operations",
    )  # fmt: skip
    yield Entry(
        "Table 3", "formula under the table", "FLOPs x images x epochs",
        "3 x MACs x images x epochs", "3 x 0.77e9 x 1.28e6 x 90 = 2.661e17", DISAGREES,
        "the printed formula lacks the factor 3 (forward, and twice that backward) that all "
        "sixteen totals contain",
    )  # fmt: skip
    yield Entry(
        "Section 3.2", "the word FLOPs", "FLOPs", "multiply-accumulates",
        "THOP counts a multiplication and its addition as one", DISAGREES,
        "hardware FLOPs are twice as many; ratios do not depend on it",
    )  # fmt: skip


def _accuracies():
    for metric, (number, _) in published.ACCURACIES.items():
        for row in published.accuracies(metric):
            yield Entry(
                f"Table {number}", f"{row.model}: {metric.replace('top', 'top-')}, authors' "
                "training, %", row.authors.text, "", "", OPEN,
                "a measurement: train it, and the record stands in the table",
            )  # fmt: skip
    yield Entry(
        "Section 3.2", "GoogLeNet among the networks before batch norm", "without batch norm",
        "with batch norm", "torchvision's GoogLeNet, which was trained", DISAGREES,
        "torchvision's has batch norm; the text trains it at 0.01 like those that have none",
    )  # fmt: skip


def _appendix():
    for gain, printed in zip(domain_gains(), ("61", "9", "8"), strict=True):
        yield _check(
            "Appendix A", f"{gain.original} to {gain.improved}", printed, gain.factor, gain.how
        )


def _published_table():
    models = {row.our_name: row for row in published.alexnet_level()}
    by_name = {
        "AlexNet": models["alexnet"],
        "GoogLeNet": models["googlenet"],
        "MobileNet": models["mobilenet_v1"],
        "ShuffleNet (1x)": models["shufflenet_v1"],
        "ShuffleNet v2 (1x)": models["shufflenet_v2"],
        "EfficientNet (b0)": models["efficientnet_b0"],
    }
    gains = {}
    for gain in domain_gains():
        gains[gain.original] = gain, "original"
        gains[gain.improved, gain.original] = gain, "improved"
    firsts = {}
    for row in published.sota():
        where, name = "Published table", f"{row.metric} level, {row.publication}"
        first = firsts.setdefault(row.metric, row)
        yield _published_compute(where, name, row, by_name, gains)
        ratio = recompute(lambda a, b: a / b, first.teraflop_s_days, row.teraflop_s_days)
        yield _check(
            where, f"{name}: reduction factor", row.factor.text,
            1.0 if row is first else ratio,
            f"{first.teraflop_s_days.text} / {row.teraflop_s_days.text}",
            "17 / 0.75 is 22.7" if row.metric == "ResNet-50" else "",
        )  # fmt: skip
        if row.arxiv:
            same = row.printed_date == row.published
            yield Entry(
                where, f"{name}: date", row.date_as_printed, row.published.isoformat(),
                f"first version of arXiv:{row.arxiv}", AGREES if same else DISAGREES,
                "" if same else _date_reason(row),
            )  # fmt: skip


def _published_compute(where, name, row, by_name, gains):
    quantity, printed = f"{name}: teraflop/s-days", row.teraflop_s_days.text
    if row.metric == "AlexNet":
        model = by_name[row.publication]
        bounds = tuple(operations / TERAFLOP_S_DAY for operations in _compute(model))
        how = f"3 x {model.gmacs.text}e9 x {model.epochs} x 1.28e6 / 8.64e16"
        return _check(where, quantity, printed, bounds, how)
    if row.publication == "EfficientNet (b1)":
        bounds = recompute(
            lambda macs: paper_flops(1e9 * macs, 71 * IMAGENET_EPOCH_IMAGES) / TERAFLOP_S_DAY,
            Printed("0.70"),
        )
        reason = "71 epochs of 0.70e9 multiply-accumulates are 2.2; 24 epochs would give 0.75"
        return _check(
            where, quantity, printed, bounds, "3 x 0.70e9 x 71 x 1.28e6 / 8.64e16", reason
        )
    if row.publication == "ResNet-50":
        return Entry(
            where, quantity, printed, "", "", OPEN,
            "the epochs to the level are not printed; the whole 90 epochs of 3.86e9 are 15.4",
        )  # fmt: skip
    original = row.publication.split(" (")[0]
    gain, which = gains.get(original) or gains[original, row.metric]
    return _check(
        where, quantity, printed, teraflop_s_days_of(gain, which), f"{gain.how}, / 8.64e16"
    )


def _date_reason(row):
    if row.printed_date.month == 1 and row.printed_date.day == row.published.day:
        return "day and year are right, the month is printed as 1"
    if row.printed_date.month == 1:
        return "the month is printed as 1"
    return "arXiv's first version is of another day"


def summary(entries: list[Entry]) -> str:
    """Says in one sentence how many entries agree."""
    count = {verdict: sum(e.verdict == verdict for e in entries) for verdict in (AGREES, DISAGREES)}
    rest = len(entries) - sum(count.values())
    return (
        f"Of {len(entries)} printed numbers and statements {count[AGREES]} agree with a "
        f"recomputation, {count[DISAGREES]} do not, and {rest} cannot be recomputed from what is "
        "printed."
    )


def markdown(entries: list[Entry], factors: Mapping[str, float]) -> str:
    """The whole audit as a Markdown document.

    Args:
      entries: as `audit` gives them.
      factors: factors from AlexNet to EfficientNet-b0, by label of the convention.
    """
    lines = [
        "# Audit of the printed numbers",
        "",
        f"Sources: {published.PAPER}; {published.REPOSITORY}.",
        "",
        summary(entries),
        "An entry agrees where the printed digits are possible within the rounding of its inputs. "
        "The paper's "
        "main finding, the factor from AlexNet to EfficientNet-b0, is "
        + ", ".join(f"{value:.1f} ({name})" for name, value in factors.items())
        + ".",
        "",
        "## What does not agree",
        "",
        *_rows([entry for entry in entries if entry.verdict == DISAGREES], reason="why"),
        "",
        "## What cannot be recomputed",
        "",
        *_rows([entry for entry in entries if entry.verdict == OPEN], reason="why"),
        "",
        "## What agrees",
        "",
        *_rows([entry for entry in entries if entry.verdict == AGREES]),
        "",
    ]
    return "\n".join(lines)


def _rows(entries, reason=None):
    heads = ["where", "what", "printed", "recomputed", "how"] + ([reason] if reason else [])
    yield "| " + " | ".join(heads) + " |"
    yield "| " + " | ".join("---" for _ in heads) + " |"
    for entry in entries:
        cells = [entry.where, entry.quantity, entry.printed, entry.recomputed, entry.how]
        cells += [entry.reason] if reason else []
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
