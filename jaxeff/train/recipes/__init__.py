"""Training recipes by name. A new one is a file with a function `recipe` and a row here.

A recipe is a function `recipe(model_name, steps_per_epoch, …) -> Recipe`, packaged or a user's.
What it may be told beyond its first two arguments, it takes as keyword arguments of these names:
`epochs`, `batch_size` and `lr` (the user's flags; a recipe that does not take one cannot be told
it), `train_examples`, and the task's own facts, such as `num_classes`.
"""

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxeff.errors import UsageError
from jaxeff.train.recipe import Recipe
from jaxeff.train.recipes import cifar, large_batch, paper, paper_step, small

RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "paper": paper.recipe,
    "paper_step": paper_step.recipe,
    "small": small.recipe,
    "cifar": cifar.recipe,
    "large_batch": large_batch.recipe,
}
# Where a recipe does not say its batch size before it is told the steps of an epoch.
FIRST_GUESS = 256


def resolve(
    recipe: str | Callable[..., Recipe],
    model_name: str,
    *,
    train_examples: int,
    facts: Mapping[str, Any] | None = None,
    **given: Any,
) -> Recipe:
    """What a recipe comes to for a model and a data set.

    The function is called with the steps of an epoch, which depend on the batch size that it
    chooses: where that is another than was assumed, it is called again with the right number.

    Args:
      recipe: key of `RECIPES`, or a function like those there.
      model_name: name of the architecture.
      train_examples: in an epoch.
      facts: what else the function may take by keyword, such as `num_classes`.
      **given: what the user set, `epochs`, `batch_size` or `lr`; None leaves it to the recipe.

    Raises:
      UsageError: there is no such recipe, a value is out of range, the function does not take it,
        or returns no recipe.
    """
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            near = difflib.get_close_matches(recipe, RECIPES, n=1) or sorted(RECIPES)
            raise UsageError(
                f"unknown recipe {recipe!r}: did you mean {', '.join(near)}? A recipe of your own "
                "is given as a file, --recipe=FILE.py"
            )
        recipe = RECIPES[recipe]
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"--{name}={value}: give a number above 0")
    takes = _keywords(recipe)
    for name in given:
        if takes is not None and name not in takes:
            raise UsageError(
                f"--{name}={given[name]}: the recipe's function takes no argument {name}; add it "
                "there, or leave the flag out"
            )
    offered = {"train_examples": train_examples, **(facts or {})}
    offered = {name: value for name, value in offered.items() if takes is None or name in takes}
    batch_size = given.get("batch_size", FIRST_GUESS)
    for _ in range(3):
        made = recipe(model_name, train_examples / batch_size, **offered, **given)
        if not isinstance(made, Recipe):
            raise UsageError(
                f"recipe() returned {type(made).__name__}: return a jaxeff.train.Recipe"
            )
        if made.batch_size == batch_size:
            return made
        batch_size = made.batch_size
    raise UsageError(
        f"recipe() returns another batch size each time that it is called, at last {batch_size}: "
        "it must not depend on steps_per_epoch"
    )


def _keywords(function):
    """The names that `function` takes by keyword; None where it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name for parameter in parameters}
