"""What a command says where it fails: in one line, with the exit status.

What a user can mend is exit status 2, and no traceback. Everything else is status 1 and may be a
fault of this program's own: its traceback comes before the line, for whoever reports it.
"""

import concurrent.futures
import sys

import user_files
from absl import flags

from jaxeff.errors import UsageError

MENDED_BY_THE_USER = 2
UNEXPECTED = 1


def explained(error: BaseException) -> tuple[str, int]:
    """The line that says what went wrong, what is safe and what to do; and the exit status."""
    safe = getattr(error, "what_is_safe", None)
    text, status = _told(error)
    return "; ".join(filter(None, (text, safe))), status


def _told(error):
    if out_of_memory(error):
        return f"out of memory ({_one_line(error)}): {_smaller()}", MENDED_BY_THE_USER
    if isinstance(error, concurrent.futures.BrokenExecutor):
        return (
            f"a process that this command started died, often for want of memory: {_smaller()}"
        ), MENDED_BY_THE_USER
    told = user_files.explained(error)
    if told is not None:
        return told, MENDED_BY_THE_USER
    if isinstance(error, UsageError):
        return str(error), MENDED_BY_THE_USER
    return (
        f"unexpected {type(error).__name__}: {_one_line(error)} (this may be a fault of jaxeff: "
        "report the lines above, and the command)"
    ), UNEXPECTED


def out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the machine or of a device was too small."""
    if isinstance(error, MemoryError):
        return True
    jax = sys.modules.get("jax")
    return (
        jax is not None
        and isinstance(error, jax.errors.JaxRuntimeError)
        and "RESOURCE_EXHAUSTED" in str(error)
    )


def _smaller():
    """What takes less memory, as far as the command has a flag for it."""
    ways = {
        "batch_size": "a smaller --batch_size",
        "accumulate": "--accumulate=2 or more, which computes each batch in parts",
        "num_workers": "fewer --num_workers",
    }
    given = [way for flag, way in ways.items() if flag in flags.FLAGS]
    return f"give {', or '.join(given)}" if given else "give less at a time, such as one model"


def _one_line(error):
    text = " ".join(str(error).split()) or "without a message"
    return text if len(text) <= 300 else text[:300] + "…"
