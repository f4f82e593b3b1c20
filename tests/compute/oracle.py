"""Counts what a program computes by computing it, scalar by scalar.

`execute` interprets a function's jaxpr with loops over scalars, and counts each multiplication,
addition or comparison as it is made. Nothing here is shared with `jaxeff.compute`, and nothing here
multiplies a cost by a number of repetitions: a loop runs as often as it runs. The values that come
out are those that JAX computes (`tests.compute.test_oracle` compares them for every program), so
that what was counted is what the program does.

Multiply-accumulates of a convolution need one more idea. The three equations that differentiation
makes of a convolution (the convolution, its derivative to the input, its derivative to the kernel)
sum the same products of three factors, input × kernel × cotangent, over different indices. Each
therefore multiplies the same number of pairs of *stored* elements, neither padding nor holes
between dilated elements, whatever the order of derivative. `execute` counts those pairs one by one,
recognises by their number which of the program's layers an equation belongs to, and adds that
layer's multiply-accumulates, which `layer` counts from the definition.
"""

import dataclasses
import itertools
import math
import operator

import jax
import numpy as np
from jax.interpreters import partial_eval

ELEMENTWISE = {
    "abs": abs,
    "add": operator.add,
    "add_any": operator.add,
    "and": operator.and_,
    "atan2": np.arctan2,
    "cbrt": np.cbrt,
    "ceil": np.ceil,
    "clamp": lambda low, x, high: min(max(low, x), high),
    "cos": np.cos,
    "cosh": np.cosh,
    "div": operator.truediv,
    "eq": operator.eq,
    "erf": math.erf,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "floor": np.floor,
    "ge": operator.ge,
    "gt": operator.gt,
    "is_finite": np.isfinite,
    "le": operator.le,
    "log": np.log,
    "log1p": np.log1p,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "lt": operator.lt,
    "max": max,
    "min": min,
    "mul": operator.mul,
    "ne": operator.ne,
    "neg": operator.neg,
    "not": np.logical_not,
    "or": operator.or_,
    "pow": lambda x, y: np.float64(x) ** y,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": lambda x: x * x,
    "sub": operator.sub,
    "tan": np.tan,
    "tanh": np.tanh,
}
COMBINE = {
    "and": operator.and_,
    "logsumexp": np.logaddexp,
    "max": max,
    "min": min,
    "or": operator.or_,
    "prod": operator.mul,
    "sum": operator.add,
}
# Elements move and nothing is computed: JAX itself moves them, where it is more than NumPy does.
MOVEMENTS = {
    "concatenate",
    "copy",
    "dynamic_slice",
    "dynamic_update_slice",
    "gather",
    "iota",
    "pad",
    "slice",
    "split",
    "stack",
    "unstack",
}
CALLS = {
    "checkpoint": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "jit": "jaxpr",
    "remat2": "jaxpr",
}


@dataclasses.dataclass
class Tally:
    """What has been computed so far.

    Attributes:
      macs: multiply-accumulates of matrix products and of the convolutions that were recognised.
      complex_macs: those of them that are complex, and take 8 operations instead of 2.
      other: operations besides those.
      convolutions: for each convolution executed, its multiplied pairs of stored elements, and
        whether they are complex.
    """

    macs: int = 0
    complex_macs: int = 0
    other: float = 0
    convolutions: list = dataclasses.field(default_factory=list)

    @property
    def operations(self):
        return 2 * self.macs + 6 * self.complex_macs + self.other

    def add(self, part):
        self.macs += part.macs
        self.complex_macs += part.complex_macs
        self.other += part.other
        self.convolutions += part.convolutions


@dataclasses.dataclass(frozen=True)
class Count:
    """What `execute` found: the results of the program, and what it took to compute them."""

    results: tuple
    macs: int
    operations: float
    convolutions: int


def execute(fn, *args, layers=()):
    """Runs `fn(*args)` scalar by scalar.

    Args:
      fn: a function of arrays.
      *args: arrays, or trees of them.
      layers: the convolutions that `fn` is made of and takes derivatives of, as pairs of what
        `layer` says of them.

    Returns:
      A `Count`. Its `macs` are those of the matrix products, and of each convolution executed those
      of its layer.

    Raises:
      AssertionError: a convolution multiplies a number of pairs that no layer does, or two layers
        with different multiply-accumulates multiply equally many pairs.
    """
    closed = jax.make_jaxpr(fn)(*args)
    jaxpr, used = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    values = [np.asarray(leaf) for leaf in jax.tree.leaves(args)]
    values = [stored(value) for value, is_used in zip(values, used, strict=True) if is_used]
    tally = Tally()
    results = run(tally, jaxpr, [stored(constant) for constant in closed.consts], values)
    macs_of = {}
    for pairs, macs in layers:
        assert macs_of.setdefault(pairs, macs) == macs, "layers must differ in multiplied pairs"
    for pairs, is_complex in tally.convolutions:
        assert pairs in macs_of, f"a convolution multiplies {pairs} pairs, the layers {macs_of}"
        tally.macs += macs_of[pairs]
        tally.complex_macs += is_complex * macs_of[pairs]
    return Count(tuple(results), tally.macs, tally.operations, len(tally.convolutions))


def stored(value):
    """An array of the widest numbers of its kind."""
    value = np.asarray(value)
    for kind, wide in ((np.floating, np.float64), (np.complexfloating, np.complex128)):
        if jax.numpy.issubdtype(value.dtype, kind):
            return value.astype(wide, copy=False)
    return value


# Rematerialised code begins with a barrier, through which no compiler looks.
BARRIERS = {"checkpoint", "remat2"}


def run(tally, jaxpr, constants, arguments, known=()):
    """The results of a jaxpr, an array each.

    What is known before the program runs takes no operation, nor does an addition of a known zero,
    a multiplication by a known one or a choice between a value and itself: no compiler leaves it in
    the program, nor what nobody reads then. `known` says of each argument whether it is.
    """
    environment = dict(zip(jaxpr.constvars, constants, strict=True))
    environment |= dict(zip(jaxpr.invars, arguments, strict=True))
    known = known or [False] * len(jaxpr.invars)
    depends = {var for var, is_known in zip(jaxpr.invars, known, strict=True) if not is_known}

    def read(atom):
        return stored(atom.val) if hasattr(atom, "val") else environment[atom]

    def is_known(atom):
        return hasattr(atom, "val") or atom not in depends

    parts = []
    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        hidden = equation.primitive.name in BARRIERS
        known = [is_known(atom) and not hidden for atom in equation.invars]
        reads = [a for a, is_known in zip(equation.invars, known, strict=True) if not is_known]
        part = Tally()
        results = compute(part, equation, operands, known)
        if is_choice_of_one(equation, operands):
            part, reads = Tally(), equation.invars[1:2]
        elif all(known) or is_identity(equation, operands, known):
            part = Tally()
        if not all(known):
            depends |= set(equation.outvars)
        parts.append((equation.outvars, part, reads))
        for variable, result in zip(equation.outvars, results, strict=True):
            assert np.shape(result) == variable.aval.shape, (equation, np.shape(result))
            environment[variable] = stored(result)
    needed = {atom for atom in jaxpr.outvars if not hasattr(atom, "val")}
    for outputs, part, reads in reversed(parts):
        if not needed.isdisjoint(outputs):
            tally.add(part)
            needed.update(atom for atom in reads if not hasattr(atom, "val"))
    return [read(atom) for atom in jaxpr.outvars]


IDENTITIES = {"add": 0, "add_any": 0, "mul": 1, "and": True, "or": False}


def is_identity(equation, operands, known):
    """Whether an operand is known to be the neutral one before the program runs."""
    neutral = IDENTITIES.get(equation.primitive.name)
    return neutral is not None and any(
        is_known and np.all(operand == neutral)
        for is_known, operand in zip(known, operands, strict=True)
    )


def is_choice_of_one(equation, operands):
    """Whether a selection is between a value and itself."""
    _, first, *others = operands if equation.primitive.name == "select_n" else (None, None, 0)
    return all(other is first for other in others)


def compute(tally, equation, operands, known):
    """The results of one equation, counted.

    What is known outside is known in a branch and in a function with derivatives of its own, which
    become part of the program, and not in other functions and in loops.
    """
    name, params = equation.primitive.name, equation.params
    if name in ELEMENTWISE:
        return [elementwise(tally, ELEMENTWISE[name], operands)]
    if name in MOVEMENTS:
        return moved(equation, operands)
    if name in CALLS:
        inner = params[CALLS[name]]
        return run(tally, *opened(inner), operands, known if name.startswith("custom") else ())
    if name == "cond":
        return cond(tally, equation, known, *operands)
    if name in RULES:
        return RULES[name](tally, equation, *operands)
    for prefix, rule in (
        ("reduce_window_", reduce_window),
        ("cum", running),
        ("reduce_", reduce),
    ):
        if name.startswith(prefix) and name.removeprefix(prefix) in COMBINE:
            return rule(tally, equation, COMBINE[name.removeprefix(prefix)], *operands)
    raise NotImplementedError(f"the oracle has no rule for {name}")


def opened(inner):
    """A jaxpr and its constants, of a closed jaxpr or an open one."""
    return (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())


def moved(equation, operands):
    narrow = [
        jax.numpy.asarray(value, atom.aval.dtype)
        for value, atom in zip(operands, equation.invars, strict=True)
    ]
    results = equation.primitive.bind(*narrow, **equation.params)
    return results if equation.primitive.multiple_results else [results]


def broadcast_in_dim(tally, equation, operand):
    shape, axes = equation.params["shape"], equation.params["broadcast_dimensions"]
    spread = [1] * len(shape)
    for axis, size in zip(axes, operand.shape, strict=True):
        spread[axis] = size
    return [np.broadcast_to(operand.reshape(spread), shape)]


def reshape(tally, equation, operand):
    order = equation.params["dimensions"]
    return [
        (operand if order is None else operand.transpose(order)).reshape(
            equation.params["new_sizes"]
        )
    ]


def rev(tally, equation, operand):
    return [np.flip(operand, equation.params["dimensions"])]


def squeeze(tally, equation, operand):
    return [operand.squeeze(tuple(equation.params["dimensions"]))]


def transpose(tally, equation, operand):
    return [operand.transpose(equation.params["permutation"])]


def elementwise(tally, function, operands):
    shape = np.broadcast_shapes(*map(np.shape, operands))
    operands = [np.broadcast_to(operand, shape).ravel() for operand in operands]
    results = []
    for scalars in zip(*operands, strict=True):
        results.append(function(*scalars))
        tally.other += 1
    return np.asarray(results).reshape(shape)


def folded(tally, combine, scalars):
    """The first scalar combined with each of the others."""
    scalars = iter(scalars)
    total = next(scalars)
    for scalar in scalars:
        total = combine(total, scalar)
        tally.other += 1
    return total


def reduce(tally, equation, combine, operand):
    axes = equation.params["axes"]
    kept = [axis for axis in range(operand.ndim) if axis not in axes]
    rows = operand.transpose(*kept, *axes).reshape(*(operand.shape[axis] for axis in kept), -1)
    result = np.empty(rows.shape[:-1], rows.dtype)
    for index in np.ndindex(result.shape):
        result[index] = folded(tally, combine, rows[index])
    return [result]


def running(tally, equation, combine, operand):
    axis, backwards = equation.params["axis"], equation.params["reverse"]
    rows = np.moveaxis(operand, axis, -1).copy()
    rows = rows[..., ::-1] if backwards else rows
    for index in np.ndindex(rows.shape[:-1]):
        for position in range(1, rows.shape[-1]):
            rows[(*index, position)] = combine(
                rows[(*index, position - 1)], rows[(*index, position)]
            )
            tally.other += 1
    rows = rows[..., ::-1] if backwards else rows
    return [np.moveaxis(rows, -1, axis)]


NEUTRAL = {operator.add: 0, operator.mul: 1, max: -np.inf, min: np.inf}


def window(params, position, tap):
    """The element that a tap of a window meets, and whether it is a hole between dilated ones."""
    ones = (1,) * len(position)
    grid = [
        p * stride + t * dilation - low
        for p, t, stride, dilation, (low, _) in zip(
            position,
            tap,
            params["window_strides"],
            params.get("window_dilation", ones),
            params["padding"],
            strict=True,
        )
    ]
    spacing = params.get("base_dilation", ones)
    hole = any(g % d for g, d in zip(grid, spacing, strict=True))
    return tuple(g // d for g, d in zip(grid, spacing, strict=True)), hole


def is_inside(index, shape):
    return all(0 <= i < size for i, size in zip(index, shape, strict=True))


def reduce_window(tally, equation, combine, operand):
    params = equation.params
    result = np.empty(equation.outvars[0].aval.shape, operand.dtype)
    for position in np.ndindex(result.shape):
        scalars = []
        for tap in np.ndindex(*params["window_dimensions"]):
            index, hole = window(params, position, tap)
            is_stored = not hole and is_inside(index, operand.shape)
            scalars.append(operand[index] if is_stored else NEUTRAL[combine])
        result[position] = folded(tally, combine, scalars)
    return [result]


def select_and_scatter_add(tally, equation, source, operand):
    """Each element of the source is added where its window's largest (or smallest) element is."""
    params = equation.params
    better = {"ge": operator.ge, "le": operator.le}[params["select_prim"].name]
    result = np.zeros(operand.shape)
    for position in np.ndindex(source.shape):
        best = None
        for number, tap in enumerate(np.ndindex(*params["window_dimensions"])):
            index, _ = window(params, position, tap)
            tally.other += number > 0
            if is_inside(index, operand.shape) and (
                best is None or not better(operand[best], operand[index])
            ):
                best = index
        result[best] += source[position]
        tally.other += 1
    return [result]


def integer_pow(tally, equation, operand):
    """Squares and multiplies, and divides where the power is negative."""

    def power(x):
        def times(a, b):
            tally.other += 1
            return a * b

        result, exponent = None, abs(equation.params["y"])
        while exponent:
            if exponent & 1:
                result = x if result is None else times(result, x)
            exponent >>= 1
            x = times(x, x) if exponent else x
        if equation.params["y"] < 0:
            tally.other += 1
            result = 1 / result
        return result

    return [np.asarray([power(x) for x in operand.ravel()]).reshape(operand.shape)]


def one_minus_square(tally, equation, operand):
    """JAX computes (1 + x)(1 - x)."""
    ones = np.ones(())
    return [
        elementwise(
            tally,
            operator.mul,
            [
                elementwise(tally, operator.add, [ones, operand]),
                elementwise(tally, operator.sub, [ones, operand]),
            ],
        )
    ]


def select_n(tally, equation, which, *cases):
    return [elementwise(tally, lambda i, *scalars: scalars[int(i)], [which, *cases])]


def convert_element_type(tally, equation, operand):
    before, after = equation.invars[0].aval.dtype, equation.outvars[0].aval.dtype
    if before != after:
        tally.other += operand.size
    return [operand.astype(after)]


def dot_general(tally, equation, lhs, rhs):
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = equation.params["dimension_numbers"]
    lhs_free = [a for a in range(lhs.ndim) if a not in (*lhs_contract, *lhs_batch)]
    rhs_free = [a for a in range(rhs.ndim) if a not in (*rhs_contract, *rhs_batch)]
    lhs = lhs.transpose(*lhs_batch, *lhs_free, *lhs_contract)
    rhs = rhs.transpose(*rhs_batch, *rhs_free, *rhs_contract)
    b, f, g = len(lhs_batch), len(lhs_free), len(rhs_free)
    result = np.zeros(
        (*lhs.shape[: b + f], *rhs.shape[b : b + g]), np.result_type(lhs.dtype, rhs.dtype)
    )
    for index in np.ndindex(result.shape):
        batch, rows, columns = index[:b], index[b : b + f], index[b + f :]
        for contracted in np.ndindex(*lhs.shape[b + f :]):
            result[index] += lhs[batch + rows + contracted] * rhs[batch + columns + contracted]
            tally.macs += 1
            tally.complex_macs += np.iscomplexobj(result)
    return [result]


def conv_general_dilated(tally, equation, lhs, rhs):
    """Output by output and tap by tap, and notes how many stored elements were multiplied."""
    params = equation.params
    numbers = params["dimension_numbers"]
    lhs, rhs = lhs.transpose(numbers.lhs_spec), rhs.transpose(numbers.rhs_spec)
    shape = [equation.outvars[0].aval.shape[axis] for axis in numbers.out_spec]
    result = np.zeros(shape, np.result_type(lhs.dtype, rhs.dtype))
    features, batches = params["feature_group_count"], params["batch_group_count"]
    windows = {
        "window_strides": params["window_strides"],
        "window_dilation": params["rhs_dilation"],
        "base_dilation": params["lhs_dilation"],
        "padding": params["padding"],
    }
    pairs = 0
    for position in np.ndindex(*shape[2:]):
        for tap in np.ndindex(*rhs.shape[2:]):
            index, hole = window(windows, position, tap)
            if hole or not is_inside(index, lhs.shape[2:]):
                continue
            for n, o, c in itertools.product(*map(range, (*shape[:2], rhs.shape[1]))):
                row = n + shape[0] * (o // (shape[1] // batches))
                channel = c + rhs.shape[1] * (o // (shape[1] // features))
                product = lhs[(row, channel, *index)] * rhs[(o, c, *tap)]
                result[(n, o, *position)] += product
                pairs += 1
    tally.convolutions.append((pairs, np.iscomplexobj(result)))
    return [result.transpose(np.argsort(numbers.out_spec))]


def sort(tally, equation, *operands):
    """Rows sort by their keys, in n log2 n comparisons."""
    axis, keys = equation.params["dimension"], equation.params["num_keys"]
    rows = [np.moveaxis(operand, axis, -1) for operand in operands]
    results = [row.copy() for row in rows]
    for index in np.ndindex(rows[0].shape[:-1]):
        n = rows[0].shape[-1]
        order = sorted(range(n), key=lambda i: tuple(row[index][i] for row in rows[:keys]))
        for row, result in zip(rows, results, strict=True):
            result[index] = row[index][order]
        tally.other += n * math.log2(n)
    return [np.moveaxis(result, -1, axis) for result in results]


def stop_gradient(tally, equation, operand):
    return [operand]


def empty2(tally, equation):
    return [np.zeros(equation.outvars[0].aval.shape)]


def fft(tally, equation, operand):
    """Transforms take 5 N log2 N operations, and half of that where one side is real."""
    kind = jax.lax.FftType(equation.params["fft_type"])
    transform, each = {
        jax.lax.FftType.FFT: (np.fft.fftn, 5),
        jax.lax.FftType.IFFT: (np.fft.ifftn, 5),
        jax.lax.FftType.RFFT: (np.fft.rfftn, 2.5),
        jax.lax.FftType.IRFFT: (np.fft.irfftn, 2.5),
    }[kind]
    lengths = equation.params["fft_lengths"]
    size = math.prod(lengths)
    result = transform(operand, lengths, tuple(range(-len(lengths), 0)))
    tally.other += math.prod(operand.shape[: -len(lengths)]) * each * size * math.log2(size)
    return [result]


def scan(tally, equation, *operands):
    params = equation.params
    if "ft_in" in params:  # since jax 0.12
        constants, carried, _ = (len(part) for part in params["ft_in"].unpack())
    else:
        constants, carried = params["num_consts"], params["num_carry"]
    body, body_constants = opened(params["jaxpr"])
    fixed = list(operands[:constants])
    carry = list(operands[constants : constants + carried])
    sequences = operands[constants + carried :]
    steps = range(params["length"])
    rows = {}
    for step in reversed(steps) if params["reverse"] else steps:
        inputs = [sequence[step] for sequence in sequences]
        results = run(tally, body, body_constants, fixed + carry + inputs)
        carry, rows[step] = results[:carried], results[carried:]
    stacked = [np.stack([rows[step][i] for step in steps]) for i in range(len(rows[0]))]
    return carry + stacked


def while_(tally, equation, *operands):
    params = equation.params
    in_condition, in_body = params["cond_nconsts"], params["body_nconsts"]
    condition, body = opened(params["cond_jaxpr"]), opened(params["body_jaxpr"])
    carry = list(operands[in_condition + in_body :])
    body_constants = list(operands[in_condition : in_condition + in_body])
    while run(tally, *condition, list(operands[:in_condition]) + carry)[0]:
        carry = run(tally, *body, body_constants + carry)
    return carry


def cond(tally, equation, known, which, *operands):
    """Runs every branch; the most expensive one counts, and the one chosen gives the results."""
    tallies, results = [], []
    for branch in equation.params["branches"]:
        tallies.append(Tally())
        results.append(run(tallies[-1], *opened(branch), operands, known[1:]))
    # The layers' costs are not known here, so that branches with different convolutions could not
    # be compared.
    assert len({tuple(sorted(branch.convolutions)) for branch in tallies}) == 1
    tally.add(max(tallies, key=lambda branch: branch.operations))
    return results[int(np.clip(which, 0, len(results) - 1))]


RULES = {
    "broadcast_in_dim": broadcast_in_dim,
    "conv_general_dilated": conv_general_dilated,
    "convert_element_type": convert_element_type,
    "dot_general": dot_general,
    "empty2": empty2,
    "fft": fft,
    "integer_pow": integer_pow,
    "one_minus_square": one_minus_square,
    "reshape": reshape,
    "rev": rev,
    "scan": scan,
    "select_and_scatter_add": select_and_scatter_add,
    "select_n": select_n,
    "sort": sort,
    "squeeze": squeeze,
    "stop_gradient": stop_gradient,
    "transpose": transpose,
    "while": while_,
}


def layer(fn, x, w):
    """What `execute` wants to know of the convolution that `fn(x, w)` is.

    Returns:
      The multiplied pairs of stored elements, and the multiply-accumulates: a convolution takes one
      for each tap at each output position, padding included; a transposed convolution one for each
      tap at each input position. With stride 1 the two are the same equation, and it is a
      transposed convolution if a whole kernel of padding is on each side.
    """
    tally = Tally()
    jaxpr = jax.make_jaxpr(fn)(x, w)
    run(tally, jaxpr.jaxpr, jaxpr.consts, [stored(x), stored(w)])
    ((pairs, _),) = tally.convolutions
    (equation,) = [e for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
    params = equation.params
    numbers = params["dimension_numbers"]
    lhs, rhs, out = (
        [variable.aval.shape[axis] for axis in spec]
        for variable, spec in zip((*equation.invars, *equation.outvars), numbers, strict=True)
    )
    stretched = math.prod(params["lhs_dilation"]) > 1
    is_full = math.prod(params["window_strides"]) == 1 < math.prod(rhs[2:]) and all(
        tuple(padding) == ((taps - 1) * dilation,) * 2
        for padding, taps, dilation in zip(
            params["padding"], rhs[2:], params["rhs_dilation"], strict=True
        )
    )
    is_transposed = stretched or is_full
    macs = 0
    for _position in np.ndindex(*(lhs[2:] if is_transposed else out[2:])):
        for _tap in np.ndindex(*rhs[2:]):
            for _example, _output, _input in np.ndindex(out[0], out[1], rhs[1]):
                macs += 1
    return pairs, macs
