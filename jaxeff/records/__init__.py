"""The run record: what a run measured, in one validated JSON file."""

from jaxeff.records.record import SCHEMA_VERSION as SCHEMA_VERSION
from jaxeff.records.record import read as read
from jaxeff.records.record import software as software
from jaxeff.records.record import validate as validate
from jaxeff.records.record import write as write
from jaxeff.records.record import write_atomically as write_atomically
