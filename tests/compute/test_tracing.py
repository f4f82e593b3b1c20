"""What a step changes in place counts, static arguments stay static, and errors say what to do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxeff.compute import count_macs, step_cost
from jaxeff.errors import UsageError
from tests.compute.programs import macs_by_phase, shape

X = shape(4, 32)
PRODUCT = 4 * 32 * 32  # of one layer, forward or one gradient


def linear(seed=0):
    return nnx.Linear(32, 32, use_bias=False, rngs=nnx.Rngs(seed))


def with_optimizer(model):
    return model, nnx.Optimizer(model, optax.sgd(0.1, momentum=0.9), wrt=nnx.Param)


def mean_square(model, x):
    return (model(x) ** 2).mean()


def step(model, optimizer, x):
    loss, gradients = nnx.value_and_grad(mean_square)(model, x)
    optimizer.update(model, gradients)
    return loss


def silent_step(model, optimizer, x):
    step(model, optimizer, x)


@pytest.mark.parametrize("train", [step, silent_step, nnx.jit(step), nnx.jit(silent_step)])
def test_an_nnx_step_counts_the_gradient_that_it_applies(train):
    cost = step_cost(train, *with_optimizer(linear()), X)
    assert cost.macs == 2 * PRODUCT == 8192
    assert cost.unexplained == 0
    assert cost.uncounted == ()
    # Momentum and step, two operations each for a parameter.
    assert cost.by_phase()["update"].flops == 4 * 32 * 32


def test_an_nnx_steps_arguments_are_left_as_they_were():
    model, optimizer = with_optimizer(linear())
    before = np.asarray(model.kernel[...])
    step_cost(step, model, optimizer, X)
    assert (np.asarray(model.kernel[...]) == before).all()
    assert optimizer.step[...] == 0


def test_an_nnx_module_without_values_counts_alike():
    model, optimizer = nnx.eval_shape(lambda: with_optimizer(linear()))
    assert count_macs(step, model, optimizer, X) == 2 * PRODUCT


def test_an_nnx_step_counts_like_its_functional_twin():
    model, optimizer = with_optimizer(linear())
    definition, state = nnx.split((model, optimizer))

    def functional(state, x):
        model, optimizer = nnx.merge(definition, state)
        loss = step(model, optimizer, x)
        return loss, nnx.state((model, optimizer))

    twins = step_cost(step, model, optimizer, X), step_cost(functional, state, X)
    assert twins[0].total() == twins[1].total()
    assert macs_by_phase(twins[0]) == macs_by_phase(twins[1])


def test_arrays_that_two_modules_have_in_common_are_updated_once():
    class Tied(nnx.Module):
        def __init__(self):
            self.first = linear()
            self.second = self.first

        def __call__(self, x):
            return self.second(jnp.tanh(self.first(x)))

    cost = step_cost(step, *with_optimizer(Tied()), X)
    # Two products, the gradient to the inner input, and two to the one kernel.
    assert cost.macs == 5 * PRODUCT
    # They are added, and the kernel is updated once.
    assert cost.by_phase()["update"].flops == 4 * 32 * 32


def test_a_module_that_is_no_pytree():
    class Plain(nnx.Module, pytree=False):
        def __init__(self):
            self.layer = linear()

        def __call__(self, x):
            return self.layer(x)

    assert count_macs(step, *with_optimizer(Plain()), X) == 2 * PRODUCT


def test_a_modules_own_state_counts_where_the_module_is_the_function():
    class Net(nnx.Module):
        def __init__(self):
            self.layer = linear()
            self.norm = nnx.BatchNorm(32, rngs=nnx.Rngs(0))
            self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
            self.seen = nnx.BatchStat(jnp.zeros((32, 32)))

        def __call__(self, x):
            self.seen[...] += x.T @ x
            return self.dropout(self.norm(self.layer(x)))

    assert count_macs(Net(), X) == 2 * PRODUCT
    assert count_macs(Net().__call__, X) == 2 * PRODUCT
    assert step_cost(nnx.jit(lambda net, x: net(x)), Net(), X).macs == 2 * PRODUCT


class Block(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(32, 32, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return jnp.tanh(self.layer(x))


class Stack(nnx.Module):
    """Five blocks in a scan, rematerialised or not."""

    def __init__(self, remat):
        self.remat = remat

        @nnx.split_rngs(splits=5)
        @nnx.vmap
        def blocks(rngs):
            return Block(rngs)

        self.blocks = blocks(nnx.Rngs(0))

    def __call__(self, x):
        def forward(x, block):
            return block(x)

        body = nnx.remat(forward) if self.remat else forward
        return nnx.scan(body, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.blocks)


@pytest.mark.parametrize("jit", [lambda fn: fn, nnx.jit])
def test_nnx_scans_count_every_pass_and_rematerialisation(jit):
    train = jit(step)
    plain = step_cost(train, *with_optimizer(Stack(remat=False)), X)
    # The gradient to the first input is computed too: the passes of a scan are alike.
    assert macs_by_phase(plain) == {
        "forward": 5 * PRODUCT,
        "gradient to inputs": 5 * PRODUCT,
        "gradient to weights": 5 * PRODUCT,
        "update": 0,
    }
    assert plain.unexplained == 0
    remat = step_cost(train, *with_optimizer(Stack(remat=True)), X)
    assert remat.macs == plain.macs + 5 * PRODUCT
    assert macs_by_phase(remat)["forward, rematerialised"] == 5 * PRODUCT


def test_nnx_maps_over_devices():
    @functools.partial(nnx.pmap, in_axes=(None, None, 0), out_axes=0, axis_name="devices")
    def mapped(model, optimizer, x):
        loss, gradients = nnx.value_and_grad(mean_square)(model, x)
        optimizer.update(model, jax.lax.pmean(gradients, "devices"))
        return loss

    cost = step_cost(mapped, *with_optimizer(linear()), shape(1, 4, 32))
    assert cost.macs == 2 * PRODUCT

    mesh = jax.make_mesh((1,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec

    @nnx.shard_map(mesh=mesh, in_specs=(spec(), spec("devices")), out_specs=spec("devices"))
    def sharded(model, x):
        return model(x)

    assert count_macs(lambda model, x: sharded(model, x), linear(), X) == PRODUCT


def test_dictionaries_and_lists_changed_in_place():
    def dictionary(params, x):
        gradient = jax.grad(lambda w: (jnp.tanh(x @ w) ** 2).mean())(params["w"])
        params["w"] = params["w"] - 0.1 * gradient

    params = {"w": shape(32, 32)}
    cost = step_cost(dictionary, params, X)
    assert cost.macs == 2 * PRODUCT
    assert cost.by_phase()["update"].flops == 2 * 32 * 32
    assert params == {"w": shape(32, 32)}
    assert count_macs(lambda x, kept: kept.append(x @ x.T), X, []) == 4 * 4 * 32


class Trainer:
    def __init__(self):
        self.params = {"w": jnp.ones((32, 32))}

    def step(self, x):
        self.params = jax.tree.map(lambda w: w - x.T @ x, self.params)


def test_what_changes_out_of_sight_is_an_error_that_names_it():
    params = {"w": jnp.ones((32, 32))}

    def closed_over(x):
        params["w"] = params["w"] - x.T @ x

    def rebound(x):
        nonlocal params
        params = x.T @ x

    with pytest.raises(UsageError, match="it changes params, which is no pytree among"):
        step_cost(closed_over, X)
    with pytest.raises(UsageError, match="it changes params"):
        step_cost(jax.jit(closed_over), X)
    with pytest.raises(UsageError, match="it changes params"):
        step_cost(rebound, X)
    with pytest.raises(UsageError, match="it changes self"):
        step_cost(Trainer().step, X)
    with pytest.raises(UsageError, match=r"trainer is a Trainer, .* make the class a pytree"):
        step_cost(lambda trainer, x: trainer.step(x), Trainer(), X)
    model, optimizer = with_optimizer(linear())
    with pytest.raises(UsageError, match="pass the module that it changes as an argument"):
        step_cost(lambda x: step(model, optimizer, x), X)


def test_modules_that_nnx_keeps_to_itself_are_refused_in_one_line():
    model, optimizer = with_optimizer(linear())
    with pytest.raises(UsageError, match="pass the module that it changes as an arg") as error:
        step_cost(nnx.cached_partial(nnx.jit(step), model, optimizer), X)
    assert "\n" not in str(error.value)


def test_flags_names_types_and_functions_are_static_wherever_they_stand():
    def apply(params, x, dtype, activations, *, train, mutable=(), norm=None):
        assert mutable in (["batch_stats"], ())
        assert norm is None
        x = activations["first"](x.astype(dtype) @ params["w"])
        return (x @ x.T if train else x), mutable

    args = {"w": shape(32, 32)}, X, jnp.bfloat16, {"first": jnp.tanh}
    assert count_macs(apply, *args, train=False) == PRODUCT
    assert count_macs(apply, *args, train=True, mutable=["batch_stats"], norm=None) > PRODUCT
    partial = functools.partial(apply, train=False)
    assert step_cost(partial, *args).total() == step_cost(apply, *args, train=False).total()


def test_a_linen_modules_flags_are_static():
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train: bool):
            x = nn.BatchNorm(use_running_average=not train)(nn.Dense(32, use_bias=False)(x))
            return nn.Dropout(0.5, deterministic=not train)(x)

    variables = jax.eval_shape(functools.partial(Net().init, train=False), jax.random.key(0), X)
    key = {"dropout": jax.random.key(0)}
    cost = step_cost(Net().apply, variables, X, train=True, mutable=["batch_stats"], rngs=key)
    assert cost.macs == PRODUCT
    assert cost.uncounted == ()


def test_equinox_modules_count_as_they_are():
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
    model = eqx.nn.MLP(32, 32, 32, 1, jnp.tanh, use_bias=False, key=jax.random.key(0))

    def update(model, x):
        loss = lambda model: (jax.vmap(model)(x) ** 2).mean()  # noqa: E731
        gradients = eqx.filter_grad(loss)(model)
        return eqx.apply_updates(model, jax.tree.map(lambda g: -0.1 * g, gradients))

    for train in update, eqx.filter_jit(update):
        cost = step_cost(train, model, X)
        assert cost.macs == 5 * PRODUCT
        assert cost.unexplained == 0
    assert count_macs(model, shape(32)) == 2 * 32 * 32
    transposed = eqx.nn.ConvTranspose2d(32, 1, 3, key=jax.random.key(0))
    assert count_macs(transposed, shape(32, 1, 1)) == 288


def test_haiku_transforms_count_as_they_are():
    hk = pytest.importorskip("haiku", reason="Haiku is not installed")

    def network(x, is_training):
        x = hk.Linear(32, with_bias=False)(x)
        return hk.BatchNorm(True, True, 0.9)(x, is_training=is_training)

    network = hk.transform_with_state(network)
    init = functools.partial(network.init, is_training=True)
    params, state = jax.eval_shape(init, jax.random.key(0), X)

    def loss(params, state, x):
        y, state = network.apply(params, state, None, x, is_training=True)
        return (y**2).mean(), state

    assert count_macs(jax.grad(loss, has_aux=True), params, state, X) == 2 * PRODUCT
    cost = step_cost(network.apply, params, state, None, X, is_training=True)
    assert cost.macs == PRODUCT


def test_a_number_used_as_a_python_value_is_named():
    def power(x, times, train):
        for _ in range(times):
            x = x @ x
        return x if train > 0 else x * 2

    with pytest.raises(UsageError, match=r"argument times, .* functools.partial\(power, times="):
        step_cost(power, shape(4, 4), 3, 1)
    with pytest.raises(UsageError, match=r"argument train, .* functools.partial\(power, train="):
        step_cost(functools.partial(power, times=3), shape(4, 4), train=1)
    with pytest.raises(UsageError, match=r"it uses train, .* static_argnames"):
        step_cost(jax.jit(power, static_argnames="times"), shape(4, 4), 3, 1)
    assert count_macs(functools.partial(power, times=3, train=1), shape(4, 4)) == 3 * 64

    def nested(config, x):
        return x if config["flags"][1] else -x

    with pytest.raises(UsageError, match=r"its argument config\['flags'\]\[1\], .*, config="):
        step_cost(nested, {"flags": [1, 2]}, X)
    with pytest.raises(UsageError, match="its argument x, "):
        step_cost(lambda x: np.sin(x), X)


def test_a_missing_library_is_not_a_matter_of_arguments():
    def needs_a_module(x):
        import no_such_module

        return no_such_module.f(x)

    with pytest.raises(UsageError, match=r"no_such_module.*; install the library") as error:
        step_cost(needs_a_module, X)
    assert "arguments that it takes" not in str(error.value)

    def needs_cudnn(q):
        raise RuntimeError("cuDNN is not detected.")

    with pytest.raises(UsageError, match=r"cuDNN.*what this machine lacks") as error:
        step_cost(needs_cudnn, X)
    assert "arguments that it takes" not in str(error.value)

    def fails(x):
        return {}["missing"]

    with pytest.raises(UsageError, match="KeyError: 'missing'; the function itself raises this"):
        step_cost(fails, X)


def test_every_error_is_one_line():
    for fn, args in (
        (lambda x, y: x @ y, (X, X)),
        (lambda x: x if x.sum() > 0 else -x, (X,)),
        (lambda: 1, (X,)),
    ):
        with pytest.raises(UsageError, match="cannot trace") as error:
            step_cost(fn, *args)
        assert "\n" not in str(error.value)


def test_a_function_that_belongs_to_no_module_is_counted():
    names = {"jnp": jnp}
    exec("def twice(x):\n    return x @ x\n\ndef step(x):\n    return twice(x)", names)
    assert names["step"].__module__ is None
    assert step_cost(names["step"], jnp.ones((4, 4))).macs == 64


@pytest.mark.parametrize("name", ["bound", "arguments", "fn", "args", "array", "module", "values"])
def test_a_parameter_may_have_any_name(name):
    source = f"lambda x, {name}: sum((x @ w).sum() for w in {name}.values())"
    step = eval(source)  # The name is what is tested.
    assert count_macs(step, shape(4, 5), {"a": shape(5, 6)}) == 4 * 5 * 6
    assert count_macs(functools.partial(step), shape(4, 5), {"a": shape(5, 6)}) == 4 * 5 * 6
