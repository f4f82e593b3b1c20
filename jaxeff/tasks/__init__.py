"""What is trained and measured: batches, loss, metrics and targets."""

from jaxeff.tasks.image_classification import ImageClassification as ImageClassification
from jaxeff.tasks.task import LOSS as LOSS
from jaxeff.tasks.task import Metric as Metric
from jaxeff.tasks.task import Target as Target
from jaxeff.tasks.task import Task as Task
from jaxeff.tasks.task import averages_of as averages_of
from jaxeff.tasks.task import parse_target as parse_target
