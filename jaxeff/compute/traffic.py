"""Counts the bytes that a program moves between memory and arithmetic, from the jaxpr.

Many training steps are bound by memory: EfficientNet-b0 has a tenth of ResNet-50's
multiply-accumulates and is no faster on an A100. The count is of an ideal compiler's program:

- Convolutions, matrix products, sums and other reductions, windows (pooling), gathers, scatters
  and sorts are passes over memory. Each reads its operands and writes its result, once.
- Everything element-wise, every change of type or shape, is fused into the passes that read its
  result, which read its operands in its place; of a slice they read the part. Where several passes
  read it, it is written to memory if fewer bytes are moved so.
- What a loop carries from pass to pass, scans or stacks is in memory between the passes, each of
  which reads and writes its part.
- Concatenations are fused likewise: what is concatenated is read from where it was written.
- What is computed from a product's result and from arrays that were there before is computed as
  the result leaves the product, which then need not be read again, nor written if nothing else
  reads it.
- Reductions of the same arrays, such as batch norm's mean and variance, are one pass. So are
  results of the program that are computed from the same arrays, such as a parameter and its
  momentum.

Caches, padding of arrays to the hardware's tiles and copies between layouts are not in it.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from jax.interpreters.partial_eval import dce_jaxpr

from jaxeff.compute.tracing import trace
from jaxeff.compute.walk import Step, walk

_PASSES = (
    "conv_general_dilated",
    "dot_general",
    "ragged_dot",
    "reduce",
    "select_and",
    "argm",
    "cum",
    "sort",
    "top_k",
    "gather",
    "scatter",
    "dynamic_update_slice",
    "fft",
    "pallas_call",
    "all_",
    "psum",
)
_PRODUCTS = ("conv_general_dilated", "dot_general", "ragged_dot")
_SLICES = ("slice", "dynamic_slice", "split", "unstack")
_REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_and", "reduce_or", "argm")


def count_bytes(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Counts the bytes that one device reads and writes in `fn(*args)`, by this module's rules.

    Args:
      fn: any function that JAX can trace. It is neither compiled nor run.
      *args: its arguments: pytrees of arrays or `jax.ShapeDtypeStruct`, and static ones.
      **kwargs: its keyword arguments, likewise.

    Returns:
      Bytes. A loop's body counts as often as it runs, one of unknown length once.

    Raises:
      UsageError: `fn` cannot be traced with these arguments.
    """
    program = trace(fn, args, kwargs).jaxpr
    jaxpr, _ = dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))
    found = walk(jaxpr, program.consts, {})
    names = dict(reversed(pair) for pair in found.aliases if pair not in found.changing)

    def root(value: int) -> int:
        while value in names:
            value = names[value]
        return value

    # A Pallas kernel is one pass, whatever it does inside. What is folded takes none, but what it
    # is made of is read in its place.
    steps = [
        step
        for step in found.steps
        if not (step.place.in_kernel or (step.folded and _is(step, _PASSES)))
    ]
    # What a loop is given, and what a pass leaves to the next or stacks, is in memory.
    stored = {outer for outer, _ in found.changing} | {after for after, _ in found.carries}
    traffic = _Traffic(steps, root, set(map(root, stored.union(found.returned))))
    traffic.bytes |= {root(value): 0 for value in found.literals}  # Part of the program.
    return traffic.total()


@dataclasses.dataclass
class _Pass:
    """One pass over memory: the arrays that it reads and writes, and how often it happens."""

    times: int
    read: set[int] = dataclasses.field(default_factory=set)
    written: set[int] = dataclasses.field(default_factory=set)


class _Traffic:
    """The passes over memory that a list of steps takes."""

    def __init__(self, steps: list[Step], root: Callable[[int], int], returned: set[int]):
        self.steps, self.root, self.returned = steps, root, returned
        self.bytes: dict[Any, int] = {}
        self.fused: dict[int, frozenset[int]] = {}  # The arrays in memory that a value is made of.
        self.products: set[int] = set()  # The results of convolutions and matrix products.
        self.made: dict[int, int] = {}  # The step of each array in memory; arguments have none.
        self.readers: dict[int, set] = defaultdict(set)
        self.uses: dict[int, int] = defaultdict(int)
        self._find_readers()
        self.passes: dict[Any, _Pass] = defaultdict(lambda: _Pass(1))
        # A part of an array, by the array and the slice that is made of it -> the array.
        self.parts: dict[tuple[int, int], int] = {}

    def total(self) -> int:
        for number, step in enumerate(self.steps):
            self._add(number, step)
        read = set().union(*(each.read for each in self.passes.values()))
        needed = self.returned | set(map(self._array, read))
        return sum(
            each.times * (self._size(each.read) + self._size(each.written & needed))
            for each in self.passes.values()
        )

    def _array(self, source) -> int:
        """The array that a source is, or is a part of."""
        return self.parts.get(source, source)

    def _size(self, sources: Iterable) -> int:
        """The bytes of arrays and of parts of arrays, at most all of each array."""
        found: dict[int, int] = defaultdict(int)
        for source in sources:
            found[self._array(source)] += self.bytes[source]
        return sum(min(size, self.bytes[array]) for array, size in found.items())

    def _add(self, number: int, step: Step) -> None:
        for value, var in zip(step.inputs, step.eqn.invars, strict=True):
            self.bytes.setdefault(self.root(value), _bytes(var.aval))
        outputs = [self.root(value) for value in step.outputs]
        for value, var in zip(outputs, step.eqn.outvars, strict=True):
            self.bytes[value] = _bytes(var.aval)
        sources = self._sources(step.inputs)
        times = step.place.times_per_device
        if _is(step, _REDUCTIONS):
            read = sources - self._at_hand(sources)
            self._add_pass(("reduction", read, times), read, outputs, number, times)
        elif _is(step, _PASSES):
            self._add_pass(number, sources, outputs, number, times)
            if _is(step, _PRODUCTS):
                self.products.update(outputs)
        else:
            arrays = sources
            for value in outputs:
                if _is(step, _SLICES):
                    sources = self._parts(arrays, value, self.root(step.inputs[0]))
                if value in self.returned or self._is_cheaper_in_memory(value, sources):
                    read = sources - self._at_hand(sources)
                    self._add_pass(("element-wise", read, times), read, [value], number, times)
                else:
                    self.fused[value] = sources

    def _add_pass(self, key, read, outputs, number, times) -> None:
        self.passes[key].times = times
        self.passes[key].read |= read
        self.passes[key].written.update(outputs)
        self.made.update((value, number) for value in outputs)

    def _at_hand(self, sources: frozenset) -> set:
        """The source that need not be read: a product made after all the others were there."""
        arrays = {self._array(source) for source in sources}
        last = max(arrays, key=lambda array: self.made.get(array, -1), default=None)
        return {source for source in sources if self._array(source) == last in self.products}

    def _parts(self, sources: frozenset, value: int, operand: int) -> frozenset:
        """What a slice, `value`, reads of its operand's sources: of each in proportion."""
        found = {}
        for source in sources:
            array = self._array(source)
            size = self.bytes[source] * self.bytes[value] // max(self.bytes[operand], 1)
            found[array, value] = found.get((array, value), 0) + size
            self.parts[array, value] = array
        self.bytes |= found
        return frozenset(found)

    def _sources(self, inputs: Iterable[int]) -> frozenset[int]:
        """The arrays in memory from which values are computed."""
        found = set()
        for value in map(self.root, inputs):
            found |= self.fused.get(value, {value})
        return frozenset(found)

    def _is_cheaper_in_memory(self, value: int, sources: frozenset[int]) -> bool:
        """Whether writing an element-wise result moves less than computing it in every reader."""
        if self.uses[value] < 2:  # Where one step alone uses it, its result decides.
            return False
        readers, read = len(self.readers[value]), self._size(sources)
        return read + (1 + readers) * self.bytes[value] < readers * read

    def _find_readers(self) -> None:
        """Finds the passes that read each value, were everything element-wise fused."""
        for number, step in reversed(list(enumerate(self.steps))):
            outputs = [self.root(value) for value in step.outputs]
            if _is(step, _REDUCTIONS):
                reached = {"reduction"}
            elif _is(step, _PASSES):
                reached = {number}
            else:
                reached = set().union(*(self.readers[value] for value in outputs))
                reached |= {("result", value) for value in outputs if value in self.returned}
            for value in {self.root(value) for value in step.inputs}:
                self.readers[value] |= reached
                self.uses[value] += 1


def _is(step: Step, names: tuple[str, ...]) -> bool:
    return step.primitive.startswith(names)


def _bytes(aval) -> int:
    return math.prod(getattr(aval, "shape", ())) * getattr(aval.dtype, "itemsize", 4)
