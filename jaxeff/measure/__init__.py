"""Many runs: what several seeds of one configuration say of its compute to a level."""

from jaxeff.measure.budget import Budget as Budget
from jaxeff.measure.budget import budget as budget
from jaxeff.measure.budget import next_length as next_length
from jaxeff.measure.crossing import Crossing as Crossing
from jaxeff.measure.crossing import common_stop as common_stop
from jaxeff.measure.crossing import crossing as crossing
from jaxeff.measure.interval import Estimate as Estimate
from jaxeff.measure.interval import compute_to_level as compute_to_level
from jaxeff.measure.interval import factor as factor
from jaxeff.measure.interval import paired_factor as paired_factor
from jaxeff.measure.interval import relative_spread as relative_spread
from jaxeff.measure.interval import seeds_needed as seeds_needed
from jaxeff.measure.known import Spread as Spread
from jaxeff.measure.known import known_spread as known_spread
from jaxeff.measure.level import Proposal as Proposal
from jaxeff.measure.level import propose_level as propose_level
from jaxeff.measure.table import Row as Row
from jaxeff.measure.table import as_csv as as_csv
from jaxeff.measure.table import table as table
from jaxeff.measure.table import text as text
