"""What `--recipe` names: a packaged recipe, or a file of the user's with a function `recipe`."""

import dataclasses
import inspect
import pathlib
from collections.abc import Callable, Mapping

import user_files


def load(name: str, resolve: Callable) -> tuple[object, Mapping[str, str]]:
    """The recipe, and the texts of the user's files by path.

    Args:
      name: of a packaged recipe, or `FILE.py`.
      resolve: takes a name or a recipe's function and returns a `jaxeff.train.Recipe`.

    Raises:
      UsageError: there is no such recipe; the file does not run, has no such function, or makes no
        recipe that can train, with the line.
    """
    from jaxeff import train
    from jaxeff.errors import UsageError

    if not name.endswith(".py"):
        return resolve(name), {}
    file = user_files.run_file(pathlib.Path(name).expanduser())
    function = file.constant("recipe")
    if not inspect.isfunction(function):
        raise UsageError(
            f"{file.name}: has no function recipe(model_name, steps_per_epoch) that returns a "
            "jaxeff.train.Recipe"
        )
    where = f"{file.name}, line {function.__code__.co_firstlineno}"
    try:
        recipe = resolve(function)
        train.check_optimizer(recipe.optimizer)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(user_files.explain(error) or f"{where}: {what}") from error
    return dataclasses.replace(recipe, source=file.digest), file.sources
