"""What the architectures do over several training steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from jaxeff import data, tasks, train
from jaxeff.tasks.image_classification import cross_entropy
from jaxeff.train import steps

TASK = tasks.ImageClassification(data.load("synthetic"), image_size=64)


def _batch(size=64):
    rng = np.random.default_rng(0)
    labels = np.arange(8, dtype=np.int32)
    images = rng.integers(0, 128, (8, size, size, 3)) + 16 * labels[:, None, None, None]
    return {"image": jnp.asarray(images, jnp.uint8), "label": jnp.asarray(labels)}


def _losses(module, count):
    recipe = train.resolve("small", "x", train_examples=8, batch_size=8, lr=0.02, epochs=100)
    sgd = recipe.optimizer
    step = jax.jit(steps.make_train_step(module, sgd, TASK))
    state = jax.jit(lambda: steps.initial_state(module, sgd, TASK, seed=0))()
    losses = []
    for _ in range(count):
        state, loss = step(state, _batch())
        losses.append(float(loss))
    for leaf in jax.tree.leaves((state.params, state.collections)):
        assert leaf.dtype == jnp.float32
    return np.array(losses)


@pytest.mark.parametrize(
    "name",
    [
        "squeezenet1_1",
        pytest.param("shufflenet_v2_x0_5", marks=pytest.mark.slow),
        pytest.param("resnet18", marks=pytest.mark.slow),
    ],
)
def test_ten_bfloat16_steps_follow_float32(name):
    wide = _losses(models.create(name, 10), 10)
    narrow = _losses(models.create(name, 10, jnp.bfloat16), 10)
    assert wide[-1] < wide[0]
    np.testing.assert_allclose(narrow, wide, atol=0.1 * wide[0])


@pytest.mark.slow
def test_auxiliary_heads_add_three_tenths_of_their_losses():
    module = models.create("googlenet", 10, aux_heads=True, dropout_rate=0.0, aux_dropout_rate=0.0)
    recipe = train.resolve("small", "googlenet", train_examples=8, batch_size=8, epochs=100)
    sgd = recipe.optimizer
    state = jax.jit(lambda: steps.initial_state(module, sgd, TASK, seed=0))()
    batch = _batch()
    step = steps.make_train_step(module, sgd, TASK)
    _, loss = jax.jit(step)(state, batch)

    @jax.jit
    def losses(params, collections):
        logits, updated = module.apply(
            {"params": params, **collections},
            TASK.inputs(batch),
            train=True,
            mutable=["batch_stats", "auxiliary"],
            rngs={"dropout": jax.random.key(0)},
        )
        every = [logits, *jax.tree.leaves(updated["auxiliary"])]
        return [cross_entropy(each, batch["label"]).mean() for each in every]

    main, *auxiliary = losses(state.params, state.collections)
    assert len(auxiliary) == 2
    assert float(loss) == pytest.approx(float(main + 0.3 * sum(auxiliary)), rel=1e-5)
    # torchvision.models.googlenet(init_weights=True, aux_logits=True), 1000 classes.
    whole = models.create("googlenet", aux_heads=True)
    shapes = jax.eval_shape(
        lambda: whole.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3)), train=True)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 13_004_888
