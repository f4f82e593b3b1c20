"""What a convolution's equation says of it, whatever it is the derivative of.

A convolution combines three arrays: an image, a kernel and an output. It reads two of them and
writes the third; its derivatives of any order combine the same three and exchange which are read
and which is written. JAX's derivatives say so in their dimension numbers: where an array changes
place, its batch and features (or a kernel's output and input features) are exchanged. So the
equation tells the three apart, and the count is that of the convolution, not of a guessed phase.

Two convolutions can have one equation, and then a rule decides:

- With stride 1 and a whole kernel of padding on each side, a convolution is also a transposed
  convolution without padding. It counts as the transposed one, every product of which meets a value
  (`ambiguous_convolution` names it).
- In a layout that exchanges batch and features (CHWN, CNHW) or a kernel's features (HWOI, IHWO,
  IOHW), a convolution has the dimension numbers of a derivative in the usual ones (`N…C`, `NC…`;
  `OI…`, `O…I`, `…IO`), as which it is read. With CHWN and IHWO the count differs only for a
  transposed convolution, with HWOI and IOHW for stride 1 and a padding other than `VALID`, `SAME`
  and a whole kernel; with CNHW and OIHW it differs for most paddings and strides.
"""

import math
from dataclasses import dataclass

from jax.extend.core import JaxprEqn
from jax.lax import ConvDimensionNumbers


def convolution_macs(eqn: JaxprEqn) -> int:
    """Counts the multiply-accumulates of a convolution or of a derivative of one, of any order.

    A convolution and all its derivatives combine the same three arrays: an image, a kernel and an
    output. Two of them are read and one is written; which, differs. The count is that of the
    convolution: `kernel positions × output positions`, or `kernel positions × image positions` if
    it is a transposed one, times the features and images that each pair combines.
    """
    positions = _positions(eqn)
    other = positions.image if positions.transposed else positions.output
    return math.prod(positions.kernel) * math.prod(other) * _features(eqn)


def ambiguous_convolution(eqn: JaxprEqn) -> str | None:
    """Says how a convolution is read of which the equation allows two readings; None otherwise.

    With stride 1 and a whole kernel of padding on each side (`FULL`), a convolution and a
    transposed convolution have one and the same equation.
    """
    positions = _positions(eqn)
    forward = eqn.params["dimension_numbers"].rhs_spec
    if not (positions.full and positions.written == "output" and not _is_transposed(forward)):
        return None
    padded = math.prod(positions.kernel) * math.prod(positions.output) * _features(eqn)
    return (
        f"counted as a transposed convolution, {convolution_macs(eqn):,} multiply-accumulates; as "
        f"a convolution whose padding counts it would be {padded:,}"
    )


def writes_kernel(eqn: JaxprEqn) -> bool:
    """Whether what a convolution writes is shaped like its kernel, as the kernel's gradient is."""
    return _roles(eqn.params["dimension_numbers"])[2] == "kernel"


@dataclass(frozen=True)
class _Positions:
    """The spatial shapes of the image, the kernel and the output of a convolution.

    Attributes:
      image: spatial shape of what the convolution reads.
      kernel: spatial shape of its kernel.
      output: spatial shape of what the convolution writes.
      written: which of the three the equation at hand writes.
      full: whether the convolution has stride 1 and a whole kernel of padding on each side.
      transposed: whether it is a transposed convolution: it dilates its image, or is `full`.
    """

    image: tuple[int, ...]
    kernel: tuple[int, ...]
    output: tuple[int, ...]
    written: str
    full: bool
    transposed: bool


def _positions(eqn: JaxprEqn) -> _Positions:
    params, numbers = eqn.params, eqn.params["dimension_numbers"]
    arrays = (*(var.aval.shape for var in eqn.invars), eqn.outvars[0].aval.shape)
    # The step from one position to the next: dilation of what is read, stride of what is written.
    steps = (params["lhs_dilation"], params["rhs_dilation"], params["window_strides"])
    names = _roles(numbers)
    shapes = {
        name: tuple(shape[dim] for dim in spec[2:])
        for name, shape, spec in zip(names, arrays, numbers, strict=True)
    }
    step = dict(zip(names, steps, strict=True))
    image, kernel, output = (shapes[name] for name in ("image", "kernel", "output"))
    full = (
        set(step["image"]) | set(step["output"]) <= {1}
        and math.prod(kernel) > 1
        and all(
            before == after and out == size + (taps - 1) * dilation
            for (before, after), size, taps, out, dilation in zip(
                params["padding"], image, kernel, output, step["kernel"], strict=True
            )
        )
    )
    transposed = full or any(dilation > 1 for dilation in step["image"])
    return _Positions(image, kernel, output, names[2], full, transposed)


def _roles(numbers: ConvDimensionNumbers) -> tuple[str, str, str]:
    """Which of image, kernel and output a convolution's left operand, right operand and result are.

    JAX's derivatives exchange batch and features, or a kernel's output and input features, in the
    dimension numbers of the arrays that change places, so the dimension numbers tell which array
    is the kernel, and whether it is exchanged tells image from output.
    """
    exchanged = tuple(map(_is_transposed, numbers))
    kernel = _kernel_operand(numbers, exchanged)
    if kernel == 1:
        others = ("output", "image") if exchanged[1] else ("image", "output")
        return others[0], "kernel", others[1]
    if kernel == 2:
        return ("image", "output", "kernel") if exchanged[2] else ("output", "image", "kernel")
    return ("kernel", "output", "image") if exchanged[0] else ("kernel", "image", "output")


def _kernel_operand(numbers: ConvDimensionNumbers, exchanged: tuple[bool, bool, bool]) -> int:
    """Which of left operand (0), right operand (1) and result (2) is the kernel."""
    spatial = [spec[2:] for spec in numbers]
    odd = [index for index in range(3) if spatial.count(spatial[index]) == 1]
    if len(odd) == 1:  # NHWC beside HWIO: the kernel has its spatial dimensions elsewhere.
        return odd[0]
    left, right, result = exchanged
    if left and right:
        return 2
    return 0 if result and not right else 1


def _is_transposed(spec: tuple[int, ...]) -> bool:
    """Whether an array's first two dimension numbers are exchanged.

    They are not in `N…C`, `NC…`, `OI…`, `O…I` and `…IO`.
    """
    last = len(spec) - 1
    return spec[0] != 0 and spec[:2] != (last, last - 1)


def _features(eqn: JaxprEqn) -> int:
    """The products of one pair of positions: images × features written × features combined."""
    numbers = eqn.params["dimension_numbers"]
    out = eqn.outvars[0].aval.shape
    batch, features = numbers.out_spec[:2]
    return out[batch] * out[features] * eqn.invars[1].aval.shape[numbers.rhs_spec[1]]
