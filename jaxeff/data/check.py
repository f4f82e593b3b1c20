"""Which images cannot be read, found before a run needs them."""

import io
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxeff.data.augment import decode, open_image
from jaxeff.data.concurrency import in_threads
from jaxeff.data.dataset import ArraySource, Source
from jaxeff.errors import UsageError

# Of the files that cannot be read, so many are named.
MOST_NAMED = 20
_HEADER_THREADS = 16  # a network file system answers one request in about a millisecond


class Unreadable(NamedTuple):
    """An image that cannot be read: which, and why."""

    name: str
    reason: str


def check_headers(source: Source, noun: str = "image", progress=iter) -> list[Unreadable]:
    """The images of `source` that cannot be opened, or whose first bytes are of no image.

    Nothing is decoded, so an image that is damaged further on is not found.

    Args:
      source: labelled images.
      noun: what an image that is no file is called, before its number.
      progress: wraps the iteration over the images, to show how far it is.
    """
    if isinstance(source, ArraySource):
        return []
    return _failures(source, noun, _open, _HEADER_THREADS, progress)


def check_pixels(source: Source, noun: str = "image", progress=iter) -> list[Unreadable]:
    """The images of `source` that cannot be decoded whole.

    Args:
      source: labelled images.
      noun: what an image that is no file is called, before its number.
      progress: wraps the iteration over the images, to show how far it is.
    """
    if isinstance(source, ArraySource):
        return []
    return _failures(source, noun, decode, None, progress)


def require_readable(flag: str, total: int, unreadable: Sequence[Unreadable]) -> None:
    """Raises `UsageError` that names the first twenty of `unreadable`, where there are any.

    Args:
      flag: what found them, the beginning of the message.
      total: number of images looked at.
      unreadable: what was found.
    """
    if not unreadable:
        return
    named = "; ".join(f"{name} ({reason})" for name, reason in unreadable[:MOST_NAMED])
    more = len(unreadable) - MOST_NAMED
    raise UsageError(
        f"{flag}: {len(unreadable):,} of {total:,} images cannot be read: {named}"
        + (f"; and {more:,} more" if more > 0 else "")
        + ". Replace or remove them, then run the same command again (with --accept_changed_data "
        "where the run has begun)"
    )


def _failures(
    source: Source,
    noun: str,
    read: Callable[[object], object],
    threads: int | None,
    progress: Callable[[Iterable[int]], Iterable[int]],
) -> list[Unreadable]:
    def failure(index):
        image = source[index]["image"]
        try:
            read(image)
        except Exception as error:  # PIL's parsers let through whatever bytes make them raise.
            cause = error.__cause__ or error
            reason = " ".join(str(cause).split())[:150] or type(cause).__name__
            if isinstance(cause, OSError) and cause.errno is not None:
                reason = os.strerror(cause.errno)
            elif "cannot identify image file" in reason:
                reason = "no known image format"
            name = os.fspath(image) if isinstance(image, str | os.PathLike) else f"{noun} {index}"
            return Unreadable(name, reason)
        return None

    found = in_threads(failure, range(len(source)), progress, threads)
    return [unreadable for unreadable in found if unreadable is not None]


def _open(image) -> None:
    if isinstance(image, np.ndarray):
        return
    with open_image(io.BytesIO(image) if isinstance(image, bytes) else image):
        pass
