"""What the commands that count share: a model's training step as the paper trains it, all cores."""


def training_cost(name: str, *, image_size: int, batch_size: int, num_classes: int, by_layer=False):
    """What one step of the paper's recipe costs for architecture `name`.

    Returns:
      A `jaxeff.train.TrainingCost`, or with `by_layer` the `jaxeff.compute.StepCost` behind it.
    """
    import models
    from jaxeff import compute, train
    from jaxeff.data.dataset import IMAGENET_MEAN, IMAGENET_STD

    recipe = train.resolve("paper", name, batch_size=batch_size)
    steps_per_epoch = compute.IMAGENET_EPOCH_IMAGES / batch_size
    total_steps = round(recipe.epochs * steps_per_epoch)
    count = train.training_step_cost if by_layer else train.training_cost
    return count(
        models.create(name, num_classes),
        train.make_optimizer(recipe, total_steps, steps_per_epoch),
        image_size=image_size,
        batch_size=batch_size,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def in_parallel(function, names: list[str], **arguments) -> list:
    """`function(name, **arguments)` of each name, on all cores, in order, with a progress bar."""
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
