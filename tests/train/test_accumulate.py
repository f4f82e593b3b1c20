"""A step that computes the gradient of its batch in parts."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxeff import data, tasks, train
from jaxeff.errors import UsageError
from jaxeff.nn import Dense, Dropout
from jaxeff.train import parallel, steps

BATCH, SIZE = 32, 16


class _Net(nn.Module):
    num_classes: int = 10
    rate: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, inputs, train=False):
        x = nn.relu(Dense(64)(inputs.reshape(len(inputs), -1)))
        return Dense(self.num_classes)(Dropout(self.rate, self.axis_name)(x, train))


def _task():
    return tasks.ImageClassification(data.load("synthetic", image_size=SIZE), SIZE)


def _recipe(accumulate):
    return train.Recipe("r", 1, BATCH, optax.sgd(0.1, momentum=0.9), accumulate=accumulate)


def _batch():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 255, (BATCH, SIZE, SIZE, 3), np.uint8),
        "label": rng.integers(0, 10, BATCH, np.int32),
    }


def _in_parts(batch, parts):
    return {key: value.reshape(parts, -1, *value.shape[1:]) for key, value in batch.items()}


def _state(module, tx):
    return jax.jit(lambda: steps.initial_state(module, tx, _task(), seed=0))()


def _step(module, tx, parts=1):
    return jax.jit(steps.make_train_step(module, tx, _task(), accumulate=parts))


def test_the_mean_over_the_parts_is_the_step_of_the_whole_batch():
    module, tx, batch = _Net(), optax.sgd(0.1, momentum=0.9), _batch()
    state = _state(module, tx)
    whole, loss = _step(module, tx)(state, batch)
    parts, loss_of_parts = _step(module, tx, 4)(state, _in_parts(batch, 4))
    np.testing.assert_allclose(loss_of_parts, loss, rtol=1e-6)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_the_count_is_that_of_the_whole_batch_and_the_additions():
    counts = {
        parts: train.training_cost(_Net(), _recipe(parts), _task()).flops_per_step
        for parts in (1, 4)
    }
    state = jax.eval_shape(
        lambda: steps.initial_state(_Net(), _recipe(1).optimizer, _task(), seed=0)
    )
    params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    # A sum of four gradients and a zero, and a division; a loop counted once would be far below.
    assert counts[4] - counts[1] == pytest.approx(5 * params, rel=0.01)
    macs = [
        train.training_cost(_Net(), _recipe(n), _task()).macs_forward_per_example for n in (1, 4)
    ]
    assert macs[0] == macs[1]


def test_it_takes_less_memory():
    class Deep(nn.Module):
        axis_name: str | None = None

        @nn.compact
        def __call__(self, inputs, train=False):
            x = inputs
            for _ in range(4):
                x = nn.relu(nn.Conv(32, (3, 3))(x))
            return nn.Dense(10)(x.mean((1, 2)))

    def bytes_of(parts):
        step = steps.make_train_step(Deep(), optax.sgd(0.1), _task(), accumulate=parts)
        state = jax.eval_shape(lambda: steps.initial_state(Deep(), optax.sgd(0.1), _task(), seed=0))
        batch = _batch() if parts == 1 else _in_parts(_batch(), parts)
        return jax.jit(step).lower(state, batch).compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(8) < 0.5 * bytes_of(1)


def test_each_part_drops_its_own_features():
    """Of one image twice: equal masks would make the mean loss that of the image once."""
    module, tx = _Net(rate=0.5), optax.sgd(0.0)
    state = _state(module, tx)
    once = {key: value[:1] for key, value in _batch().items()}
    twice = {key: np.stack([value, value]) for key, value in once.items()}
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), 0)

    @jax.jit
    def loss_of(key):
        variables, inputs = {"params": state.params}, _task().inputs(once)
        logits = module.apply(variables, inputs, train=True, rngs={"dropout": key})
        return _task().loss(logits, once, {})

    expected = [float(loss_of(jax.random.fold_in(key, number))) for number in range(2)]
    _, loss = _step(module, tx, 2)(state, twice)
    assert expected[0] != pytest.approx(expected[1], rel=1e-3)
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_parts_of_a_batch_are_those_that_follow_each_other():
    """Place 8 of the global batch is the first of the second part, whatever devices there are."""
    parts = ({"label": np.arange(8, dtype=np.int32) + 8 * i} for i in range(4))
    first, second = parallel.to_devices(parts, parts=2)
    np.testing.assert_array_equal(first["label"].reshape(-1), np.arange(16))
    np.testing.assert_array_equal(second["label"].reshape(-1), np.arange(16, 32))
    assert first["label"].shape == (1, 2, 8)


def test_a_batch_that_has_no_equal_parts_is_refused():
    with pytest.raises(ValueError, match="batch_size 32 has no 5 equal parts"):
        dataclasses.replace(_recipe(1), accumulate=5)
    with pytest.raises(UsageError, match="--accumulate"):
        parallel.check_batch_size(32, parts=5)


def test_the_large_batches_rate_is_in_proportion_to_them():
    small, large = (
        train.resolve("large_batch", "resnet50", train_examples=1_281_167, batch_size=size)
        for size in (4096, 8192)
    )
    assert (small.lr, large.lr) == (5.0, 10.0)
    steps_of_warmup = round(5 * 1_281_167 / 8192)
    assert large.schedule(0) == 0
    assert float(large.schedule(steps_of_warmup)) == pytest.approx(10)
    total = train.steps_of(90, 1_281_167 / 8192)
    halfway = steps_of_warmup + (total - steps_of_warmup) // 2
    assert float(large.schedule(halfway)) == pytest.approx(2.5, rel=0.01)
    assert float(large.schedule(total)) == 0
