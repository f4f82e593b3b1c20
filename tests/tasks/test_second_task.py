"""A task that is no image classification trains to a target and is recorded by the same code."""

import collections
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxeff import records, tasks, train

WEIGHTS = np.array([1.0, -2.0, 0.5], np.float32)


class Batches(collections.abc.Iterator):
    """Batches of a generator, with what the loop asks of an iterator over examples."""

    def __init__(self, generator):
        self._generator, self.skipped = generator, set()

    def __next__(self):
        return next(self._generator)

    def close(self):
        self._generator.close()


@dataclasses.dataclass(frozen=True)
class Regression(tasks.Task):
    """Fits `y = 1 x0 - 2 x1 + 0.5 x2`; the level is a mean squared error."""

    name = "regression"
    metrics = (tasks.LOSS, tasks.Metric("mae", "mean absolute error", False, False))
    example_noun = "points"
    dataset_name = "plane"
    fingerprint = "seeded"
    train_examples = 64
    validation_examples = 10
    may_skip = False
    notes = ()

    def settings(self):
        return {"features": 3}

    def changes(self):
        return {}

    def description(self):
        return "64 training and 10 validation points of a plane"

    def batch_shapes(self, batch_size):
        return {
            "x": jax.ShapeDtypeStruct((batch_size, 3), jnp.float32),
            "y": jax.ShapeDtypeStruct((batch_size,), jnp.float32),
        }

    def inputs(self, batch):
        return batch["x"]

    def loss(self, outputs, batch, collections):
        return jnp.square(outputs - batch["y"]).mean()

    def example_metrics(self, outputs, batch):
        error = outputs - batch["y"]
        return {"loss": jnp.square(error), "mae": jnp.abs(error)}

    def train_batches(self, options, shard):
        def batches():
            step = options.start_example // options.batch_size
            while True:
                rng = np.random.default_rng([options.seed, step])
                x = rng.standard_normal((options.batch_size, 3), np.float32)
                yield {"x": x, "y": x @ WEIGHTS}
                step += 1

        return Batches(batches())

    def validation_batches(self, batch_size, num_workers, shard):
        x = np.random.default_rng(0).standard_normal((10, 3), np.float32)
        filled = np.zeros((batch_size, 3), np.float32)
        filled[:10] = x
        mask = np.arange(batch_size) < 10
        return Batches(iter_once({"x": filled, "y": filled @ WEIGHTS, "mask": mask}))

    def example_name(self, index):
        return str(index)


def iter_once(batch):
    yield batch


class Linear(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(1)(x)[:, 0]


def _run(workdir, level="loss:0.05", **fields):
    task = Regression()
    return train.Run(
        model="linear",
        make_module=functools.partial(Linear),
        task=task,
        recipe=train.resolve(
            "small", "linear", train_examples=64, epochs=20, batch_size=16, lr=0.02
        ),
        target=tasks.parse_target(level, task.metrics),
        workdir=workdir,
        **fields,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("regression")
    return train.train_to_target(_run(workdir)), workdir


def test_a_regression_trains_to_a_loss_and_is_recorded(whole):
    record, workdir = whole
    assert record.status == "reached"
    assert record.target.metric == "loss"
    assert record.curve[-1].metrics["loss"] <= 0.05 < record.curve[-2].metrics["loss"]
    assert record.target.epoch == record.curve[-1].epoch
    assert record.task == {
        "name": "regression",
        "metrics": {"loss": "min", "mae": "min"},
        "features": 3,
    }
    # A product of 3 numbers with 3 weights.
    assert record.compute.segments[0].macs_forward_per_example == 3
    assert records.read(workdir / "record.json") == record
    assert (workdir / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_its_level_is_named_in_its_own_words(tmp_path, capsys):
    record = train.train_to_target(_run(tmp_path, level="mae:0.1"))
    out = capsys.readouterr().out
    assert "0.1 mean absolute error: reached at epoch" in out
    assert "points/s" in out
    assert record.curve[-1].metrics["mae"] <= 0.1


def test_its_unmet_level_says_the_least_loss(tmp_path, capsys):
    record = train.train_to_target(_run(tmp_path, level="loss:0"))
    assert record.status == "completed"
    least = min(point.metrics["loss"] for point in record.curve)
    assert f"not reached, best {least:.2f}" in capsys.readouterr().out


def test_a_task_has_what_the_protocol_asks_for():
    for attribute in (*tasks.Task.__annotations__, *vars(tasks.Task)):
        if not attribute.startswith("_"):
            assert hasattr(Regression, attribute), attribute
            assert hasattr(tasks.ImageClassification, attribute), attribute
