"""Counts models' training steps as the paper trains them, several at a time."""


def training_cost(name: str, *, image_size: int, batch_size: int, num_classes: int):
    """Counts one step of the paper's recipe for architecture `name`.

    Returns:
      A `jaxeff.train.TrainingCost`.
    """
    from jaxeff import train

    return train.training_cost(*_paper_training(name, image_size, batch_size, num_classes))


def training_step_cost(name: str, *, image_size: int, batch_size: int, num_classes: int):
    """Counts the step of `training_cost` by layer and phase.

    Returns:
      A `jaxeff.compute.StepCost`.
    """
    from jaxeff import train

    return train.training_step_cost(*_paper_training(name, image_size, batch_size, num_classes))


def _paper_training(name: str, image_size: int, batch_size: int, num_classes: int):
    """Returns a model, the paper's recipe for it and the task."""
    import models
    from jaxeff import compute, data, tasks, train

    recipe = train.resolve(
        "paper", name, train_examples=compute.IMAGENET_EPOCH_IMAGES, batch_size=batch_size
    )
    # Only sizes and the normalisation, which is ImageNet's, are counted; no image is looked at.
    task = tasks.ImageClassification(data.load("synthetic"), image_size)
    return models.create(name, num_classes), recipe, task


def in_parallel(function, names: list[str], **arguments) -> list:
    """Calls `function(name, **arguments)` for each name, on all cores, with a progress bar.

    Returns:
      The results in the order of `names`.
    """
    import concurrent.futures
    import functools
    import multiprocessing
    import os

    from rich.console import Console
    from rich.progress import track

    counting = functools.partial(function, **arguments)
    workers = min(len(names), os.cpu_count() or 1)
    if workers == 1:
        return [counting(name) for name in names]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, spawn) as pool:
        rows = pool.map(counting, names)
        console = Console(stderr=True)
        return list(track(rows, "counting", len(names), console=console, transient=True))
