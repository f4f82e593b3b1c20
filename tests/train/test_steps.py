import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxeff import compute, data, tasks
from jaxeff.errors import UsageError
from jaxeff.train import checkpoints, parallel, steps
from tests.devices import on_four_devices
from tests.train.tiny_run import TinyNet

STEPS = 3


def _mask(params):
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


OPTIMIZERS = {
    "sgd": optax.sgd(0.1, momentum=0.9),
    "adamw": optax.adamw(1e-2, weight_decay=0.05, mask=_mask),
    "lamb": optax.lamb(1e-2),
    "adafactor": optax.adafactor(1e-2, min_dim_size_to_factor=8),
    "muon": optax.contrib.muon(1e-2),
    "MultiSteps": optax.MultiSteps(optax.adam(1e-2), every_k_schedule=2),
    "schedule_free_sgd": optax.contrib.schedule_free_sgd(1e-1),
    "masked": optax.masked(optax.adam(1e-2), _mask),
}


class Dense(nn.Module):
    """Two layers without normalisation, whose gradients do not amplify rounding."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.tanh(nn.Dense(16)(images.reshape(len(images), -1)))
        return nn.Dense(10)(x)


def _task():
    return tasks.ImageClassification(data.load("synthetic"), image_size=8)


def _batches(rng):
    return [
        {
            "image": rng.integers(0, 256, (16, 8, 8, 3), np.uint8),
            "label": rng.integers(0, 10, 16, np.int32),
        }
        for _ in range(STEPS)
    ]


@pytest.fixture(scope="module")
def task():
    return _task()


@pytest.fixture(scope="module")
def batches():
    return _batches(np.random.default_rng(0))


def _by_jaxeff(tx, task, batches, seed=0):
    """The parameters after our step by `pmap` over all devices."""
    step = steps.make_train_step(Dense(), tx, task, axis_name=parallel.AXIS)
    step = parallel.pmap(step, in_axes=(None, 0), donate_argnums=0)
    state = parallel.replicate(steps.initial_state(Dense(), tx, task, seed))
    for batch in parallel.to_devices(batches):
        state, _ = step(state, batch)
    return jax.device_get(state.params)


def _by_optax(tx, task, batches, seed=0):
    """The same by a loop that only Flax and Optax take part in."""
    variables = Dense().init(jax.random.key(seed), jnp.zeros((1, 8, 8, 3)))
    params, opt_state = variables["params"], tx.init(variables["params"])
    mean, std = (np.float32(scale) for scale in (task.dataset.mean, task.dataset.std))

    @jax.jit
    def step(params, opt_state, batch):
        images = (batch["image"].astype(jnp.float32) - 255 * mean) * (1 / (255 * std))

        def loss_fn(params):
            logits = Dense().apply({"params": params}, images, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

        grads = jax.grad(loss_fn)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for batch in batches:
        params, opt_state = step(params, opt_state, batch)
    return jax.device_get(params)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_takes_the_steps_that_optax_takes_to_the_last_bit(name, task, batches):
    tx = OPTIMIZERS[name]
    ours, theirs = _by_jaxeff(tx, task, batches), _by_optax(tx, task, batches)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def largest_differences() -> dict[str, float]:
    """By optimizer, how far our parameters on all devices are from Optax's on one, relatively."""
    task, rng = _task(), np.random.default_rng(0)
    batches = _batches(rng)
    differences = {}
    for name, tx in OPTIMIZERS.items():
        ours, theirs = _by_jaxeff(tx, task, batches), _by_optax(tx, task, batches)
        pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
        differences[name] = max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)
    return differences


def test_any_optimizer_takes_the_same_steps_on_four_devices_to_rounding():
    differences = on_four_devices(__name__, "largest_differences")
    assert set(differences) == set(OPTIMIZERS)
    assert max(differences.values()) < 1e-4, differences


def test_a_mask_by_dimensions_sees_the_arrays_as_the_module_has_them(task):
    """Zero gradients: only what the mask lets through decays."""
    tx = optax.adamw(1.0, weight_decay=0.05, mask=_mask)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}

    class Constant(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            for name, value in params.items():
                self.param(name, lambda _, value=value: value)
            return jnp.zeros((len(images), 10))

    step = steps.make_train_step(Constant(), tx, task)
    state = steps.initial_state(Constant(), tx, task, seed=0)
    batch = {"image": jnp.zeros((2, 8, 8, 3), jnp.uint8), "label": jnp.zeros(2, jnp.int32)}
    state, _ = jax.jit(step)(state, batch)
    np.testing.assert_allclose(state.params["bias"], 1.0)
    np.testing.assert_allclose(state.params["kernel"], 0.95, rtol=1e-6)


def test_a_gradient_that_is_not_a_number_breaks_its_own_element_alone(task):
    class Broken(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            a = self.param("a", nn.initializers.ones, (3,))
            b = self.param("b", nn.initializers.ones, (2,))
            return (
                jnp.zeros((len(images), 10)).at[0, 0].set(a @ jnp.array([jnp.inf, 1, 1]) * 0 + b[0])
            )

    tx = optax.sgd(0.1)
    state = steps.initial_state(Broken(), tx, task, seed=0)
    batch = {"image": jnp.zeros((2, 8, 8, 3), jnp.uint8), "label": jnp.zeros(2, jnp.int32)}

    def loss(outputs, batch, collections):
        return outputs[0, 0]

    broken = dataclasses.replace(task)
    object.__setattr__(broken, "loss", loss)
    state, _ = jax.jit(steps.make_train_step(Broken(), tx, broken))(state, batch)
    assert np.isnan(state.params["a"]).tolist() == [True, False, False]
    np.testing.assert_allclose(state.params["b"], [0.9, 1.0])


def test_remat_computes_the_same_gradient_and_more_of_it(task, batches):
    tx = optax.sgd(0.1)
    module = TinyNet(10)
    state = steps.initial_state(module, tx, task, seed=0)
    make = functools.partial(steps.make_train_step, module, tx, task)
    plain, remat = jax.jit(make()), jax.jit(make(remat=True))
    (kept, loss), (again, loss_again) = plain(state, batches[0]), remat(state, batches[0])
    np.testing.assert_allclose(loss, loss_again, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    costs = [compute.step_cost(step, state, batches[0]) for step in (plain, remat)]
    assert costs[1].macs == costs[0].macs, "products and convolutions are kept"
    assert costs[1].flops > costs[0].flops


def test_collections_of_any_name_are_part_of_the_state(task, batches):
    class Counting(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            steps_seen = self.variable("steps_seen", "count", lambda: jnp.zeros(()))
            if train:
                steps_seen.value += 1
            self.sow("auxiliary", "logits", nn.Dense(10, name="side")(images.mean((1, 2))))
            return nn.Dense(10)(images.mean((1, 2)))

    tx = optax.sgd(0.1)
    state = steps.initial_state(Counting(), tx, task, seed=0)
    step = jax.jit(steps.make_train_step(Counting(), tx, task))
    for batch in batches:
        state, _ = step(state, batch)
    assert jax.device_get(state.collections) == {"steps_seen": {"count": STEPS}}


def test_examples_that_fill_up_a_batch_do_not_count(task):
    class Constant:
        def apply(self, variables, images, train):
            return jnp.tile(jnp.array([0.0, 5.0, 1.0]), (len(images), 1))

    step = steps.make_evaluation_step(Constant(), task)
    batch = {
        "image": np.zeros((4, 2, 2, 3), np.uint8),
        "label": np.array([1, 1, 0, 1]),
        "mask": np.array([True, True, True, False]),
    }
    sums = step({}, {}, batch)
    assert {key: int(value) for key, value in sums.items() if key != "loss"} == {
        "top1": 2,
        "top5": 3,
        "examples": 3,
    }
    probability = np.exp([0, 5, 1]) / np.exp([0, 5, 1]).sum()
    expected = -np.log(probability[[1, 1, 0]]).sum()
    np.testing.assert_allclose(sums["loss"], expected, rtol=1e-5)


def test_parameters_that_would_lose_small_updates_are_refused(task):
    class Half(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.Dense(4)(x.reshape(len(x), -1))
            return nn.Dense(10, param_dtype=jnp.bfloat16)(x)

    with pytest.raises(UsageError, match=r"Dense_1.* is bfloat16.*--dtype=bfloat16"):
        steps.initial_state(Half(), optax.sgd(0.1), task, seed=0)


def test_a_collection_of_any_type_has_a_digest():
    state = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.ones((), jnp.bfloat16)}
    other = {**state, "a": state["a"] * 2}
    digests = [checkpoints._digest(each, {}) for each in (state, state, other)]
    assert digests[0] == digests[1] != digests[2]
