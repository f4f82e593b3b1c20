"""Batch size and size of the images by epoch, batch transforms, averages: what they do and cost."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxeff import compute, data, records, tasks, train
from jaxeff.train import phase, steps
from tests.train.tiny_run import TinyNet, tiny_run

PHASES = (phase(0, image_size=8), phase(1, batch_size=64), phase(2, image_size=16))


@pytest.fixture(scope="module")
def progressive(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("progressive")
    run = tiny_run(workdir, phases=PHASES, epochs=3, ema=train.Ema(0.9))
    return train.train_to_target(run), run


def _flops(run, image_size, batch_size):
    """XLA's count by JAX's own way, of the step with these sizes."""
    task = run.task.with_changes({"image_size": image_size})
    recipe, module = run.recipe, TinyNet(10)
    step = steps.make_train_step(module, recipe.optimizer, task, ema=recipe.ema)
    state = jax.eval_shape(
        lambda: steps.initial_state(module, recipe.optimizer, task, 0, recipe.ema)
    )
    return compute.xla_flops(step, state, task.batch_shapes(batch_size))


def test_each_phase_is_a_segment_that_costs_what_its_steps_cost(progressive):
    record, run = progressive
    examples = run.task.train_examples
    sizes = [(segment.changes["image_size"], segment.batch_size) for segment in segments(record)]
    assert sizes == [(8, 32), (8, 64), (16, 64)]
    for segment, (size, batch) in zip(segments(record), sizes, strict=True):
        assert segment.flops_per_step == _flops(run, size, batch)
    # 5x5/2 to half the size, 3x3/2 to a quarter, dense 32 to 10.
    assert [s.macs_forward_per_example for s in segments(record)] == [
        (size // 2) ** 2 * 16 * 75 + (size // 4) ** 2 * 32 * 144 + 320 for size in (8, 8, 16)
    ]
    first = -(-examples // 32)
    assert segments(record)[1].from_step == first
    assert record.curve[0].examples == 32 * first
    assert record.curve[-1].examples >= 3 * examples > record.curve[-1].examples - 64
    expected = sum(
        segment.flops_per_step * (end - segment.from_step)
        for segment, end in zip(
            segments(record),
            [segments(record)[1].from_step, segments(record)[2].from_step, record.curve[-1].step],
            strict=True,
        )
    )
    assert record.compute.train_flops == expected


def segments(record):
    return record.compute.segments


def test_a_phase_trains_on_the_images_that_follow(progressive):
    """The second span's first batch begins where the first span's last one ended."""
    _, run = progressive
    second = run.spans[1]
    options = data.StreamOptions(64, seed=run.seed, start_example=second.from_example)
    batches = run.task_of(second).train_batches(options, data.Shard())
    batch = next(batches)
    batches.close()
    one_by_one = run.task_of(second).train_batches(
        data.StreamOptions(1, seed=run.seed), data.Shard()
    )
    labels = [next(one_by_one)["label"][0] for _ in range(second.from_example + 64)]
    one_by_one.close()
    assert batch["image"].shape == (64, 8, 8, 3)
    assert batch["label"].tolist() == labels[-64:]


def test_an_average_is_measured_beside_the_parameters(progressive):
    record, run = progressive
    assert record.recipe["ema"] == {"decay": 0.9, "warmup": True}
    for point in record.curve:
        assert set(point.ema_metrics) == set(point.metrics)
    assert record.curve[-1].ema_metrics != record.curve[-1].metrics
    # Warmed up, it follows the parameters from the first epoch on, far below log(10) at the end.
    for point in record.curve:
        assert abs(point.ema_metrics["loss"] - point.metrics["loss"]) < 0.5
    assert record.curve[-1].ema_metrics["loss"] < 2.0
    assert records.read(run.workdir / "record.json") == record


def test_a_target_may_be_of_the_average(tmp_path, capsys):
    run = tiny_run(tmp_path, ema=train.Ema(0.5))
    metric = next(metric for metric in run.metrics if metric.name == "ema_top1")
    run = dataclasses.replace(run, target=tasks.Target(metric, 0.21))
    record = train.train_to_target(run)
    assert record.status == "reached"
    first = next(point for point in record.curve if point.ema_metrics["top1"] >= 0.21)
    assert record.target.step == first.step
    assert "21 % top-1 of the average: reached" in capsys.readouterr().out


def test_an_interrupted_run_with_phases_ends_as_the_whole_one(progressive, tmp_path):
    whole, _ = progressive
    make = functools.partial(tiny_run, tmp_path, phases=PHASES, epochs=3, ema=train.Ema(0.9))
    target = tasks.parse_target("top1:0.11", make().task.metrics)
    stops = dataclasses.replace(make(), target=target)
    assert train.train_to_target(stops).status == "reached"
    # The same run, told to go on: only the target differs, so its record is put aside.
    (tmp_path / "record.json").unlink()
    record = _go_on(make())
    assert [point.metrics for point in record.curve] == [point.metrics for point in whole.curve]
    assert [p.ema_metrics for p in record.curve] == [p.ema_metrics for p in whole.curve]


def _go_on(run):
    """Goes on from the workdir's checkpoint as if its target had been `run`'s."""
    from unittest import mock

    with mock.patch("jaxeff.train.workdir.check_same_run"):
        return train.train_to_target(run)


def _halved(key, batch, axis_name):
    weight = jax.random.uniform(key)
    other = jnp.flip(batch["label"], 0)
    return {
        "image": weight * batch["image"] + (1 - weight) * jnp.flip(batch["image"], 0),
        "label": weight * batch["label"] + (1 - weight) * other,
    }


def test_what_the_devices_do_to_a_batch_is_charged(tmp_path):
    plain = train.training_cost(TinyNet(10), _recipe(), _task())
    mixed = train.training_cost(TinyNet(10), _recipe(), _task(batch_transforms=(_halved,)))
    numbers = 32 * 16 * 16 * 3
    # Two products and a sum for each number of the images, besides labels and the key.
    assert mixed.flops_per_step - plain.flops_per_step > 3 * numbers
    run = tiny_run(tmp_path, epochs=1, batch_transforms=(_halved,))
    record = train.train_to_target(run)
    assert record.compute.segments[0].flops_per_step == mixed.flops_per_step
    assert record.recipe["batch_transforms"] == ["_halved"]


def test_what_the_host_does_is_not():
    bare = data.Augmentation()
    assert (
        train.training_cost(TinyNet(10), _recipe(), _task(transforms=bare)).flops_per_step
        == train.training_cost(TinyNet(10), _recipe(), _task()).flops_per_step
    )


def test_an_average_is_charged():
    plain = train.training_cost(TinyNet(10), _recipe(), _task())
    averaged = train.training_cost(TinyNet(10), _recipe(ema=train.Ema()), _task())
    state = jax.eval_shape(lambda: TinyNet(10).init(jax.random.key(0), jnp.zeros((1, 16, 16, 3))))
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state))
    # A difference, a product and a sum for each.
    assert 0 <= averaged.flops_per_step - plain.flops_per_step - 3 * numbers < 100


def test_cropping_on_the_devices_is_charged():
    plain = train.training_cost(TinyNet(10), _recipe(), _task())
    cached = train.training_cost(TinyNet(10), _recipe(), _task(cache_on_devices=True))
    side = data.load("synthetic").train.images.shape[1]
    # The products that resize `side` pixels to 16, across and down.
    products = 2 * 32 * 3 * (16 * side * side + 16 * 16 * side)
    assert cached.flops_per_step - plain.flops_per_step > products


def test_mirrored_pairs_are_measured_and_counted_apart():
    task = _task(test_time_flips=True)
    assert [metric.name for metric in task.metrics][3:] == ["flip_loss", "flip_top1", "flip_top5"]
    cost = train.training_cost(TinyNet(10), _recipe(), task)
    macs = cost.macs_forward_per_example
    assert cost.evaluation_macs_per_example == {"": macs, "flip_": 2 * macs}

    module = TinyNet(10)
    variables = module.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8),
        "label": np.array([0, 1, 2, 3], np.int32),
        "mask": np.array([True, True, True, False]),
    }
    step = steps.make_evaluation_step(module, task)
    sums = step(variables["params"], {"batch_stats": variables["batch_stats"]}, batch)
    images = task.inputs(batch)
    logits = (module.apply(variables, images) + module.apply(variables, images[:, :, ::-1])) / 2
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    np.testing.assert_allclose(sums["flip_loss"], losses[:3].sum(), rtol=1e-5)
    assert sums["loss"] != sums["flip_loss"]


def _task(**fields):
    dataset = dataclasses.replace(data.load("synthetic"), horizontal_flip=True)
    return tasks.ImageClassification(dataset, image_size=16, **fields)


def _recipe(**fields):
    recipe = train.resolve("small", "tiny", train_examples=640, batch_size=32)
    return dataclasses.replace(recipe, **fields)
