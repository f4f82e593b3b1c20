"""The speed of a training step beside its peers, alternating in one run."""

import contextlib
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks import contenders

from jaxeff import compute

# What a contender had in the caches, and freed memory that a virtual machine's host has taken back
# meanwhile, come again in these and are not timed: training goes on without such pauses.
STEPS_BEFORE_A_TURN = 2


def measure(work: contenders.Work, against: dict, turns: int, turn_seconds: float) -> dict:
    """Times jaxeff's step of one model against others, turn by turn.

    Args:
      work: what each of them does.
      against: of `contenders.CONTENDERS` and `contenders.without_kernels`.
      turns: of each contender.
      turn_seconds: about how long one turn of the slowest lasts; each takes at least one step.

    Returns:
      `work`'s fields; by contender `images_per_second` (median over the turns), `compile_seconds`
      and `peak_memory_bytes`; for the others `ratio` (jaxeff's speed over theirs, median of the
      ratios of neighbouring turns) with `ratio_low` and `ratio_high`, the least and the largest.
    """
    with contextlib.ExitStack() as stack:
        kinds = {"jaxeff": contenders.CONTENDERS["jaxeff"], **against}
        field = {
            name: stack.enter_context(contextlib.closing(contenders.Contender(name, work, kinds)))
            for name in kinds
        }
        steps = {
            name: max(1, round(turn_seconds / contender.seconds(1)))
            for name, contender in field.items()
        }
        rates = {name: [] for name in field}
        for _ in range(turns):
            for name, contender in field.items():
                contender.seconds(STEPS_BEFORE_A_TURN)
                seconds = contender.seconds(steps[name])
                rates[name].append(steps[name] * work.batch_size / seconds)
        results = {}
        for name, contender in field.items():
            results[name] = {
                "images_per_second": statistics.median(rates[name]),
                "peak_memory_bytes": contender.peak_memory_bytes(),
                **contender.facts,
            }
            if name == "jaxeff":
                results[name]["flops_per_step"] = contender.flops_per_step()
            else:
                pairs = zip(rates["jaxeff"], rates[name], strict=True)
                ratios = [ours / theirs for ours, theirs in pairs]
                results[name]["ratio"] = statistics.median(ratios)
                results[name]["ratio_low"], results[name]["ratio_high"] = min(ratios), max(ratios)
    ours = results["jaxeff"]
    ours["model_flops_utilization"] = _utilization(ours, work)
    return {
        "model": work.model,
        "image_size": work.image_size,
        "batch_size": work.batch_size,
        "dtype": work.dtype,
        "contenders": results,
    }


def _utilization(ours, work):
    """XLA's FLOPs a second over the device's peak; None where the peak is not known."""
    if ours["platform"] == "cpu":
        return None
    peak = compute.arithmetic_peak(ours["device_kind"], work.dtype)
    if peak is None:
        return None
    return ours["flops_per_step"] * ours["images_per_second"] / work.batch_size / peak[0]


def geometric_means(results: list[dict]) -> dict[str, float]:
    """Of the ratios to each contender, over the models."""
    logs = {}
    for result in results:
        for name, facts in result["contenders"].items():
            if "ratio" in facts:
                logs.setdefault(name, []).append(math.log(facts["ratio"]))
    return {name: math.exp(statistics.fmean(values)) for name, values in logs.items()}


def row(result: dict) -> str:
    """The lines of the table that one model fills, a contender each."""
    lines = []
    for name, facts in result["contenders"].items():
        ratio = "".join(
            f"{facts[key]:8.2f}" if key in facts else " " * 8
            for key in ("ratio", "ratio_low", "ratio_high")
        )
        mfu = facts.get("model_flops_utilization")
        lines.append(
            f"{result['model'] if name == 'jaxeff' else '':<20}{name:<22}"
            f"{facts['images_per_second']:10.1f}{ratio}{facts['compile_seconds']:10.1f}"
            f"{facts['peak_memory_bytes'] / 2**20:10.0f}"
            + (f"{100 * mfu:8.1f}" if mfu is not None else "")
        )
    return "\n".join(lines)


def header() -> str:
    """The table's first line."""
    return (
        f"{'model':<20}{'contender':<22}{'images/s':>10}{'ours/its':>8}{'least':>8}{'most':>8}"
        f"{'compile s':>10}{'peak MiB':>10}{'MFU %':>8}"
    )


def run(
    models: Sequence,
    against: dict,
    *,
    image_size: int,
    batch_size: int,
    dtype: str,
    threads: int | None,
    turns: int,
    turn_seconds: float,
    minutes: float | None,
    as_json: bool,
) -> None:
    """Measures each model and prints a table, or a JSON object, with the geometric means.

    What was measured is printed whatever ends the run, and the names of the models that are left.

    Args:
      models: `networks.ModelSpec` of the architectures, in order.
      against: of `contenders.CONTENDERS` and `contenders.without_kernels`.
      image_size: side of the images in pixels.
      batch_size: images a step.
      dtype: of the arithmetic, `float32` or `bfloat16`.
      threads: of the CPU; None for all.
      turns: of each contender.
      turn_seconds: about how long a turn lasts.
      minutes: no further model is begun that would end later, did it take as long as the slowest
        so far; None: all are measured.
      as_json: instead of a table.
    """
    if not as_json:
        print(header(), flush=True)
    results, left = [], list(models)
    started, longest = time.monotonic(), 0.0
    try:
        while left:
            begun = time.monotonic()
            if results and minutes is not None and begun - started + longest > 60 * minutes:
                break
            model = left[0]
            work = contenders.Work(
                model.specification, 1000, image_size, batch_size, dtype, threads, model.args
            )
            results.append(measure(work, against, turns, turn_seconds))
            longest = max(longest, time.monotonic() - begun)
            if as_json:
                print(f"{model.name}: done", file=sys.stderr)
            else:
                print(row(results[-1]), flush=True)
            left.pop(0)
    finally:
        if results:
            _print_summary(results, [model.specification for model in left], as_json)


def _print_summary(results, left, as_json):
    means = geometric_means(results)
    if as_json:
        summary = {"results": results, "geometric_means": means, "not_measured": left}
        print(json.dumps(summary, indent=1))
    else:
        for name, mean in means.items():
            print(f"geometric mean of jaxeff's speed over {name}'s: {mean:.3f}")
    if left:
        print(f"not measured: --models={','.join(left)}", file=sys.stderr)
