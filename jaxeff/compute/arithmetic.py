"""Tells how many operations the arithmetic of an equation takes, as a table.

XLA's rules (`jaxeff.compute.xla_rules`) are no count of operations everywhere: they count the
window that XLA lowers a running sum to, complex numbers as real ones, and transcendental functions
apart. The rules here are those of a textbook:

* every element-wise operation counts one for each element of the result, whether it adds, compares,
  selects, converts or is a transcendental or special function;
* combining n elements counts n − 1, whether to one result or to a running one;
* sorting a row of n elements counts n log2 n comparisons, and finding its largest k n log2 k (with
  a heap of k elements), at least n − 1;
* a complex Fourier transform of N points counts 5 N log2 N, and one from or to real numbers half of
  that. N is the product of all lengths transformed. These are the operations of the radix-2
  algorithm of Cooley and Tukey (1965), and the convention in which FFTW reports speed;
* a multiply-accumulate counts two, and a complex one eight. Other operations on complex numbers
  count the real operations of their formulas, below;
* moving, copying and reinterpreting count nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from jaxeff.compute.xla_rules import rule


@dataclass(frozen=True)
class Arithmetic:
    """What the arithmetic of an equation takes, executed once on one device.

    Attributes:
      operations: how many operations; not always whole (n log2 n).
      why: why XLA counts otherwise, where it does.
      as_xla: whether the number is XLA's, for want of a rule.
    """

    operations: float
    why: str
    as_xla: bool = False


def arithmetic(eqn: JaxprEqn, macs: int = 0) -> Arithmetic:
    """Returns what the arithmetic of an equation takes.

    Args:
      eqn: an equation without a jaxpr inside it, such as that of an `Operation`.
      macs: its multiply-accumulates.
    """
    name = eqn.primitive.name
    if macs:
        if _is_complex(eqn):
            return Arithmetic(8 * macs, "XLA counts products of complex numbers as if real")
        ragged = name == "ragged_dot_general"
        return Arithmetic(2 * macs, _RAGGED if ragged else "XLA leaves out products with padding")
    if name in _NOTHING:
        return Arithmetic(0, _NOTHING[name])
    if name == "pallas_call" and all(isinstance(n, int) for n in eqn.params["grid_mapping"].grid):
        return Arithmetic(0, "its estimate is not what its body takes")  # The body is walked.
    if name in _COMPLEX and _is_complex(eqn):
        return Arithmetic(_COMPLEX[name] * _results(eqn), _AS_IF_REAL)
    if name in _RULES:
        count, why = _RULES[name]
        return Arithmetic(count(eqn), why)
    if name in _FUNCTIONS:
        return Arithmetic(_results(eqn), _FUNCTIONS[name])
    if name == "select_n":
        return Arithmetic(_results(eqn), "XLA counts the comparisons with the number of each case")
    counted = rule(eqn)
    per_operation = _PER_OPERATION.get(name, 1) if _is_complex(eqn) else 1
    return Arithmetic(per_operation * counted.flops + counted.transcendentals, _APART, as_xla=True)


def _is_complex(eqn: JaxprEqn) -> bool:
    types = [getattr(var.aval, "dtype", None) for var in (*eqn.invars, *eqn.outvars)]
    return any(isinstance(each, np.dtype) and each.kind == "c" for each in types)


def _results(eqn: JaxprEqn) -> int:
    return math.prod(eqn.outvars[0].aval.shape)


def _elements(eqn: JaxprEqn, operand: int = 0) -> int:
    return math.prod(eqn.invars[operand].aval.shape)


def _combining(eqn: JaxprEqn) -> float:
    """Real operations for combining two elements by the function of a reduction."""
    function = _function_in(eqn)
    if function is not None:
        return _executing(function)
    if not _is_complex(eqn):
        return 1
    return _COMPLEX["mul" if eqn.primitive.name.endswith(("prod", "mul")) else "add"]


def _function_in(eqn: JaxprEqn) -> Jaxpr | None:
    """The first jaxpr inside an equation."""
    for each in eqn.params.values():
        if isinstance(each, (Jaxpr, ClosedJaxpr)):
            return each.jaxpr if isinstance(each, ClosedJaxpr) else each
    return None


def _executing(function: Jaxpr) -> float:
    """Operations of a function of scalars, calls in it included."""
    operations = 0.0
    for eqn in function.eqns:
        called = None if eqn.primitive.name in _LOOPS_AND_BRANCHES else _function_in(eqn)
        operations += arithmetic(eqn).operations if called is None else _executing(called)
    return operations


def _reduction(eqn: JaxprEqn) -> float:
    return max(0, _elements(eqn) - _results(eqn)) * _combining(eqn)


def _running(eqn: JaxprEqn) -> float:
    length = eqn.invars[0].aval.shape[eqn.params["axis"]]
    return _elements(eqn) // max(length, 1) * (length - 1) * _combining(eqn)


def _window(eqn: JaxprEqn) -> float:
    return _results(eqn) * (math.prod(eqn.params["window_dimensions"]) - 1) * _combining(eqn)


def _select_and_scatter(eqn: JaxprEqn) -> float:
    # In each window all but one element are compared, and one sum adds to the chosen one.
    return _elements(eqn) * math.prod(eqn.params["window_dimensions"])


def _scatter(eqn: JaxprEqn) -> float:
    return _elements(eqn, -1) * _combining(eqn)


def _scatter_function(eqn: JaxprEqn) -> float:
    # `x.at[i].apply(f)` is a scatter whose function is f; of `x.at[i].set(y)` it is empty.
    function = eqn.params.get("update_jaxpr")
    return 0 if function is None else _elements(eqn, -1) * _executing(function)


def _sort(eqn: JaxprEqn) -> float:
    length = eqn.invars[0].aval.shape[eqn.params["dimension"]]
    return _elements(eqn) * math.log2(length) if length else 0


def _top_k(eqn: JaxprEqn) -> float:
    params = eqn.params
    axis = params.get("axis", params.get("reduction_dimension", -1))
    length = eqn.invars[0].aval.shape[axis]
    if not length or not params["k"]:
        return 0
    return _elements(eqn) // length * max(length - 1, length * math.log2(params["k"]))


def _fft(eqn: JaxprEqn) -> float:
    lengths = eqn.params["fft_lengths"]
    points = math.prod(lengths)
    # The side with all points is the operand, or the result where that is real.
    transforms = max(_elements(eqn), _results(eqn)) // max(points, 1)
    is_real = any(var.aval.dtype.kind == "f" for var in (*eqn.invars, *eqn.outvars))
    return transforms * (2.5 if is_real else 5) * points * math.log2(max(points, 1))


def _triangular_solve(eqn: JaxprEqn) -> float:
    # Each of the n values of a column takes a product and a difference for each before it, and a
    # division: n^2 in all.
    length, is_complex = eqn.invars[0].aval.shape[-1], _is_complex(eqn)
    product, division = (8, _COMPLEX["div"]) if is_complex else (2, 1)
    return _elements(eqn, 1) * (product * (length - 1) / 2 + division)


def _polynomial(eqn: JaxprEqn) -> float:
    # Horner's rule: a product and a sum for each coefficient but one, after the argument.
    each = _COMPLEX["mul"] + _COMPLEX["add"] if _is_complex(eqn) else 2
    return each * (len(eqn.invars) - 2) * _results(eqn)


def _exchange(eqn: JaxprEqn) -> float:
    return sum(map(math.prod, (var.aval.shape for var in eqn.invars))) - sum(
        map(math.prod, (var.aval.shape for var in eqn.outvars))
    )


_LOOPS_AND_BRANCHES = {"cond", "scan", "while"}
_RAGGED = "XLA does not count its products"
_APART = "XLA counts transcendental functions apart"
_AS_IF_REAL = "XLA counts operations on complex numbers as if real"
_RUNNING = "XLA counts the windows that it lowers it to, n − 1 for each element"
_COMPARED = "XLA also counts the choice of value and index in each comparison"
_SERIES = "XLA counts the polynomials and series that it expands it to"
# Real operations for each element of the result, of a + bi and c + di.
_COMPLEX = {
    "abs": 4,  # √(a² + b²)
    "acos": 28,  # π/2 − asin z
    "acosh": 34,  # log(z + √(z + 1) √(z − 1))
    "add": 2,
    "add_any": 2,
    "asin": 26,  # −i log(iz + √(1 − z²))
    "asinh": 23,  # log(z + √(z² + 1))
    "atan": 23,  # i/2 log((i + z) / (i − z))
    "atanh": 22,  # 1/2 log((1 + z) / (1 − z))
    "conj": 1,
    "convert_element_type": 2,
    "cos": 6,  # cos a cosh b − i sin a sinh b
    "cosh": 6,
    "div": 11,  # (ac + bd) / (c² + d²) + i (bc − ad) / (c² + d²)
    "eq": 3,
    "exp": 5,  # exp a (cos b + i sin b)
    "exp2": 7,  # exp(ln 2 (a + bi))
    "expm1": 6,
    "log": 6,  # log |a + bi| + i atan2(b, a)
    "log1p": 7,
    "log2": 8,
    "logistic": 14,  # 1 / (1 + exp(−a − bi)); an inverse takes 6
    "max": 2,
    "min": 2,
    "mul": 6,  # (ac − bd) + i (ad + bc)
    "ne": 3,
    "neg": 2,
    "one_minus_square": 10,  # (1 + z) (1 − z)
    "pow": 17,  # exp((c + di) log(a + bi))
    "rsqrt": 15,
    "select_n": 2,
    "sign": 6,  # z / |z|
    "sin": 6,
    "sinh": 6,
    "sqrt": 9,  # r = √((|z| + |a|) / 2), and b / (2 r)
    "square": 5,  # (a² − b²) + i 2ab
    "sub": 2,
    "tan": 9,
    "tanh": 9,  # (sinh 2a + i sin 2b) / (cosh 2a + cos 2b)
}

# Of complex numbers, for each operation that XLA counts as if they were real.
_PER_OPERATION = {
    "addupdate": _COMPLEX["add"],
    "cholesky": 4,  # A multiply-accumulate is eight operations, not two.
    "integer_pow": _COMPLEX["mul"],
}


def _each(words: str, value: Any) -> dict[str, Any]:
    return dict.fromkeys(words.split(), value)


# These count once for each element of the result, whatever XLA makes of them.
_FUNCTIONS = _each(
    "atan2 cbrt cos erf exp exp2 expm1 log log1p log2 logistic pow rsqrt sin sqrt tan tanh", _APART
) | _each(
    """acos acosh asin asinh atan atanh bessel_i0e bessel_i1e cosh digamma erf_inv erfc igamma
    igamma_grad_a igammac lgamma nextafter polygamma random_gamma_grad regularized_incomplete_beta
    sinh zeta""",
    _SERIES,
)
# Nothing is computed here.
_NOTHING = {
    "bitcast_convert_type": "XLA counts the reinterpretation of bits",
    "complex": "XLA counts putting two numbers side by side",
    "gather": "XLA counts the test whether an index is in bounds",
    "imag": "XLA counts taking a part",
    "real": "XLA counts taking a part",
}
# Each with why XLA's rule differs.
_RULES: dict[str, tuple[Callable[[JaxprEqn], float], str]] = (
    _each(
        "reduce reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum reduce_xor",
        (_reduction, _AS_IF_REAL),
    )
    | _each("argmax argmin", (_reduction, _COMPARED))
    | _each("cummax cummin cumprod cumsum", (_running, _RUNNING))
    | _each(
        "reduce_window reduce_window_max reduce_window_min reduce_window_sum",
        (_window, _AS_IF_REAL),
    )
    | _each(
        """scatter-add scatter-max scatter-min scatter-mul scatter-sub scatter_add scatter_max
        scatter_min scatter_mul scatter_sub""",
        (_scatter, _AS_IF_REAL),
    )
    | {
        "approx_top_k": (_top_k, "XLA counts a reduction"),
        "cumlogsumexp": (_running, "XLA counts every operation of the scan that it lowers it to"),
        "fft": (
            _fft,
            "XLA counts 8 N times the product of the lengths' logarithms, also for real numbers",
        ),
        "polynomial": (_polynomial, "XLA counts a loop's body once"),
        "scatter": (_scatter_function, "XLA counts the test whether an index is in bounds"),
        "reduce_scatter": (_exchange, "XLA counts no sum of it"),
        "select_and_gather_add": (_window, _COMPARED),
        "select_and_scatter_add": (_select_and_scatter, ""),
        "sort": (_sort, "XLA takes the logarithm of the number of all elements, not of a row's"),
        "top_k": (_top_k, "XLA does not count it"),
        "triangular_solve": (_triangular_solve, "XLA counts the zeros of the triangle too"),
    }
)
