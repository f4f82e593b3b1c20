"""Each optimizer, against PyTorch's where it has one and against the article's algorithm."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxeff import compute, data, tasks, train
from jaxeff.errors import UsageError
from jaxeff.train import optimizers, schedules, steps
from jaxeff.train.description import describe

STEPS = 10
NEEDS_TORCH = "compares with PyTorch: pip install jaxeff[bench]"


def start():
    rng = np.random.default_rng(0)
    return {
        "kernel": rng.standard_normal((4, 3)).astype(np.float32),
        "bias": rng.standard_normal(3).astype(np.float32),
    }


INPUTS = np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32)
TARGETS = np.random.default_rng(2).standard_normal((8, 3)).astype(np.float32)


def loss(params):
    return (
        (jnp.tanh(jnp.asarray(INPUTS) @ params["kernel"] + params["bias"]) - TARGETS) ** 2
    ).sum()


def gradient(params):
    return {k: np.asarray(g, float) for k, g in jax.grad(loss)(params).items()}


def by_jaxeff(tx, params=None, evaluation=None):
    """The parameters after `STEPS` steps on the loss."""
    params = jax.tree.map(jnp.asarray, start() if params is None else params)
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(STEPS):
        params, state = step(params, state)
    return params if evaluation is None else evaluation(state, params)


def by_torch(make, schedule=None):
    """The same with PyTorch's gradients and optimizer, its rate set to the schedule's."""
    torch = pytest.importorskip("torch", reason=NEEDS_TORCH)
    params = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in start().items()}
    optimizer = make(torch.optim, params)
    inputs, targets = torch.tensor(INPUTS), torch.tensor(TARGETS)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = float(schedule(step)) if schedule else group["lr"]
        optimizer.zero_grad()
        outputs = torch.tanh(inputs @ params["kernel"] + params["bias"])
        ((outputs - targets) ** 2).sum().backward()
        optimizer.step()
    return {name: value.detach().numpy() for name, value in params.items()}


def assert_same(ours, theirs, rtol=1e-4):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert np.abs(value - start()[name]).max() > 1e-4, "nothing happened"
        np.testing.assert_allclose(ours[name], value, rtol=rtol, atol=1e-6)


SCHEDULE = schedules.cosine(0.05, 2 * STEPS, warmup_steps=2)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torchs(nesterov):
    def make(optim, params):
        return optim.SGD(
            params.values(), lr=1.0, momentum=0.8, weight_decay=0.02, nesterov=nesterov
        )

    tx = optimizers.sgd(SCHEDULE, 0.8, 0.02, nesterov=nesterov)
    assert_same(by_jaxeff(tx), by_torch(make, SCHEDULE))


def test_sgd_without_decay_on_biases_is_torchs_with_groups():
    def make(optim, params):
        groups = [
            {"params": [params["kernel"]], "weight_decay": 0.3},
            {"params": [params["bias"]], "weight_decay": 0.0},
        ]
        return optim.SGD(groups, lr=0.02, momentum=0.9)

    tx = optimizers.sgd(0.02, 0.9, 0.3, mask=optimizers.decay_mask)
    assert_same(by_jaxeff(tx), by_torch(make))


def test_adamw_is_torchs():
    def make(optim, params):
        groups = [
            {"params": [params["kernel"]], "weight_decay": 0.4},
            {"params": [params["bias"]], "weight_decay": 0.0},
        ]
        return optim.AdamW(groups, lr=1.0, betas=(0.8, 0.95), eps=1e-6)

    tx = optimizers.adamw(SCHEDULE, 0.8, 0.95, 1e-6, 0.4, mask=optimizers.decay_mask)
    assert_same(by_jaxeff(tx), by_torch(make, SCHEDULE))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_muon_is_torchs_and_adamw_takes_the_bias(nesterov, wide, monkeypatch):
    torch = pytest.importorskip("torch", reason=NEEDS_TORCH)
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    # PyTorch's iterates on a copy in bfloat16, which has three digits.
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    rng = np.random.default_rng(3)
    shape = (5, 9) if wide else (9, 5)
    kernel, bias = rng.standard_normal(shape).astype("f"), rng.standard_normal(4).astype("f")
    tx = optimizers.muon(
        SCHEDULE, 0.01, momentum=0.9, weight_decay=0.1, nesterov=nesterov, eps=1e-8
    )
    ours = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    state = tx.init(ours)
    # PyTorch's layers have [out, in].
    theirs = torch.nn.Parameter(torch.tensor(kernel.T))
    their_bias = torch.nn.Parameter(torch.tensor(bias))
    muon = torch.optim.Muon([theirs], lr=1.0, momentum=0.9, weight_decay=0.1, nesterov=nesterov)
    adamw = torch.optim.AdamW([their_bias], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(STEPS):
        grads = {"kernel": rng.standard_normal(shape), "bias": rng.standard_normal(4)}
        grads = jax.tree.map(lambda grad: grad.astype(np.float32), grads)
        updates, state = tx.update(grads, state, ours)
        ours = optax.apply_updates(ours, updates)
        muon.param_groups[0]["lr"] = float(SCHEDULE(step))
        theirs.grad = torch.tensor(grads["kernel"].T.copy())
        their_bias.grad = torch.tensor(grads["bias"])
        muon.step()
        adamw.step()
    assert np.abs(ours["kernel"] - kernel).max() > 0.05
    np.testing.assert_allclose(ours["kernel"], theirs.detach().numpy().T, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours["bias"], their_bias.detach().numpy(), rtol=1e-4)


def test_muon_sees_a_convolution_as_the_matrix_of_its_patches():
    rng = np.random.default_rng(0)
    kernel, grad = (rng.standard_normal((3, 3, 4, 8)).astype(np.float32) for _ in range(2))
    made = []
    for shape in ((3, 3, 4, 8), (36, 8)):
        params, grads = {"kernel": kernel.reshape(shape)}, {"kernel": grad.reshape(shape)}
        tx = optimizers.muon(0.1, 0.1)
        updates, _ = tx.update(grads, tx.init(params), params)
        made.append(np.asarray(updates["kernel"]).reshape(36, 8))
    np.testing.assert_array_equal(*made)
    singular = np.linalg.svd(made[0] / 0.1, compute_uv=False)
    assert singular.min() > 0.6
    assert singular.max() < 1.3


def test_muon_leaves_excluded_modules_and_all_but_matrices_to_adamw():
    rng = np.random.default_rng(0)
    shapes = {
        "stem": {"kernel": (3, 3, 2, 4)},
        "body": {"Dense_0": {"kernel": (4, 4), "bias": (4,)}, "attention": {"kernel": (4, 2, 2)}},
        "head": {"kernel": (4, 3), "bias": (3,)},
    }
    params = jax.tree.map(
        lambda shape: rng.standard_normal(shape), shapes, is_leaf=lambda s: isinstance(s, tuple)
    )
    grads = jax.tree.map(lambda p: p**3, params)
    # Without a rate for AdamW its parameters stay.
    tx = optimizers.muon(0.1, 0.0, exclude=("head", "stem"))
    updates, _ = tx.update(grads, tx.init(params), params)
    moved = {
        "/".join(key.key for key in path)
        for path, update in jax.tree.leaves_with_path(updates)
        if np.abs(update).max() > 0
    }
    assert moved == {"body/Dense_0/kernel"}
    with pytest.raises(UsageError, match=r"exclude haed, and no module is called that.*body, head"):
        optimizers.muon(0.1, 0.1, exclude=("haed", "stem")).init(params)


def lamb_reference(schedule, b1, b2, eps, decay):
    """You et al. 2020, Algorithm 2, with the identity for its phi."""
    x = {name: value.astype(float) for name, value in start().items()}
    m, v = ({name: np.zeros_like(value) for name, value in x.items()} for _ in range(2))
    for t in range(1, STEPS + 1):
        for name, g in gradient(x).items():
            m[name] = b1 * m[name] + (1 - b1) * g
            v[name] = b2 * v[name] + (1 - b2) * g**2
            m_hat, v_hat = m[name] / (1 - b1**t), v[name] / (1 - b2**t)
            step = m_hat / (np.sqrt(v_hat) + eps) + (decay * x[name] if name == "kernel" else 0)
            ratio = np.linalg.norm(x[name]) / np.linalg.norm(step)
            x[name] = x[name] - float(schedule(t - 1)) * ratio * step
    return x


def test_lamb_is_the_articles():
    tx = optimizers.lamb(SCHEDULE, 0.8, 0.95, 1e-5, 0.3, mask=optimizers.decay_mask)
    assert_same(by_jaxeff(tx), lamb_reference(SCHEDULE, 0.8, 0.95, 1e-5, 0.3))


def lars_reference(schedule, momentum, decay, eta, biases):
    """You et al. 2017, Algorithm 1."""
    w = {name: value.astype(float) for name, value in start().items()}
    v = {name: np.zeros_like(value) for name, value in w.items()}
    for t in range(STEPS):
        for name, g in gradient(w).items():
            rate, beta = float(schedule(t)), decay
            if name == "kernel" or biases:
                norm = np.linalg.norm(w[name])
                rate *= eta * norm / (np.linalg.norm(g) + beta * norm)
            else:
                beta = 0
            v[name] = momentum * v[name] + rate * (g + beta * w[name])
            w[name] = w[name] - v[name]
    return w


@pytest.mark.parametrize("biases", [True, False])
def test_lars_is_the_articles(biases):
    mask = None if biases else optimizers.decay_mask
    tx = optimizers.lars(SCHEDULE, 0.8, 0.7, trust_coefficient=0.4, mask=mask)
    assert_same(by_jaxeff(tx), lars_reference(SCHEDULE, 0.8, 0.7, 0.4, biases))


def test_lars_starts_biases_that_are_zero():
    params = start() | {"bias": np.zeros(3, np.float32)}
    moved = by_jaxeff(optimizers.lars(0.05), params)
    assert np.isfinite(moved["bias"]).all()
    assert np.abs(moved["bias"]).min() > 0


def schedule_free_reference(schedule, beta, decay, b2=None, eps=0.0):
    """`sgd_schedulefree.py` and `adamw_schedulefree.py` of the authors, with x, y and z by name."""
    x = {name: value.astype(float) for name, value in start().items()}
    y, z, v = dict(x), dict(x), {name: np.zeros_like(value) for name, value in x.items()}
    lr_max = weight_sum = 0.0
    for k in range(STEPS):
        lr = float(schedule(k))
        lr_max = max(lr, lr_max)
        weight_sum += lr_max**2
        c = lr_max**2 / weight_sum if weight_sum else 0.0
        for name, g in gradient(y).items():
            if b2 is not None:
                v[name] = b2 * v[name] + (1 - b2) * g**2
                g = g / (np.sqrt(v[name] / (1 - b2 ** (k + 1))) + eps)
            z[name] = z[name] - lr * (g + (decay * y[name] if name == "kernel" else 0))
            x[name] = (1 - c) * x[name] + c * z[name]
        y = {name: (1 - beta) * z[name] + beta * x[name] for name in x}
    return x, y


SCHEDULE_FREE = {
    "sgd": (
        functools.partial(optimizers.schedule_free_sgd, momentum=0.8, weight_decay=0.1),
        {"beta": 0.8, "decay": 0.1},
    ),
    "adamw": (
        functools.partial(
            optimizers.schedule_free_adamw, b1=0.8, b2=0.95, eps=1e-6, weight_decay=0.1
        ),
        {"beta": 0.8, "decay": 0.1, "b2": 0.95, "eps": 1e-6},
    ),
}


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_schedule_free_is_the_authors(name, chained):
    make, numbers = SCHEDULE_FREE[name]
    for rate in (schedules.constant(0.05, warmup_steps=4), 0.05):
        tx = make(rate, mask=optimizers.decay_mask)
        if chained:
            tx = optax.chain(optax.clip_by_global_norm(1e6), tx)
        schedule = rate if callable(rate) else lambda step: 0.05
        x, y = schedule_free_reference(schedule, **numbers)
        assert_same(by_jaxeff(tx), y)
        assert_same(by_jaxeff(tx, evaluation=optimizers.schedule_free_evaluation_params), x)
        assert np.abs(x["kernel"] - y["kernel"]).max() > 1e-3


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_schedule_free_is_the_authors_package(name):
    """The authors' warm-up begins at its first step, not at 0."""
    authors = pytest.importorskip("schedulefree", reason="pip install jaxeff[bench]")
    torch = pytest.importorskip("torch", reason=NEEDS_TORCH)
    params = {key: torch.nn.Parameter(torch.tensor(value)) for key, value in start().items()}
    if name == "sgd":
        theirs = authors.SGDScheduleFree(
            params.values(), lr=0.05, momentum=0.8, weight_decay=0.1, warmup_steps=4
        )
    else:
        theirs = authors.AdamWScheduleFree(
            params.values(), lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1, warmup_steps=4
        )
    theirs.train()
    for _ in range(STEPS):
        grads = gradient({key: value.detach().numpy() for key, value in params.items()})
        for key, value in params.items():
            value.grad = torch.tensor(grads[key], dtype=torch.float32)
        theirs.step()
    rate = schedules.constant(0.05, warmup_steps=4)
    tx = SCHEDULE_FREE[name][0](lambda step: rate(step + 1))
    assert_same(by_jaxeff(tx), {key: value.detach().numpy() for key, value in params.items()})
    theirs.eval()
    ours = by_jaxeff(tx, evaluation=optimizers.schedule_free_evaluation_params)
    assert_same(ours, {key: value.detach().numpy() for key, value in params.items()})


def test_an_optimizer_that_is_not_schedule_free_has_no_average():
    tx, params = optimizers.sgd(0.1), start()
    with pytest.raises(UsageError, match="0 schedule-free parts"):
        optimizers.schedule_free_evaluation_params(tx.init(params), params)
    with pytest.raises(UsageError, match=r"beta .* of 0"):
        optimizers.schedule_free_sgd(0.1, momentum=0)


def test_matrices_and_kernels_decay_and_nothing_else():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3))(x))
            return nn.Dense(2)(nn.LayerNorm()(x.mean((1, 2))))

    params = Net().init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    mask = optimizers.decay_mask(params)
    decaying = {
        tuple(k.key for k in path) for path, keep in jax.tree.leaves_with_path(mask) if keep
    }
    assert decaying == {("Conv_0", "kernel"), ("Dense_0", "kernel")}


# Each number is in no other place.
DESCRIBED = {
    "sgd": (
        optimizers.sgd(0.0123, 0.87, 0.056, nesterov=True, mask=optimizers.decay_mask),
        ("0.0123", "0.87", "0.056", '"nesterov": true', "decay_mask"),
    ),
    "adamw": (
        optimizers.adamw(0.0123, 0.87, 0.98, 3e-7, 0.056, mask=optimizers.decay_mask),
        ("0.0123", "0.87", "0.98", "3e-07", "0.056", "decay_mask"),
    ),
    "lamb": (
        optimizers.lamb(0.0123, 0.87, 0.98, 3e-7, 0.056, mask=optimizers.decay_mask),
        ("0.0123", "0.87", "0.98", "3e-07", "0.056", "decay_mask"),
    ),
    "lars": (
        optimizers.lars(0.0123, 0.87, 0.056, trust_coefficient=0.0045, mask=optimizers.decay_mask),
        ("0.0123", "0.87", "0.056", "0.0045", "decay_mask"),
    ),
    "muon": (
        optimizers.muon(
            0.0123,
            0.00077,
            0.87,
            0.056,
            newton_schulz_steps=6,
            exclude=("the_head",),
            b1=0.85,
            b2=0.98,
            eps=3e-7,
            mask=optimizers.decay_mask,
        ),
        (
            "0.0123",
            "0.00077",
            "0.87",
            "0.056",
            '"ns_steps": 6',
            "the_head",
            "0.85",
            "0.98",
            "3e-07",
        ),
    ),
    "schedule_free_sgd": (
        optimizers.schedule_free_sgd(0.0123, 0.87, 0.056, mask=optimizers.decay_mask),
        ("0.0123", "0.87", "0.056", "decay_mask", '"weight_lr_power": 2.0'),
    ),
    "schedule_free_adamw": (
        optimizers.schedule_free_adamw(0.0123, 0.87, 0.98, 3e-7, 0.056),
        ("0.0123", "0.87", "0.98", "3e-07", "0.056"),
    ),
    "a schedule": (
        optimizers.schedule_free_sgd(schedules.constant(0.0123, 17)),
        ("0.0123", '"transition_steps": 17', "constant_schedule"),
    ),
}


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_number_of_an_optimizer_is_in_its_description(name):
    tx, parts = DESCRIBED[name]
    text = json.dumps(describe(tx), allow_nan=False)
    for part in parts:
        assert part in text, (part, text)
    assert " at 0x" not in text


class Hidden(nn.Module):
    @nn.compact
    def __call__(self, images, train=False):
        x = nn.relu(nn.Conv(32, (3, 3), strides=4)(images))
        x = nn.relu(nn.Dense(96)(x.reshape(len(x), -1)))
        return nn.Dense(10)(x)


def test_muons_own_products_are_in_the_cost_of_a_step():
    """By hand: five times `X Xᵀ`, its square, and its product with `X`."""
    task = tasks.ImageClassification(data.load("synthetic"), image_size=16)
    batch = {
        "image": jax.ShapeDtypeStruct((8, 16, 16, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((8,), jnp.int32),
    }

    def cost_of(tx):
        state = jax.eval_shape(lambda: steps.initial_state(Hidden(), tx, task, seed=0))
        step = jax.jit(steps.make_train_step(Hidden(), tx, task))
        cost = compute.step_cost(step, state, batch)
        assert not cost.uncounted
        np.testing.assert_allclose(cost.flops, compute.xla_flops(step, state, batch), rtol=1e-6)
        return cost

    muon = cost_of(optimizers.muon(0.02, 3e-4))
    sgd = cost_of(optimizers.sgd(0.02, nesterov=True))
    shapes = [(3 * 3 * 3, 32), (4 * 4 * 32, 96), (96, 10)]
    products = 0
    for shape in shapes:
        small, large = min(shape), max(shape)
        products += 5 * 2 * (small * large * small + small**3 + small * small * large)
    assert products > sgd.flops / 2, "worth counting"
    assert 2 * (muon.macs - sgd.macs) == products
    more = muon.flops - sgd.flops - products
    # In each of five iterations, of [small, large]: two factors and a sum for `b A + c A²`, a
    # factor and a sum for `a X + B X`.
    iterated = sum(5 * (3 * min(shape) ** 2 + 2 * math.prod(shape)) for shape in shapes)
    # Once: norm, division, scale, and what Optax's average does without momentum.
    elements = sum(math.prod(shape) for shape in shapes)
    assert 0 < more - iterated < 8 * elements
    assert more < products / 50


def test_a_recipe_finds_the_optimizers_in_the_package():
    assert train.optimizers is optimizers
