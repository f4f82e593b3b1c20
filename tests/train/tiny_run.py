"""A run of a tiny network on the synthetic images: `python tiny_run.py WORKDIR [field=value …]`.

Prints the record as JSON. Other processes use it to see what a run does with several devices, when
it is killed, and when it is resumed.
"""

import ast
import dataclasses
import functools
import json
import pathlib
import sys

import jax.numpy as jnp
from flax import linen as nn

from jaxeff import data, tasks, train
from jaxeff.nn import BatchNorm, Conv, Dense, Dropout, global_average_pool

RECIPE_FIELDS = ("epochs", "batch_size", "lr")
REPLACED_FIELDS = ("remat", "ema", "phases", "batch_transforms", "evaluation_params", "optimizer")
TASK_FIELDS = ("cache_on_devices",)


class TinyNet(nn.Module):
    num_classes: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, train=False):
        x = Conv(16, 5, 2, 2)(images)
        x = nn.relu(BatchNorm(axis_name=self.axis_name)(x, train))
        x = nn.relu(Conv(32, 3, 2, 1)(x))
        x = Dropout(0.1, self.axis_name)(global_average_pool(x), train)
        return Dense(self.num_classes)(x).astype(jnp.float32)


def tiny_run(workdir, **fields) -> train.Run:
    dataset = data.load("synthetic", image_size=16)
    recipe = {"epochs": 3, "batch_size": 32, "lr": 0.05}
    recipe |= {key: fields.pop(key) for key in RECIPE_FIELDS if key in fields}
    recipe = train.resolve("small", "tiny", train_examples=len(dataset.train), **recipe)
    replaced = {key: fields.pop(key) for key in REPLACED_FIELDS if key in fields}
    recipe = dataclasses.replace(recipe, **replaced)
    task = tasks.ImageClassification(
        dataset,
        image_size=16,
        **{key: fields.pop(key) for key in TASK_FIELDS if key in fields},
    )
    defaults = {
        "model": "tiny",
        "make_module": functools.partial(TinyNet, dataset.num_classes),
        "task": task,
        "recipe": recipe,
        "target": tasks.parse_target(fields.pop("target", "top1:1.0"), task.metrics),
        "workdir": pathlib.Path(workdir),
        "log_every": 5,
    }
    return train.Run(**(defaults | fields))


def main():
    workdir, *settings = sys.argv[1:]
    fields = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        try:
            fields[key] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            fields[key] = value
    where = [fields.pop(name, None) for name in ("coordinator", "processes", "id")]
    link = train.join_processes(*where)
    with train.ending_together(link):
        record = train.train_to_target(tiny_run(workdir, **fields), link)
    print(json.dumps(record.to_json()))


if __name__ == "__main__":
    main()
