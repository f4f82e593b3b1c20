"""Which records are of ImageNet: told by what was trained on, since anything may be called so."""

from jaxeff.records import Record

CLASSES = 1000
TRAIN_IMAGES, VALIDATION_IMAGES = 1_281_167, 50_000
"""Of ILSVRC 2012, whole."""

# Up to here the five likeliest classes are all of them.
TRIVIAL_CLASSES = 5


def is_imagenet(record: Record) -> bool:
    """Whether the record counts the classes and images of ILSVRC 2012, whatever it calls them."""
    data = record.dataset
    return (
        record.task.get("num_classes") == CLASSES
        and (data.train_examples, data.validation_examples) == (TRAIN_IMAGES, VALIDATION_IMAGES)
        and not data.accepted_changes
    )


def few_classes(record: Record) -> str | None:
    """What a top-5 level is worth among few classes; None where it is worth what it seems."""
    classes = record.task.get("num_classes")
    if not record.target.metric.endswith("top5") or not isinstance(classes, int) or classes >= 100:
        return None
    if classes <= TRIVIAL_CLASSES:
        return f"top-5 of {classes} classes is trivial: every network is right"
    return f"chance alone gives a top-5 of {500 / classes:.3g} % among {classes} classes"
