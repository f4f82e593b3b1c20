"""Every architecture computes what the implementation that the paper trained computes."""

import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

import models
from jaxeff.compute import count_macs
from models.torch_weights import convert, torch_name
from tests.models import seeded

GOLDEN = {
    path.stem: json.loads(path.read_text())
    for path in sorted(pathlib.Path(__file__).with_name("golden").glob("*.json"))
}
# Rates that are zero in the reference too, so that both sides compute the same.
REGULARISERS = ("dropout_rate", "stochastic_depth_rate")
TRAIN_SIZE = 64
# What takes half a minute of compilation for some architectures is `slow` for all but these:
# `pytest -m slow tests/models` runs the rest.
QUICK = ("alexnet", "shufflenet_v2", "squeezenet1_1")
# With seeded weights the residual sums of these grow until rounding decides the logits of an
# evaluation, in PyTorch too (its float32 against its float64 at 224 px: b2 7e-5 of the largest, b3
# 5e-3, from b4 on 7e-4 to 0.7); batch statistics keep a training step in bounds. By name the sizes
# at which logits can be compared all the same.
CHAOTIC = {f"efficientnet_b{i}": (96,) if i < 4 else () for i in range(2, 8)}
QUICK_OR_SLOW = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in GOLDEN
]


def _create(name, num_classes=seeded.NUM_CLASSES):
    module = models.create(name, num_classes, **models.torch_fields(name))
    off = {field: 0.0 for field in REGULARISERS if hasattr(module, field)}
    return module.clone(**off)


def _shapes(module, size=224):
    images = jnp.zeros((1, size, size, 3))
    return jax.eval_shape(lambda: module.init(jax.random.key(0), images, train=True))


def _by_torch_name(tree, collection):
    flat = traverse_util.flatten_dict({collection: tree})
    return {torch_name(path): (path[-1], value) for path, value in flat.items()}


def _seeded_variables(name, module):
    """Our variables with the weights of `seeded`, through `convert`."""
    state = {}
    for path, leaf in traverse_util.flatten_dict(_shapes(module)).items():
        shape = leaf.shape
        if path[-1] == "kernel":
            shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
        state[torch_name(path)] = seeded.weight(torch_name(path), shape)
    return convert(name, state, num_classes=seeded.NUM_CLASSES)


def _torch_layout(leaf, value):
    if leaf == "kernel":
        return np.asarray(value).transpose((3, 2, 0, 1) if value.ndim == 4 else (1, 0))
    return np.asarray(value)


def _compiled(fn, variables):
    """`fn`, optimised as the tests' programs are not where there are so many parameters."""
    optimised = sum(leaf.size for leaf in jax.tree.leaves(variables)) > 5e7
    return jax.jit(fn, compiler_options={"xla_backend_optimization_level": int(optimised)})


def _train_step(module, variables, size):
    """Loss, gradients and running statistics of one batch in training mode, by PyTorch's names.

    In float64, as the reference: in float32 a single value beside a ReLU's corner moves a gradient
    by up to 9e-2 of its length, in PyTorch as here.
    """

    def loss_of(params):
        logits, updated = module.apply(
            {**variables, "params": params},
            seeded.images(size).astype(np.float64),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, seeded.labels())
        return losses.mean(), updated.get("batch_stats", {})

    module = module.clone(dtype=jnp.dtype(jnp.float64))
    with jax.enable_x64(True):
        step = _compiled(jax.value_and_grad(loss_of, has_aux=True), variables)
        (loss, running), gradients = step(variables["params"])
    return {
        "loss": float(loss),
        "gradients": {
            key: _torch_layout(leaf, value)
            for key, (leaf, value) in _by_torch_name(gradients, "params").items()
        },
        "running": {
            key: np.asarray(value)
            for key, (_, value) in _by_torch_name(running, "batch_stats").items()
        },
    }


@pytest.mark.parametrize("name", GOLDEN)
def test_parameters_and_forward_macs_are_the_references(name):
    module = models.create(name)
    variables = _shapes(module)
    params = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert params == GOLDEN[name]["params"]
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    assert count_macs(module.apply, variables, images) == GOLDEN[name]["macs"]


def _assert_logits_are_the_references(name, size):
    module = _create(name)
    expected = GOLDEN[name]["logits"][str(size)]
    variables = _seeded_variables(name, module)
    logits = _compiled(module.apply, variables)(variables, seeded.images(size))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", GOLDEN)
def test_logits_equal_the_references_at_64_px(name):
    _assert_logits_are_the_references(name, 64)


@pytest.mark.parametrize("name", QUICK_OR_SLOW)
def test_logits_equal_the_references_at_224_px(name):
    _assert_logits_are_the_references(name, 224)


@pytest.mark.parametrize("name", QUICK_OR_SLOW)
def test_a_training_step_equals_the_references(name):
    module, golden = _create(name), GOLDEN[name]
    outcome = _train_step(module, _seeded_variables(name, module), TRAIN_SIZE)
    assert outcome["loss"] == pytest.approx(golden["loss"], rel=1e-5)
    for part in ("gradients", "running"):
        assert set(outcome[part]) == set(golden[part])
        # A bias before a batch norm has no gradient but rounding: measured against the largest.
        largest = max((length for length, *_ in golden[part].values()), default=0)
        for key, expected in golden[part].items():
            got = seeded.fingerprint(key, outcome[part][key])
            scale = max(*np.abs(expected), 1e-3 * largest)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * scale, err_msg=key)


@pytest.mark.parametrize("name", QUICK_OR_SLOW)
def test_start_values_are_drawn_as_the_references_are(name):
    module = models.create(name)
    start = _compiled(
        lambda key: module.init(key, jnp.zeros((1, 64, 64, 3)), train=True), _shapes(module)
    )
    variables = start(jax.random.key(1))
    ours = _by_torch_name(variables["params"], "params")
    assert set(ours) == set(GOLDEN[name]["start"])
    for key, (mean, deviation, largest) in GOLDEN[name]["start"].items():
        values = np.asarray(ours[key][1], np.float64)
        if deviation == 0:
            np.testing.assert_array_equal(values, np.float32(mean), err_msg=key)
            continue
        # Both are samples: five of their standard errors apart.
        close = 5 * deviation * math.sqrt(2 / values.size)
        assert abs(values.mean() - mean) < close, key
        assert abs(values.std() - deviation) < close, key
        if values.size > 1000:
            # Tells a uniform distribution from a normal one; the tail of the latter is noise.
            assert np.abs(values).max() == pytest.approx(largest, rel=0.5), key


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_every_variant_equals_its_live_reference(name):
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install torch")
    # Importing torchvision by itself fails beside a build of torch that is not its own.
    references = pytest.importorskip("tests.models.references", reason="needs torchvision")

    module = _create(name)
    try:
        reference = references.create(name, seeded.NUM_CLASSES, seed=0)
    except KeyError:
        pytest.skip(f"{name} is an architecture of the paper's that no library has")
    references.set_seeded_weights(reference)
    reference.eval()
    variables = convert(name, references.state(reference), num_classes=seeded.NUM_CLASSES)
    findings = [name]
    for size in CHAOTIC.get(name, (224, 96)):
        with torch.no_grad():
            expected = reference(references.images(size)).numpy()
        logits = jax.jit(module.apply)(variables, seeded.images(size))
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        off = np.abs(logits - expected).max() / np.abs(expected).max()
        findings.append(f"logits at {size} px {off:.1e}")
    theirs = references.train_step(reference, TRAIN_SIZE)
    ours = _train_step(module, variables, TRAIN_SIZE)
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    for part in ("gradients", "running"):
        worst = 0.0
        assert set(ours[part]) == set(theirs[part])
        lengths = (np.linalg.norm(value) for value in theirs[part].values())
        largest = max(lengths, default=0)
        for key, expected in theirs[part].items():
            difference = np.linalg.norm(ours[part][key] - expected)
            scale = max(np.linalg.norm(expected), 1e-3 * largest)
            assert difference < 1e-4 * scale, key
            worst = max(worst, difference / scale) if scale else worst
        findings.append(f"{part} {worst:.1e}")
    print(", ".join(findings))  # What `-s` shows: the largest differences, relative.
