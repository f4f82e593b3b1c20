"""The run record: what a run measured, in one validated JSON file."""

from jaxeff.records.files import from_json as from_json
from jaxeff.records.files import read as read
from jaxeff.records.files import write as write
from jaxeff.records.provenance import environment as environment
from jaxeff.records.provenance import software as software
from jaxeff.records.record import EMA as EMA
from jaxeff.records.record import SCHEMA_VERSION as SCHEMA_VERSION
from jaxeff.records.record import Compute as Compute
from jaxeff.records.record import Dataset as Dataset
from jaxeff.records.record import Environment as Environment
from jaxeff.records.record import Hardware as Hardware
from jaxeff.records.record import Model as Model
from jaxeff.records.record import Point as Point
from jaxeff.records.record import Record as Record
from jaxeff.records.record import Software as Software
from jaxeff.records.record import Target as Target
from jaxeff.records.record import Timing as Timing
from jaxeff.records.record import crossing as crossing
from jaxeff.records.record import is_met as is_met
