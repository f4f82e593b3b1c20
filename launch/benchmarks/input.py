"""Images a second of our input pipeline beside its peers', alternating in one run."""

import contextlib
import json
import pathlib
import statistics

from benchmarks import contenders

from jaxeff.data import image_folder


def measure(
    work: contenders.InputWork, against: list[str], turns: int, turn_seconds: float
) -> dict:
    """Times our pipeline against others, turn by turn, on the same cores and files.

    Returns:
      `cores`, `image_size`, `batch_size`; by contender `images_per_second` (median over the turns),
      `images_per_second_per_core`, `peak_memory_bytes`; for the others `ratio` (our speed over
      theirs, median of the ratios of neighbouring turns), `ratio_low` and `ratio_high`.
    """
    with contextlib.ExitStack() as stack:
        field = {
            name: stack.enter_context(
                contextlib.closing(contenders.Contender(name, work, contenders.INPUT_CONTENDERS))
            )
            for name in ("jaxeff", *against)
        }
        steps = {}
        for name, contender in field.items():
            contender.seconds(contenders.BATCHES_AHEAD)
            steps[name] = max(1, round(8 * turn_seconds / contender.seconds(8)))
        rates = {name: [] for name in field}
        for _ in range(turns):
            for name, contender in field.items():
                # Batches that were made while the others had their turns are not timed.
                contender.seconds(contenders.BATCHES_AHEAD)
                rates[name].append(steps[name] * work.batch_size / contender.seconds(steps[name]))
        results = {}
        for name, contender in field.items():
            rate = statistics.median(rates[name])
            results[name] = {
                "images_per_second": rate,
                "images_per_second_per_core": rate / work.cores,
                "peak_memory_bytes": contender.peak_memory_bytes(),
                "software": contender.facts["software"],
            }
            if name != "jaxeff":
                pairs = zip(rates["jaxeff"], rates[name], strict=True)
                ratios = [ours / theirs for ours, theirs in pairs]
                results[name]["ratio"] = statistics.median(ratios)
                results[name]["ratio_low"], results[name]["ratio_high"] = min(ratios), max(ratios)
    return {
        "cores": work.cores,
        "image_size": work.image_size,
        "batch_size": work.batch_size,
        "contenders": results,
    }


def run(
    data_dir: str,
    against: list[str],
    *,
    image_size: int,
    batch_size: int,
    cores: list[int],
    turns: int,
    turn_seconds: float,
    as_json: bool,
) -> None:
    """Measures with each number of cores and prints a table, or a JSON array.

    Raises:
      UsageError: the folder is no image folder, or a contender cannot run.
    """
    # Here a bad folder is reported once, and not by every contender.
    image_folder.load_images(pathlib.Path(data_dir) / "train")
    results = []
    if not as_json:
        print(
            f"{'cores':<7}{'pipeline':<10}{'images/s':>10}{'per core':>10}{'ours/its':>10}"
            f"{'least':>8}{'most':>8}{'peak MiB':>10}"
        )
    for number in cores:
        work = contenders.InputWork(data_dir, image_size, batch_size, number)
        results.append(measure(work, against, turns, turn_seconds))
        if as_json:
            continue
        for name, facts in results[-1]["contenders"].items():
            ratio = (
                f"{facts['ratio']:10.2f}{facts['ratio_low']:8.2f}{facts['ratio_high']:8.2f}"
                if "ratio" in facts
                else " " * 26
            )
            print(
                f"{number if name == 'jaxeff' else '':<7}{name:<10}"
                f"{facts['images_per_second']:10.0f}{facts['images_per_second_per_core']:10.0f}"
                f"{ratio}{facts['peak_memory_bytes'] / 2**20:10.0f}",
                flush=True,
            )
    if as_json:
        print(json.dumps({"results": results}, indent=1))
        return
    ours = results[-1]["contenders"]["jaxeff"]["images_per_second_per_core"]
    print(
        f"\ncores that a training needs: its images a second / {ours:.0f}; "
        f"launch/plan.py --images_per_second_per_core={ours:.0f} says it for each model and device"
    )
