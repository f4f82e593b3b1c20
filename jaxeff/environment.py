"""Settings of the process that JAX reads once, when it first computes."""

import importlib.metadata
import os
import pathlib
import re

# XLA's CPU backend hands convolutions to the library YNNPACK, which in these versions of jaxlib
# spreads them over one core where there are few output channels and has no fast gradient of the
# kernel; XLA's own (Eigen's) take half the time forward and a tenth for that gradient.
NO_YNNPACK = "--xla_cpu_experimental_ynn_fusion_type="
YNNPACK_VERSIONS = ((0, 10), (0, 12))


def prepare(compilation_cache: bool) -> None:
    """Sets what the commands want of JAX; variables that are set already stay as they are.

    Call it before JAX computes anything.

    Args:
      compilation_cache: keep compiled programs in the user's cache folder
        (`$XDG_CACHE_HOME/jaxeff`, `~/.cache/jaxeff`), where the next start finds them.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    # XLA ends the process at a flag that it does not know.
    if "xla_cpu_experimental_ynn" not in flags and _has_ynnpack():
        os.environ["XLA_FLAGS"] = f"{flags} {NO_YNNPACK}".strip()
    if not compilation_cache:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        return
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def cache_folder() -> pathlib.Path:
    """`$XDG_CACHE_HOME/jaxeff`, or `~/.cache/jaxeff`."""
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(caches) / "jaxeff"


def _has_ynnpack():
    version = re.findall(r"\d+", importlib.metadata.version("jaxlib"))[:2]
    first, last = YNNPACK_VERSIONS
    return first <= tuple(int(number) for number in version) <= last
