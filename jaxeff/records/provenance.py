"""What a measurement was made with: software, processor and settings that decide the rounding."""

import functools
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
from typing import Any

import jax

import jaxeff
from jaxeff.records.record import Environment, Software

# Instruction sets that change which arithmetic a compiler or a library picks, on x86-64 and Arm.
_ARITHMETIC = re.compile(
    r"(avx|amx|sse|ssse|fma|f16c|asimd|sve|sme(?!p)|neon|bf16|i8mm|fphp)\w*", re.IGNORECASE
)
_FAMILY = ("cpu family", "model", "stepping", "cpu implementer", "cpu part")
_CPU_INFORMATION = pathlib.Path("/proc/cpuinfo")


@functools.cache
def software() -> Software:
    """Versions of what takes part in a measurement, and the commit of jaxeff's source tree."""
    commit, dirty = _git_state(pathlib.Path(jaxeff.__file__).parent)
    versions = {
        name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")
    }
    return Software(
        python=platform.python_version(),
        **versions,
        jaxeff=jaxeff.__version__,
        git_commit=commit,
        git_dirty=dirty,
    )


def environment(kernels: str) -> Environment:
    """This process's environment.

    Args:
      kernels: `xla`, or what has been installed in the place of XLA's own kernels.
    """
    model, flags = _processor()
    config: Any = jax.config  # Its settings are attributes that no type checker sees.
    if model:
        # On a CPU XLA splits sums between its cores, so their number decides how a program rounds.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        model = f"{model}, {cores} {'core' if cores == 1 else 'cores'}"
    return Environment(
        cpu_model=model,
        cpu_flags=flags,
        xla_flags=os.environ.get("XLA_FLAGS", ""),
        kernels=kernels,
        matmul_precision=config.jax_default_matmul_precision,
    )


@functools.cache
def _processor():
    """The processor's name and its instruction sets for arithmetic, as Linux tells them."""
    if not _CPU_INFORMATION.exists():
        return platform.processor() or None, ()
    information = {}
    for line in _CPU_INFORMATION.read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        information.setdefault(name.strip().lower(), value.strip())
    words = information.get("flags", information.get("features", "")).split()
    flags = tuple(sorted(word for word in words if _ARITHMETIC.fullmatch(word)))
    name = information.get("model name") or platform.processor()
    # A virtual machine often hides the product's name, but not the family.
    numbers = [f"{key} {information[key]}" for key in _FAMILY if key in information]
    return " ".join(filter(None, [name, *numbers])) or None, flags


def _git_state(folder):
    """The commit and whether tracked files differ from it; None twice outside a checkout."""

    def git(*arguments):
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout

    try:
        if not git("ls-files", "__init__.py"):
            return None, None
        return git("rev-parse", "HEAD").strip(), bool(git("status", "--porcelain", "-uno").strip())
    except (OSError, subprocess.SubprocessError):
        return None, None
