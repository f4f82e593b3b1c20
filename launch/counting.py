"""Counts models' training steps as the paper trains them, several at a time."""


def training_cost(model, *, image_size: int, batch_size: int, num_classes: int):
    """Counts one step of the paper's recipe for `model`, a `networks.ModelSpec`.

    Returns:
      A `jaxeff.train.TrainingCost`.
    """
    from jaxeff import train

    return train.training_cost(*_paper_training(model, image_size, batch_size, num_classes))


def training_step_cost(model, *, image_size: int, batch_size: int, num_classes: int):
    """Counts the step of `training_cost` by layer and phase.

    Returns:
      A `jaxeff.compute.StepCost`.
    """
    from jaxeff import train

    return train.training_step_cost(*_paper_training(model, image_size, batch_size, num_classes))


def training_bytes(model, *, image_size: int, batch_size: int, num_classes: int, dtype: str) -> int:
    """Counts the bytes that a step with the whole batch on one device moves.

    Returns:
      The count of `jaxeff.compute.count_bytes`.
    """
    from jaxeff import compute

    return compute.count_bytes(*step_and_shapes(model, image_size, batch_size, num_classes, dtype))


def step_and_shapes(
    model,
    image_size: int,
    batch_size: int,
    num_classes: int,
    dtype: str,
    axis_name: str | None = None,
) -> tuple:
    """The step that `launch/train.py` takes, and the shapes of its state and of its batch.

    Args:
      model: a `networks.ModelSpec`.
      image_size: side of the images in pixels.
      batch_size: images a step, over all devices.
      num_classes: of the network.
      dtype: of the arithmetic.
      axis_name: the axis over the devices that share the batch; None where one has it whole.
    """
    import jax

    from jaxeff.train import steps

    _, recipe, task = _paper_training(model, image_size, batch_size, num_classes)
    module = model.make_module(num_classes, dtype, axis_name)
    step = steps.make_train_step(
        module, recipe.optimizer, task, axis_name=axis_name, remat=recipe.remat, ema=recipe.ema
    )
    state = jax.eval_shape(
        lambda: steps.initial_state(module, recipe.optimizer, task, seed=0, ema=recipe.ema)
    )
    return step, state, task.batch_shapes(batch_size)


def _paper_training(model, image_size: int, batch_size: int, num_classes: int):
    """Returns a model, the paper's recipe for it and the task."""
    import networks

    from jaxeff import compute, data, tasks, train

    networks.require_size(model, image_size)
    recipe = train.resolve(
        "paper", model.name, train_examples=compute.IMAGENET_EPOCH_IMAGES, batch_size=batch_size
    )
    # Only sizes and the normalisation, which is ImageNet's, are counted; no image is looked at.
    task = tasks.ImageClassification(data.load("synthetic"), image_size)
    return model.make_module(num_classes), recipe, task


def in_parallel(function, models: list, **arguments) -> list:
    """Calls `function(model, **arguments)` for each model, on all cores, with a progress bar.

    Returns:
      The results in the order of `models`, which are `networks.ModelSpec`.
    """
    import concurrent.futures
    import functools
    import multiprocessing
    import os

    from rich.console import Console
    from rich.progress import track

    counting = functools.partial(_count, function, **arguments)
    workers = min(len(models), os.cpu_count() or 1)
    if workers == 1:
        return [counting(model) for model in models]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, spawn) as pool:
        rows = pool.map(counting, models)
        console = Console(stderr=True)
        shown = track(
            rows,
            "counting",
            len(models),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        return list(shown)


def _count(function, model, **arguments):
    """Calls `function`; errors travel between processes without the lines that they came from."""
    import user_files

    with user_files.errors_explained():
        return function(model, **arguments)
