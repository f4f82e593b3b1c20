"""The run record: what a run measured, in one validated JSON file."""

from jaxeff.records.archive import read_archive, shipped, write_archive
from jaxeff.records.files import from_json, read, write
from jaxeff.records.provenance import environment, software
from jaxeff.records.record import (
    EMA,
    SCHEMA_VERSION,
    Compute,
    Dataset,
    Environment,
    Hardware,
    Model,
    Point,
    Record,
    Software,
    Target,
    Timing,
    crossing,
    is_met,
)

__all__ = [
    "EMA",
    "SCHEMA_VERSION",
    "Compute",
    "Dataset",
    "Environment",
    "Hardware",
    "Model",
    "Point",
    "Record",
    "Software",
    "Target",
    "Timing",
    "crossing",
    "environment",
    "from_json",
    "is_met",
    "read",
    "read_archive",
    "shipped",
    "software",
    "write",
    "write_archive",
]
