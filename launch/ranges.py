"""What the value of each flag may be, by the flag's name: one table for all commands.

A number that no machine or measurement can mean (nan, inf, a batch of 10^20) is refused with its
flag, before anything is read or made. What depends on other flags, on the data or on the model is
checked where these are known.
"""

import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Callable

from absl import flags

# A longer text is no name and no path.
_LONGEST = 100_000


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Finite numbers from `low` to `high`; with `above`, `low` itself is none of them."""

    low: float
    high: float
    above: bool = False

    def problem(self, value: float) -> str | None:
        """What is wrong with a number; None where nothing is."""
        if self.low <= value <= self.high and not (self.above and value == self.low):
            return None
        low, high = f"{self.low:g}", f"{self.high:g}"
        return (
            f"give a number above {low}, at most {high}" if self.above else f"give {low} to {high}"
        )


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts that match `pattern`, which `form` tells in words."""

    pattern: str
    form: str

    def problem(self, value: str | int) -> str | None:
        """What is wrong with a text, or with a number as it is written; None where nothing is."""
        return None if re.fullmatch(self.pattern, str(value), re.ASCII) else f"give {self.form}"


@dataclasses.dataclass(frozen=True)
class Paths:
    """Names of files or folders, which need not be there; with `bucket`, also addresses."""

    bucket: bool = False

    def problem(self, value: str) -> str | None:
        """What is wrong with a path; None where nothing is."""
        if not value.strip():
            return "it is empty; give the name of a file or folder, or leave the flag out"
        if any(len(os.fsencode(part)) > 255 for part in pathlib.PurePath(value).parts):
            return "no file has a name of more than 255 bytes"
        if match := _ADDRESS.match(value):
            return self._wrong_address(**match.groupdict())
        try:
            pathlib.Path(value).expanduser()
        except RuntimeError:
            return f"there is no user {pathlib.PurePath(value).parts[0][1:]}"
        return None

    def _wrong_address(self, slashes, rest):
        if not self.bucket:
            return "it must lie on a disk of this machine"
        if slashes != "//" or not rest:
            return "write gs://bucket/folder, or the path of a folder on a disk"
        return None


# A path library makes gs:/bucket of gs://bucket, and a disk a folder called gs: of both.
_ADDRESS = re.compile(r"(?:gs|s3|file|https?|[A-Za-z][\w+.-]+(?=://)):(?P<slashes>/*)(?P<rest>.*)")
WHOLE_32_BITS = 2**32 - 1
_COUNT, _PATH = Numbers(1, 1e9), Paths()
_POSITIVE = Numbers(0, 1e30, above=True)

# Of every flag of a command that takes a number or a path, and of texts that have a form.
RANGES: dict[str, Numbers | Texts | Paths] = {
    # What is trained or counted.
    "image_size": Numbers(1, 4096),
    "batch_size": Numbers(1, 1_000_000),
    "num_classes": Numbers(1, 1_000_000),
    "epochs": Numbers(0, 1e6, above=True),
    "eval_every": Numbers(1e-4, 1e6),
    "lr": Numbers(0, 1e30, above=True),
    "seed": Numbers(0, WHOLE_32_BITS),
    "split_seed": Numbers(0, WHOLE_32_BITS),
    "seeds": Texts(r"\s*\d{1,10}(-\d{1,10})?(\s*,\s*\d{1,10}(-\d{1,10})?)*\s*", "0,1,2 or 0-4"),
    "target": Texts(r"\w+:[-+.\w]+(\s*,\s*\w+:[-+.\w]+)*", "METRIC:VALUE, such as top1:0.95"),
    "until": Texts(r"[\d.eE+-]+%?", "a fraction above 0, such as 10%"),
    "budget_precision": Texts(r"[\d.eE+-]+%?", "a fraction above 0, such as 10%"),
    "most_seeds": Numbers(1, 1000),
    # How it runs.
    "accumulate": Numbers(1, 1_000_000),
    "num_workers": Numbers(0, 1024),
    "log_every": _COUNT,
    "checkpoint_every": Numbers(0, 1e9),
    "parallel": Numbers(1, 1024),
    "threads": Numbers(1, 4096),
    "cores": Texts(r"\d{1,4}", "numbers of cores, such as 1,2"),
    "coordinator_address": Texts(r"([^\s:]+|\[[0-9a-fA-F:.%]+\]):\d{1,5}", "HOST:PORT"),
    "num_processes": Numbers(1, 1_000_000),
    "process_id": Numbers(0, 999_999),
    "join_timeout": Numbers(0, 1e6, above=True),
    "turns": Numbers(1, 10_000),
    "turn_seconds": Numbers(0, 86_400, above=True),
    "minutes": Numbers(0, 1e6),
    "steps": Numbers(1, 1_000_000),
    # What is planned.
    "devices": Numbers(1, 10_000_000),
    "topology": Texts(r"\d{1,4}(x\d{1,4}){0,2}", "chips such as 4x4 or 2x2x1"),
    "attained": Numbers(0, 1, above=True),
    "price_per_chip_hour": Numbers(0, 1e9),
    "train_images": Numbers(1, 1e12),
    "validation_images": Numbers(0, 1e12),
    "images_per_second_per_core": Numbers(1e-9, 1e9),
    # What is reported. 2 to the power of 12 x years / months is a number.
    "compute_growth": _POSITIVE,
    "algorithms": _POSITIVE,
    "years": Numbers(0, 80, above=True),
    "hardware_doubling_months": Numbers(1, 1e6),
    # Where it lies.
    "workdir": Paths(bucket=True),
    "data_dir": Paths(bucket=True),
    "out": Paths(bucket=True),  # For jobs of sweep.py; others refuse it.
    "records": Paths(bucket=True),
    "import": _PATH,
    "export_sota": _PATH,
    "config": _PATH,
    "pack": _PATH,
    "compiled": _PATH,
    "torch_weights": _PATH,
}


def check(values: flags.FlagValues) -> None:
    """Checks the values that flags have been given.

    Args:
      values: parsed.

    Raises:
      flags.IllegalFlagValueError: names the first flag whose value is out of range.
    """
    for name in values:
        flag = values[name]
        given = flag.value if isinstance(flag.value, list) else [flag.value]
        for value in given:
            if problem := _problem(RANGES.get(name), value):
                shown = str(value) if len(str(value)) <= 80 else f"{str(value)[:80]}…"
                raise flags.IllegalFlagValueError(f"--{name}={shown}: {problem}")


def _problem(allowed, value) -> str | None:
    if isinstance(value, str):
        checks: tuple[Callable[[str], str | None], ...] = (_wrong_text,)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        checks = (lambda number: None if math.isfinite(number) else "give a number",)
    else:
        return None
    checks += (allowed.problem,) if allowed is not None else ()
    return next((problem for one in checks if (problem := one(value))), None)


def _wrong_text(text):
    if "\0" in text:
        return "a text cannot hold a zero byte"
    return f"it has {len(text):,} characters" if len(text) > _LONGEST else None
