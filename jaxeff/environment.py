"""Settings that the C library reads when the process starts, and JAX when it first computes."""

import ctypes
import importlib.metadata
import os
import pathlib
import re
import sys

# XLA's CPU backend hands convolutions to the library YNNPACK, which in these versions of jaxlib
# spreads them over one core where there are few output channels and has no fast gradient of the
# kernel; XLA's own (Eigen's) take half the time forward and a tenth for that gradient.
NO_YNNPACK = "--xla_cpu_experimental_ynn_fusion_type="
YNNPACK_VERSIONS = ((0, 10), (0, 12))


# Asks glibc (from 2.35 on) to take its memory in huge pages. XLA's CPU backend asks for that of a
# step's intermediate results anew in every step, and the kernel hands it out page by page.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
_HUGE_PAGES_POLICY = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages() -> None:
    """Starts the program anew, with the same arguments, where huge pages have to be asked for.

    On Linux, and once: not where `GLIBC_TUNABLES` is set already. Call it first of all; a few
    hundredths of a second.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in HUGE_PAGES):
        return
    try:
        if "[madvise]" in _HUGE_PAGES_POLICY.read_text():
            os.execve(sys.executable, sys.orig_argv, {**os.environ, **HUGE_PAGES})
    except OSError:
        return  # Slower, no more.


def return_freed_memory() -> None:
    """Gives the system back what this process has freed and the C library (glibc) still holds."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


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
