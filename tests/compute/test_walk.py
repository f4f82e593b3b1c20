"""How often the walk counts what calls, loops, branches and device maps hold."""

import json
import math
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from jaxeff.compute import cost as terms
from jaxeff.compute import count_macs, step_cost
from jaxeff.errors import UsageError
from tests.compute.programs import Net, shape, training_step


def until_ten(x):
    with jax.named_scope("solver"):
        return lax.while_loop(lambda c: c.sum() < 10, lambda c: c @ c, x)


@pytest.mark.parametrize("length", [1, 2, 1000])
@pytest.mark.parametrize("unroll", [1, 3])
def test_a_scan_counts_as_often_as_it_runs(length, unroll):
    def loop(x):
        return lax.scan(lambda c, _: (c @ c, None), x, None, length=length, unroll=unroll)[0]

    assert count_macs(loop, shape(4, 4)) == length * 64


@pytest.mark.parametrize("length", [1, 1000])
def test_xlas_single_pass_of_a_scan_is_reconciled(length):
    def loop(x):
        return lax.scan(lambda c, _: (c @ c, c.sum()), x, None, length=length)

    cost = step_cost(loop, shape(4, 4))
    body = 2 * 4**3 + 15
    assert cost.macs == 64 * length
    assert cost.flops == body * length
    assert cost.xla_flops == body + 2  # compare and increment
    assert cost.breakdown[terms.LOOPS] == -body * (length - 1)
    assert cost.breakdown[terms.LOOP_COUNTERS] == 2
    assert cost.unexplained == 0


@pytest.mark.parametrize("unroll", [2, 3, 7, 10, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_unrolled_scans_are_reconciled(unroll, reverse):
    def loop(x, xs):
        return lax.scan(lambda c, t: (c @ t, t * 2), x, xs, unroll=unroll, reverse=reverse)

    cost = step_cost(loop, shape(4, 4), shape(10, 4, 4))
    assert cost.macs == 640
    assert cost.unexplained == 0


def test_loops_within_loops_multiply():
    def loop(x):
        return lax.fori_loop(0, 5, lambda i, c: lax.fori_loop(0, 7, lambda j, d: d @ d, c), x)

    assert count_macs(loop, shape(4, 4)) == 35 * 64


def test_the_gradient_of_a_scan_counts_every_pass():
    def loss(w, x):
        return lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=10)[0].sum()

    assert count_macs(jax.grad(loss), shape(4, 4), shape(4, 4)) == 10 * 64 * 3


UNKNOWN = "while loop of unknown length (counted as one pass) in solver"


def test_a_while_loop_of_unknown_length_counts_one_pass_and_is_named():
    cost = step_cost(until_ten, shape(4, 4))
    (uncounted,) = cost.uncounted
    assert uncounted.startswith(UNKNOWN)
    assert cost.macs == 64
    assert cost.unexplained == 0
    assert "not counted: while loop" in str(cost)


def test_a_while_loop_counts_as_often_as_the_user_says():
    cost = step_cost(until_ten, shape(4, 4), trip_counts={"solver/while": 5})
    assert cost.uncounted == ()
    assert cost.macs == 5 * 64
    # The condition, a sum of 16 and a comparison, is tested once more than the body runs.
    assert cost.operations == 5 * 128 + 6 * 16
    assert cost.xla_flops == 128 + 16
    assert cost.unexplained == 0
    for times in (0, np.int64(3)):
        cost = step_cost(until_ten, shape(4, 4), trip_counts={"solver/while": times})
        assert cost.macs == times * 64


def test_each_while_loop_has_the_name_that_the_message_gives_it():
    def nested(x):
        x = until_ten(until_ten(x))
        return lax.while_loop(lambda c: c.sum() < 9, lambda c: until_ten(c) @ c, x)

    names = [
        name.partition("trip_counts={")[2].partition(":")[0].strip("'")
        for name in step_cost(nested, shape(4, 4)).uncounted
    ]
    assert names == ["solver/while", "solver/while_2", "while", "solver/while_3"]
    counts = dict(zip(names, (2, 3, 5, 7), strict=True))
    cost = step_cost(nested, shape(4, 4), trip_counts=counts)
    assert cost.macs == (2 + 3 + 5 * (1 + 7)) * 64
    assert cost.uncounted == ()


@pytest.mark.parametrize(
    "trip_counts",
    [{"solver": 3}, {"solver/while": -1}, {"solver/while": 2.5}, {"solver/while": "5"}],
)
def test_trip_counts_that_fit_no_loop_are_an_error(trip_counts):
    with pytest.raises(UsageError, match=r"trip_counts.*solver"):
        step_cost(until_ten, shape(4, 4), trip_counts=trip_counts)


def test_rematerialised_products_count_as_often_as_they_are_computed():
    def loss(w, x):
        return jnp.sin(jnp.sin(x @ w) @ w).sum()

    args = shape(4, 4), shape(5, 4)
    plain = count_macs(jax.value_and_grad(loss), *args)
    assert plain == (2 + 1 + 2) * 80  # forward; gradient to the one inner input; to weights
    assert count_macs(jax.value_and_grad(jax.checkpoint(loss)), *args) == plain + 2 * 80


def test_custom_derivatives_count_what_they_compute():
    @jax.custom_vjp
    def product(x, w):
        return x @ w

    product.defvjp(
        lambda x, w: (x @ w, (x, w)),
        lambda saved, ct: (ct @ saved[1].T, saved[0].T @ ct),
    )
    args = shape(5, 3), shape(3, 4)
    assert count_macs(product, *args) == 60
    assert count_macs(jax.value_and_grad(lambda *a: product(*a).sum(), (0, 1)), *args) == 180

    @jax.custom_jvp
    def square(x):
        return x @ x

    square.defjvp(lambda x, t: (square(x[0]), 2 * t[0] @ x[0]))
    assert count_macs(square, shape(4, 4)) == 64
    assert count_macs(lambda x, t: jax.jvp(square, (x,), (t,)), shape(4, 4), shape(4, 4)) == 128


def test_a_linear_solve_counts_its_solver_alone():
    def solve(a, inverse, b):
        return lax.custom_linear_solve(
            lambda x: a @ x, b, lambda _, b: inverse @ b, lambda _, b: inverse.T @ (inverse @ b)
        )

    assert count_macs(solve, shape(4, 4), shape(4, 4), shape(4)) == 16


def test_a_loop_inside_one_of_jaxs_functions_counts_every_pass():
    """Since jax 0.12 a program names such functions, and JAX opens them when it lowers it."""

    def root(a, b):
        def solve(f, x):
            return lax.fori_loop(0, 5, lambda _, x: x - f(x), x)

        return lax.custom_root(lambda x: a @ x - b, b, solve, lambda g, y: y)

    cost = step_cost(root, shape(4, 4), shape(4, 4))
    assert cost.macs == 5 * 64
    assert cost.operations == 5 * (128 + 2 * 16)
    searching = step_cost(jnp.searchsorted, shape(100), shape(10))
    assert searching.operations > 6 * searching.xla_flops  # 7 passes
    for each in cost, searching:
        assert each.unexplained == 0
        assert each.uncounted == ()


def test_an_operation_that_is_a_loop_in_xla_is_named():
    cost = step_cost(lambda key: jax.random.gamma(key, 2.0, (5,)), jax.random.key(0))
    assert any(name.startswith("random_gamma, a loop in XLA") for name in cost.uncounted)


def test_unused_products_do_not_count():
    assert count_macs(lambda x: (x @ x, x * 2)[1], shape(4, 4)) == 0
    # The value is not asked for, and the loss of a bilinear form is not needed for its gradient.
    assert count_macs(jax.grad(lambda w, x: (x @ w).sum()), shape(3, 4), shape(5, 3)) == 60


def test_jitted_and_plain_functions_cost_the_same():
    step, args = training_step(Net(), shape(2, 5, 5, 3), optax.adam(1e-3))
    plain, jitted = step_cost(step, *args), step_cost(jax.jit(step, donate_argnums=(0, 1)), *args)
    assert plain == jitted
    assert plain.unexplained == 0


def test_a_rematerialised_module_keeps_its_path():
    class Two(nn.Module):
        remat: bool

        @nn.compact
        def __call__(self, x):
            dense = nn.remat(nn.Dense) if self.remat else nn.Dense
            return jnp.tanh(dense(4, name="inner")(jnp.tanh(dense(4, name="outer")(x))))

    def sources(remat):
        module = Two(remat)
        variables = jax.eval_shape(module.init, jax.random.key(0), shape(3, 4))
        gradient = jax.grad(lambda v, x: module.apply(v, x).sum())
        lines = step_cost(gradient, variables, shape(3, 4)).lines
        return {line.source for line in lines if line.cost.macs}

    assert sources(False) == sources(True) == {"Two/outer", "Two/inner"}


def test_a_cond_counts_its_most_expensive_branch_and_says_so():
    def either(choose, x):
        with jax.named_scope("choice"):
            return lax.cond(choose, jnp.exp, lambda x: x @ x, x)

    cost = step_cost(either, shape(dtype=bool), shape(4, 4))
    assert cost.macs == 64
    assert cost.unexplained == 0
    assert cost.notes == ("cond in choice: counted at its most expensive branch, 0 of 2",)


def test_what_any_branch_hides_is_named():
    def either(choose, x):
        return lax.cond(choose, until_ten, lambda x: x @ x @ x @ x, x)

    cost = step_cost(either, shape(dtype=bool), shape(4, 4))
    assert cost.macs == 3 * 64
    (uncounted,) = cost.uncounted
    assert uncounted.startswith(UNKNOWN)


@pytest.mark.parametrize("branch", ["cpu", "cuda"])
def test_the_branch_of_a_tpu_counts_even_if_another_is_more_expensive(branch):
    def either(x):
        return lax.platform_dependent(
            x, **{branch: lambda x: x @ x @ x @ x}, default=lambda x: x @ x
        )

    cost = step_cost(either, shape(4, 4))
    assert cost.macs == 64
    assert cost.xla_flops == 128
    assert cost.unexplained == 0
    assert cost.notes == ()
    assert count_macs(jax.jit(jax.grad(lambda x: either(x).sum())), shape(4, 4)) == 128

    def named(x):
        return lax.platform_dependent(
            x, **{branch: lambda x: x @ x @ x}, tpu=lambda x: x @ x, default=lambda x: x
        )

    assert count_macs(named, shape(4, 4)) == 64


def test_callbacks_are_named_and_only_those_that_compute():
    callback = step_cost(lambda x: jax.pure_callback(np.sin, x, x @ x), shape(4, 4))
    assert callback.macs == 64
    assert callback.xla_flops is None
    assert callback.unexplained is None
    assert any("pure_callback" in name for name in callback.uncounted)
    assert "pure_callback" in str(callback)

    def printing(x):
        jax.debug.print("{}", x)
        return x @ x

    assert count_macs(printing, shape(4, 4)) == 64


def test_ragged_products_count_m_k_n_and_so_do_their_gradients():
    def loss(x, w, sizes):
        return jnp.sin(lax.ragged_dot(x, w, sizes)).sum()

    args = shape(6, 4), shape(2, 4, 5), shape(2, dtype=jnp.int32)
    assert count_macs(lax.ragged_dot, *args) == 6 * 4 * 5
    cost = step_cost(jax.grad(loss, (0, 1)), *args)
    assert cost.macs == 3 * 6 * 4 * 5
    assert cost.uncounted == ()
    assert cost.unexplained == 0
    assert cost.breakdown[terms.RAGGED] == cost.xla_flops - 2 * cost.macs


def test_a_custom_batching_rule_counts_what_it_stands_for():
    @jax.custom_batching.custom_vmap
    def square(x):
        return x @ x

    @square.def_vmap
    def rule(size, batched, x):
        return x @ x @ x, batched[0]

    assert count_macs(square, shape(4, 4)) == 64
    assert count_macs(jax.vmap(square), shape(3, 4, 4)) == 3 * 2 * 64


def test_references_are_counted_and_no_false_alarm():
    def through_references(x):
        rows = jax.new_ref(x)
        rows[...] = rows[...] * 2
        jax.ref.addupdate(rows, (1,), x[0])

        def add(row, _):
            jax.ref.addupdate(rows, (row,), x[0] @ x.T)

        lax.fori_loop(0, 4, add, None)
        return jax.ref.freeze(rows)

    cost = step_cost(through_references, shape(5, 5))
    assert cost.uncounted == ()
    assert cost.macs == 4 * 25
    # The loop's index is a sum.
    assert cost.operations == 25 + 5 + 4 * (2 * 25 + 5 + 1)


def test_what_cannot_be_counted_is_an_error_and_no_number():
    with pytest.raises(UsageError, match="while loop of unknown length"):
        count_macs(until_ten, shape(4, 4))
    with pytest.raises(UsageError, match="pure_callback"):
        count_macs(lambda x: jax.pure_callback(lambda x: x, x, x), shape(4, 4))


FOUR_DEVICES = """
import json
import math
import jax, jax.numpy as jnp
from jax import lax
from jaxeff.compute import count_macs, step_cost, xla_flops
from jaxeff.compute import cost as terms

def gradient(w, x):
    return jax.grad(lambda w: jnp.tanh(jnp.tanh(x @ w) @ w).sum())(w)

def one(w, x):
    return w - 0.1 * gradient(w, x)

def replica(w, x):
    return w - 0.1 * lax.psum(gradient(w, x), "devices")

w = jnp.ones((4, 4))
x = jax.device_put(jnp.ones((20, 4)), jax.devices()[3])
single = step_cost(one, w, x)
spread = jax.pmap(replica, "devices", in_axes=(None, 0), out_axes=None)
four = step_cost(spread, w, x.reshape(4, 5, 4))
mesh = jax.make_mesh((4,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
P = jax.sharding.PartitionSpec
sharded = jax.shard_map(
    replica, mesh=mesh, in_specs=(P(), P("devices")), out_specs=P(), check_vma=False
)
print(json.dumps({
    "devices": jax.device_count(),
    "single": [single.macs, single.xla_flops, single.unexplained],
    "four": [four.macs, four.xla_flops, four.unexplained],
    "phases": [
        {name: cost.macs for name, cost in which.by_phase().items()} for which in (single, four)
    ],
    "sharded": [count_macs(sharded, w, x), xla_flops(sharded, w, x)],
    "devices term": four.breakdown[terms.DEVICES],
}))
"""


def test_a_step_over_four_devices_costs_what_it_costs_on_one():
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)
    assert counted["devices"] == 4
    macs = 5 * 20 * 4 * 4  # two products forward, one gradient to inputs, two to weights
    # Each product; w's two gradients are added; 1 - tanh(y)^2, twice, times the cotangent once
    # (the other is all ones); the update.
    assert counted["single"][0] == macs
    assert counted["single"] == [macs, *step_on_this_machine()]
    assert counted["four"][0] == macs
    assert counted["phases"][0] == counted["phases"][1]
    # One device has a quarter of the batch, and the whole of the update and of the exchange.
    single, four = counted["single"][1], counted["four"][1]
    assert four == 2 * macs // 4 + (single - 2 * macs - 48) // 4 + 48 + 16
    assert counted["four"][2] == counted["single"][2] == 0
    assert counted["devices term"] == -3 * four
    assert counted["sharded"] == counted["four"][:2]


def step_on_this_machine():
    def one(w, x):
        return w - 0.1 * jax.grad(lambda w: jnp.tanh(jnp.tanh(x @ w) @ w).sum())(w)

    cost = step_cost(one, shape(4, 4), shape(20, 4))
    return [cost.xla_flops, cost.unexplained]


def _solve(a, b):
    return lax.while_loop(lambda x: ((a @ x - b) ** 2).sum() > 1e-6, lambda x: x - (a @ x - b), b)


def test_a_loop_that_ends_by_example_computes_its_condition_in_each_pass_too():
    one = step_cost(_solve, shape(8, 8), shape(8))
    assert one.macs == 2 * 64
    cost = step_cost(jax.vmap(_solve), shape(5, 8, 8), shape(5, 8))
    assert cost.macs == 5 * 3 * 64
    # Beside both conditions and the pass: whether one of five goes on, and a selection.
    each = 2 * (128 + 8 + 8 + 7 + 1) + 128 + 8 + 8
    assert cost.operations == 5 * each + 4 + 5 * 8
    assert cost.xla_flops == cost.flops
    assert cost.unexplained == 0
    # Ten passes and eleven tests.
    counted = step_cost(jax.vmap(_solve), shape(5, 8, 8), shape(5, 8), trip_counts={"while": 10})
    assert counted.macs == 5 * 64 * (10 + 10 + 11)


@pytest.mark.parametrize("lengths", [(0,), (0, 0)])
def test_loops_of_a_batch_leave_nothing_unexplained(lengths):
    def power(x, n):
        return lax.fori_loop(0, n, lambda i, c: (jnp.tanh(c[0] @ c[1]), c[1] + i), (x, x))

    n = (3, 5)[: len(lengths)]
    fn = power
    for _ in lengths:
        fn = jax.vmap(fn)
    cost = step_cost(fn, shape(*n, 4, 4), jax.ShapeDtypeStruct(n, jnp.int32))
    assert cost.macs == math.prod(n) * 64
    assert cost.unexplained == 0


def _ragged(x, w, sizes, v):
    return lax.ragged_dot(x, w, sizes).sum()


@pytest.mark.parametrize(
    ("one", "other", "arguments", "macs", "operations"),
    [
        # XLA counts a hundredth of a ragged product, and a running sum by its windows.
        (
            _ragged,
            lambda x, w, sizes, v: (v @ v).sum(),
            (shape(60, 40), shape(2, 40, 50), shape(2, dtype=jnp.int32), shape(20, 20)),
            60 * 40 * 50,
            2 * 60 * 40 * 50 + 60 * 50 - 1,
        ),
        (
            lambda x, w: lax.cumsum(x, 0),
            lambda x, w: x * (w @ w).sum(),
            (shape(4096), shape(64, 64)),
            64**3,
            2 * 64**3 + 64**2 - 1 + 4096,
        ),
        (lambda x: jnp.exp(jnp.sin(jnp.tanh(x))), lambda x: x + 1, (shape(100),), 0, 300),
        (lambda x: lax.top_k(x, 16)[0], lambda x: x[:16] + 1, (shape(1024),), 0, 1024 * 4),
    ],
)
def test_the_most_expensive_branch_is_that_with_the_most_operations(
    one, other, arguments, macs, operations
):
    for branches in ((one, other), (other, one)):

        def either(choose, *values, branches=branches):
            return lax.cond(choose, *branches, *values)

        cost = step_cost(either, shape(dtype=bool), *arguments)
        # A condition is converted to the number of a branch.
        assert (cost.macs, cost.operations) == (macs, operations + 1)
        assert cost.unexplained == 0
        assert len(cost.notes) == 1

        def loop(choose, *values, either=either):
            return lax.scan(lambda c, _: (c, either(choose, *values)), 0, length=5)

        looped = step_cost(loop, shape(dtype=bool), *arguments)
        assert (looped.macs, looped.unexplained) == (5 * macs, 0)


def test_a_devices_place_is_counted_as_xla_does():
    mesh = jax.make_mesh((1, 1), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    spec = jax.sharding.PartitionSpec("a", "b")
    for axes in ("a", ("a", "b"), ("b", "a")):

        def placed(x, axes=axes):
            return x * lax.axis_index(axes)

        mapped = jax.shard_map(placed, mesh=mesh, in_specs=spec, out_specs=spec)
        cost = step_cost(mapped, shape(4, 4))
        assert (cost.unexplained, cost.uncounted) == (0, ())


def test_an_exported_program_is_named():
    product = jax.jit(lambda a, b: jnp.tanh(a @ b))
    exported = jax.export.export(product, platforms=["cpu", "tpu"])(shape(4, 5), shape(5, 6))

    def step(a, b):
        return exported.call(a, b).sum()

    cost = step_cost(step, shape(4, 5), shape(5, 6))
    assert "call_exported in the function itself" in cost.uncounted
    with pytest.raises(UsageError, match="call_exported"):
        count_macs(step, shape(4, 5), shape(5, 6))
