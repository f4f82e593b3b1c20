"""What is trained and measured: batches, loss, metrics and targets."""

from jaxeff.tasks.image_classification import ImageClassification
from jaxeff.tasks.task import LOSS, Metric, Target, Task, averages_of, parse_target

__all__ = [
    "LOSS",
    "ImageClassification",
    "Metric",
    "Target",
    "Task",
    "averages_of",
    "parse_target",
]
