"""Training to a target: recipes, the step, the loop and what it writes."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from jaxeff.train import optimizers, schedules, workdir, writers
    from jaxeff.train.accounting import training_cost, training_step_cost
    from jaxeff.train.evaluation import evaluate_variables, restore_variables
    from jaxeff.train.hosts import ending_together
    from jaxeff.train.loop import train_to_target
    from jaxeff.train.meeting import join_processes
    from jaxeff.train.recipe import Ema, Phase, Recipe, Timetable, check_optimizer, phase, steps_of
    from jaxeff.train.recipes import RECIPES, resolve
    from jaxeff.train.run import Run, target_metrics

__all__ = [
    "RECIPES",
    "Ema",
    "Phase",
    "Recipe",
    "Run",
    "Timetable",
    "check_optimizer",
    "ending_together",
    "evaluate_variables",
    "join_processes",
    "optimizers",
    "phase",
    "resolve",
    "restore_variables",
    "schedules",
    "steps_of",
    "target_metrics",
    "train_to_target",
    "training_cost",
    "training_step_cost",
    "workdir",
    "writers",
]
