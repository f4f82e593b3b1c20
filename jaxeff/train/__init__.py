"""Training to a target accuracy: recipes, steps, the loop and what it writes."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from jaxeff.train.accounting import training_cost as training_cost
    from jaxeff.train.accounting import training_step_cost as training_step_cost
    from jaxeff.train.devices import first_shard as first_shard
    from jaxeff.train.devices import join_processes as join_processes
    from jaxeff.train.devices import to_devices as to_devices
    from jaxeff.train.evaluation import evaluate_variables as evaluate_variables
    from jaxeff.train.evaluation import restore_variables as restore_variables
    from jaxeff.train.loop import Run as Run
    from jaxeff.train.loop import Session as Session
    from jaxeff.train.loop import train_to_target as train_to_target
    from jaxeff.train.optimizer import make_optimizer as make_optimizer
    from jaxeff.train.recipes import RECIPES as RECIPES
    from jaxeff.train.recipes import Recipe as Recipe
    from jaxeff.train.recipes import resolve as resolve
    from jaxeff.train.target import Target as Target
    from jaxeff.train.target import parse_target as parse_target
