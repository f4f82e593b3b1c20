"""Writes the report: the paper's tables and figures recomputed, our records, an audit and a page.

    python launch/report.py

needs no record of yours, since the published numbers, and records of what was measured with jaxeff,
come with the package (--noshipped leaves these records out). Open report/index.html.

    python launch/report.py --records=runs --out=report

adds what runs of train.py measured: the records in that folder, at any depth. --records takes
several folders, or patterns in quotes, with commas between. A file that is no valid record is named
and left out. Seeds of one configuration give a median with a 95 % interval, as sweep.py prints it;
runs that are not over are named and count for nothing. Your runs and those of the package are told
apart everywhere, and never put together; yours are compared with your baseline, or with the
package's where there is none of yours.

The folder then holds

    index.html              everything, interactive, without a network
    tables/*.csv            tables 1 to 5 of the paper, ours beside, and more;
                            pandas.read_csv(FILE, comment="#") reads them
    figures/figure{2..5}.*  the paper's, for print: PDF, SVG, PNG of 300 dpi
    figures/factor_by_level.*
                            the factor from the baseline at every accuracy
    audit.md                each printed number of the paper, recomputed

    python launch/report.py --import=rows.csv --export_sota=efficiency_sota.csv

reads rows that others measured, and writes the published rows with ours, in the columns of
github.com/openai/ai-and-efficiency (and the analysis that a submission asks for beside them, in
efficiency_sota.md).
"""

import cli
from absl import flags

_RECORDS = flags.DEFINE_list(
    "records",
    ["runs"],
    "Folders with records in them, also gs://bucket/folder, or patterns of files; ** stands for "
    "any depth.",
)
_SHIPPED = flags.DEFINE_bool(
    "shipped", True, "Whether to show the records that come with the package."
)
_OUT = flags.DEFINE_string("out", "report", "Folder to write.")
_IMPORT = flags.DEFINE_string("import", None, "CSV file with rows that others measured.")
_BASELINE = flags.DEFINE_string(
    "baseline",
    "alexnet",
    "Model against which the factors of the records are, by its name in them.",
)
_EXPORT_SOTA = flags.DEFINE_string("export_sota", None, "CSV file to write.")
_COMPUTE_GROWTH = flags.DEFINE_float(
    "compute_growth", 300_000, "Effective compute: growth of the largest trainings' operations."
)
_ALGORITHMS = flags.DEFINE_float(
    "algorithms", 25, "Effective compute: how many times less compute algorithms need."
)
_YEARS = flags.DEFINE_float("years", 6, "Effective compute: length of the period in years.")
_HARDWARE_DOUBLING_MONTHS = flags.DEFINE_float(
    "hardware_doubling_months",
    24,
    "Effective compute: months in which the hardware that money buys doubles.",
)


def main() -> int:
    """Writes the report; returns the exit status."""
    import sys

    from rich.console import Console
    from rich.progress import track

    from jaxeff.errors import UsageError
    from jaxeff.report import analysis, exchange, files
    from jaxeff.report.effective_compute import EffectiveCompute

    effective = EffectiveCompute(
        _COMPUTE_GROWTH.value,
        _ALGORITHMS.value,
        _YEARS.value,
        _HARDWARE_DOUBLING_MONTHS.value,
    )
    imported = exchange.read(_IMPORT.value) if _IMPORT.value else []
    paths, found_none = files.find_records(_RECORDS.value)
    if found_none and flags.FLAGS["records"].present:
        raise UsageError(
            f"--records: no file matches {found_none[0]!r}: give a folder with record.json "
            "files in it, at any depth, or a pattern such as 'runs/**/record.json'"
        )

    def progress(items):
        console = Console(stderr=True)
        return track(items, "reading records", console=console, disable=not console.is_terminal)

    out = cli.make_folder("out", _OUT.value)
    valid, refused = files.read_records(paths, progress)
    for line in refused:
        print(f"left out: {line}", file=sys.stderr)
    known_spread, shipped = None, []
    if valid or _SHIPPED.value:
        from jaxeff import measure  # SciPy takes a second to import.

        known_spread = measure.known_spread
    if _SHIPPED.value:
        from jaxeff.report import shipped as of_the_package

        shipped = of_the_package.shipped()
    made = analysis.analyse(
        valid, refused, imported, effective, _BASELINE.value, known_spread, shipped
    )
    files.write(made, out)
    print(summary(made))
    print(f"page    {out / 'index.html'}")
    print(f"also    {out}/tables/*.csv, {out}/figures/*.{{pdf,svg,png}}, {out / 'audit.md'}")
    if _EXPORT_SOTA.value:
        beside = files.write_exchange(valid, _EXPORT_SOTA.value, _BASELINE.value)
        print(f"export  {_EXPORT_SOTA.value}, {beside}")
    return 0


def summary(made) -> str:
    """What was found, in a few lines."""
    from jaxeff.report import audit, tables, trends

    lines = ["AlexNet to EfficientNet-b0, training compute to AlexNet level:"]
    for key, points in made.conventions.items():
        fit = trends.doublings(points)[0]
        label = tables.CONVENTIONS[key]
        lines.append(
            f"  {made.factors()[label]:5.1f} times less, halving every {fit.months:.1f} months "
            f"(95 %: {fit.low:.1f} to {fit.high:.1f})  {label}"
        )
    number, refused = len(made.records), len(made.refused)
    lines.append(audit.summary(made.audit))
    lines += [
        f"{found.label}{' (records of jaxeff)' if found.shipped else ''}: {found.text}"
        for found in made.findings
    ]
    lines.append(
        f"records {number}" + (f", and {refused} left out" if refused else "")
        if number or refused
        else "records none yet of yours: train with launch/train.py, or give --records='PATTERN'"
    )
    if made.shipped:
        lines.append(f"with jaxeff come {len(made.shipped)} (--noshipped leaves them out)")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(
        main,
        __doc__,
        groups={"Common flags": ("records", "out", "baseline", "import", "export_sota")},
    )
