"""Networks that know nothing of devices, trained on one and on four."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

from jaxeff import data, tasks
from jaxeff import nn as layers
from jaxeff.errors import UsageError
from jaxeff.train import parallel, splitting, steps
from jaxeff.train.user_module import UserModule, definition, from_nnx
from tests.devices import on_four_devices

CLASSES, STEPS = 10, 3


class Block(nn.Module):
    """With a scale that starts at zero, as the last batch norm of a residual block."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=not train, scale_init=nn.initializers.zeros)(x)
        return nn.gelu(x)


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x, training):
        x = Block()(x, training)
        x = nn.remat(Block, static_argnums=(2,))()(x, training)
        x = nn.Dropout(0.3, broadcast_dims=(1, 2), deterministic=not training)(x)
        # Layers of jaxeff.nn whose `axis_name` nobody set.
        x = layers.BatchNorm()(nn.GroupNorm(2)(x), training)
        x = layers.Dropout(0.2)(x, training)
        x = nn.Dropout(0.3)(x.mean((1, 2)), deterministic=not training)
        return nn.Dense(CLASSES)(x)


class Cell(nn.Module):
    train: bool

    @nn.compact
    def __call__(self, x, _):
        return nn.BatchNorm(use_running_average=not self.train)(nn.Conv(8, (3, 3))(x)), None


class Lifted(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        cells = nn.scan(
            Cell,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            length=2,
        )
        x, _ = cells(train)(nn.Conv(8, (3, 3))(x), None)
        members = nn.vmap(
            Member,
            in_axes=None,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            axis_size=3,
        )
        return members(train)(x.mean((1, 2))).mean(0)


class Member(nn.Module):
    train: bool

    @nn.compact
    def __call__(self, x):
        # The axis is of nothing here, as in a network that was made for other devices.
        norm = nn.BatchNorm(use_running_average=not self.train, axis_name="devices")
        return nn.Dense(CLASSES)(norm(nn.Dense(8)(x)))


class Bridged(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        norm = nnx.bridge.to_linen(nnx.BatchNorm, 3)
        return nn.Dense(CLASSES)(norm(x, use_running_average=not train).mean((1, 2)))


class Nnx(nnx.Module):
    def __init__(self, rate=0.0, *, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.out = nnx.Linear(8, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.norm(self.conv(x)))).mean((1, 2)))


class OwnNorm(nn.Module):
    @nn.compact
    def __call__(self, x, train, axis_name=None):
        mean = self.variable("own_stats", "mean", jnp.zeros, x.shape[-1])
        scale = self.param("scale", nn.initializers.zeros, ())
        if not train:
            return scale * (x - mean.value)
        batch = x.mean(range(x.ndim - 1))
        if axis_name is not None:
            batch = jax.lax.pmean(batch, axis_name)
        mean.value = 0.9 * mean.value + 0.1 * batch
        return scale * (x - batch)


class WithOwnNorm(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train):
        x = OwnNorm()(nn.Conv(8, (3, 3))(x), train, self.axis_name)
        return nn.Dense(CLASSES)(x.mean((1, 2)))


class Contrasting(nn.Module):
    """Looks at the other examples of its device, in the network itself."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(8)(x.mean((1, 2)))
        return nn.Dense(CLASSES)(x - x.mean(0))


class Noisy(nn.Module):
    """Draws from a stream of a name of its own."""

    is_local: bool = False

    @nn.compact
    def __call__(self, x, train):
        if train:
            kept = jax.random.bernoulli(self.make_rng("drop_path"), 0.5, (len(x), 1, 1, 1))
            x = x * kept
        x = nn.Conv(8, (3, 3))(x)
        x = x - x.mean((0, 1, 2)) if self.is_local else nn.BatchNorm(not train)(x)
        return nn.Dense(CLASSES)(x.mean((1, 2)))


SAME = {
    "plain": Plain(),
    "lifted": Lifted(),
    "bridge": Bridged(),
    "nnx": from_nnx(Nnx, {}),
}


def _wrapped(network, axis_name=None):
    call = Nnx.__call__ if isinstance(network, nnx.bridge.ToLinen) else type(network).__call__
    return UserModule(network, CLASSES, *definition(call), axis_name)


def _task():
    return tasks.ImageClassification(data.load("synthetic"), image_size=8)


def _batches():
    rng = np.random.default_rng(0)
    # Each quarter of a batch is darker than the next.
    light = (1 + np.arange(16) // 4)[:, None, None, None]
    return [
        {
            "image": (rng.integers(0, 64, (16, 8, 8, 3)) * light).astype(np.uint8),
            "label": rng.integers(0, CLASSES, 16, np.int32),
        }
        for _ in range(STEPS)
    ]  # fmt: skip


def losses(network, axis_name=None):
    """Training losses and the state's collections, on one device, or by `pmap` on all."""
    module, task, tx = _wrapped(network, axis_name), _task(), optax.sgd(0.1)
    step = steps.make_train_step(module, tx, task, axis_name=axis_name)
    state, batches = jax.jit(lambda: steps.initial_state(module, tx, task, 0))(), _batches()
    if axis_name is None:
        step = jax.jit(step)
    else:
        step = parallel.pmap(step, in_axes=(None, 0))
        state, batches = parallel.replicate(state), parallel.to_devices(batches)
    found = []
    for batch in batches:
        state, loss = step(state, batch)
        found.append(float(loss))
    return found, jax.device_get(state.collections)


def largest_differences() -> dict[str, float]:
    """By network, how far losses and statistics on all devices are from one's, at most."""
    found = {}
    for name, network in SAME.items():
        (one, statistics), (many, shared) = losses(network), losses(network, parallel.AXIS)
        pairs = zip(jax.tree.leaves(statistics), jax.tree.leaves(shared), strict=True)
        different = [float(np.abs(a - b).max()) for a, b in pairs]
        found[name] = max(*np.abs(np.subtract(one, many)).tolist(), *different)
    return found


def test_any_network_trains_on_four_devices_as_on_one():
    differences = on_four_devices(__name__, "largest_differences")
    assert set(differences) == set(SAME)
    assert max(differences.values()) < 1e-4, differences


def _check(network):
    splitting.refuse_local_statistics(
        _wrapped(network, parallel.AXIS), steps.example_inputs(_task())
    )


@pytest.mark.parametrize(
    "network",
    [
        SAME["plain"],
        SAME["lifted"],
        WithOwnNorm(parallel.AXIS),
        Noisy(),
        from_nnx(Nnx, {"rate": 0.3}),
    ],
)
def test_what_does_not_depend_on_the_devices_is_trained(network):
    _check(network)


@pytest.mark.parametrize(
    ("network", "blamed"),
    [(WithOwnNorm(), OwnNorm), (Contrasting(), Contrasting), (Noisy(is_local=True), Noisy)],
)
def test_what_looks_across_the_examples_of_a_device_is_refused_with_its_line(network, blamed):
    line = definition(blamed.__call__)[1]
    lines = pathlib.Path(__file__).read_text().splitlines()
    assert lines[line - 1].startswith("    def __call__(self, x, train")
    with pytest.raises(UsageError) as caught:
        _check(network)
    message = f"test_user_module.py, line {line}: what {blamed.__name__} computes depends on"
    assert message in str(caught.value)


def _step(network):
    module, task = _wrapped(network), _task()
    step = steps.make_train_step(module, optax.sgd(0.1), task, remat=True)
    state = jax.eval_shape(lambda: steps.initial_state(module, optax.sgd(0.1), task, 0))
    return jax.eval_shape(step, state, task.batch_shapes(4))


def test_collections_of_any_name_are_kept_and_what_would_be_lost_or_grow_is_refused():
    class Writing(nn.Module):
        only_in_training: bool = False
        sows: str = ""

        @nn.compact
        def __call__(self, x, train):
            if train or not self.only_in_training:
                seen = self.variable("seen", "examples", jnp.zeros, ())
                seen.value += len(x) if train else 0
            if self.sows:
                self.sow(self.sows, "mean", x.mean())
            return nn.Dense(CLASSES)(x.mean((1, 2)))

    state, _ = _step(Writing(sows="intermediates"))
    assert set(state.collections) == {"seen"}
    with pytest.raises(UsageError, match=r"py, line \d+: the network writes into .* 'seen'"):
        _step(Writing(only_in_training=True))
    with pytest.raises(UsageError, match=r"'losses' .* what it sows belongs into 'intermediates'"):
        _step(Writing(sows="losses"))


def test_a_network_without_parameters_is_refused():
    class Empty(nn.Module):
        def __call__(self, x):
            return jnp.zeros((len(x), CLASSES))

    with pytest.raises(UsageError, match="no parameters"):
        _step(Empty())


def test_a_batch_norm_over_groups_of_devices_is_refused_with_the_line_that_calls_it():
    class Grouped(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            norm = nn.BatchNorm(not train, axis_index_groups=[[0, 1]])
            x = nn.Dense(CLASSES)(x.mean((1, 2)))
            return norm(x)

    with pytest.raises(UsageError, match=r"line \d+: BatchNorm with axis_index_groups") as caught:
        _check(Grouped())
    line = int(str(caught.value).split("line ")[1].split(":")[0])
    assert "return norm(x)" in pathlib.Path(__file__).read_text().splitlines()[line - 1]


def test_a_layer_derived_from_flaxs_dropout_does_as_it_is_written():
    class Doubling(nn.Dropout):
        def __call__(self, inputs, deterministic):
            return 2 * super().__call__(inputs, deterministic)

    class Doubled(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return Doubling(0.5)(jnp.ones((len(x), CLASSES)), not train)

    module = _wrapped(Doubled())
    streams = module.random_streams(jax.random.key(0))
    outputs = module.apply({}, jnp.zeros((8, 8, 8, 3)), train=True, rngs=streams)
    assert set(np.unique(outputs)) == {0.0, 4.0}


def test_flaxs_dropout_keeps_its_rate_its_scale_and_its_broadcast_dimensions():
    class Dropped(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            once = nn.Dropout(0.25)(jnp.ones((len(x), 400)), deterministic=not train)
            rows = nn.Dropout(0.5, broadcast_dims=(0,))(jnp.ones((len(x), 400)), not train)
            weights = nn.Dropout(0.5)(jnp.ones((3, 400)), deterministic=not train)
            self.sow("auxiliary", "masks", (once, rows, weights))
            return jnp.zeros((len(x), CLASSES))

    module = _wrapped(Dropped())
    _, collections = module.apply(
        {},
        jnp.zeros((40, 8, 8, 3)),
        train=True,
        mutable=["auxiliary"],
        rngs=module.random_streams(jax.random.key(0)),
    )
    ((once, rows, weights),) = collections["auxiliary"]["masks"]
    assert set(np.unique(once)) == {0.0, np.float32(1 / 0.75)}
    assert np.mean(once == 0) == pytest.approx(0.25, abs=0.015)
    assert len(np.unique(once, axis=0)) == 40, "each example has a mask of its own"
    assert len(np.unique(rows, axis=0)) == 1
    assert len(np.unique(weights, axis=0)) == 3


def test_the_variables_have_the_names_and_values_that_the_network_gives_them():
    images = jnp.zeros((1, 8, 8, 3))
    wrapped = _wrapped(Plain())
    ours = jax.jit(lambda: steps.initial_state(wrapped, optax.sgd(0.1), _task(), seed=3))()
    theirs = jax.jit(lambda: Plain().init(jax.random.key(3), images, training=False))()
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs["params"])
    jax.tree.map(
        np.testing.assert_array_equal, ours.collections["batch_stats"], theirs["batch_stats"]
    )
