"""When a record's network was published, and where: as its file says, or as the paper's table does.

A network of a user's own is dated by `PUBLISHED` and linked by `URL` in its file, whatever it is
called; without them it is undated. The packaged ones of the paper's Table 3 have their first arXiv
versions.
"""

import datetime

from jaxeff.records import Record
from jaxeff.report import published

UNDATED = "undated"


def date_of(record: Record) -> datetime.date | None:
    """The day on which the record's network was published; None where none is known."""
    if record.model.published is not None:
        return datetime.date.fromisoformat(record.model.published)
    row = _of_the_paper(record)
    return row and row.published


def link_of(record: Record) -> str | None:
    """The address of its publication; None where none is known, or it is no web address."""
    url = record.model.url
    if url is not None:
        return url if url.startswith(("https://", "http://")) else None
    row = _of_the_paper(record)
    return f"https://arxiv.org/abs/{row.arxiv}" if row and row.arxiv else None


def date_text(record: Record) -> str:
    """The date in ISO form, or `undated`."""
    date = date_of(record)
    return date.isoformat() if date else UNDATED


def _of_the_paper(record):
    if record.model.source is not None:
        return None
    rows = {row.our_name: row for row in published.alexnet_level()}
    return rows.get(record.model.name)
