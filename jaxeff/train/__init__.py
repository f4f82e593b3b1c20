"""Training to a target: recipes, the step, the loop and what it writes."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from jaxeff.train import optimizers as optimizers
    from jaxeff.train import schedules as schedules
    from jaxeff.train import workdir as workdir
    from jaxeff.train.accounting import training_cost as training_cost
    from jaxeff.train.accounting import training_step_cost as training_step_cost
    from jaxeff.train.evaluation import evaluate_variables as evaluate_variables
    from jaxeff.train.evaluation import restore_variables as restore_variables
    from jaxeff.train.hosts import ending_together as ending_together
    from jaxeff.train.hosts import join_processes as join_processes
    from jaxeff.train.loop import train_to_target as train_to_target
    from jaxeff.train.recipe import Ema as Ema
    from jaxeff.train.recipe import Phase as Phase
    from jaxeff.train.recipe import Recipe as Recipe
    from jaxeff.train.recipe import Timetable as Timetable
    from jaxeff.train.recipe import check_optimizer as check_optimizer
    from jaxeff.train.recipe import phase as phase
    from jaxeff.train.recipe import steps_of as steps_of
    from jaxeff.train.recipes import RECIPES as RECIPES
    from jaxeff.train.recipes import resolve as resolve
    from jaxeff.train.run import Run as Run
    from jaxeff.train.run import target_metrics as target_metrics
