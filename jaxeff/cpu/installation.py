"""Which kernels there are, and how they are installed."""

import warnings
from collections.abc import Callable, Sequence

import jax

from jaxeff.cpu import channel_sum, convolution, lowering, max_pool, onednn, ynnpack

# By name the primitive that a kernel computes, and what chooses its implementation.
KERNELS = {
    "grouped_convolution": (jax.lax.conv_general_dilated_p, convolution.choose_grouped),
    "window_beyond_image": (jax.lax.conv_general_dilated_p, convolution.choose_beyond_image),
    "channel_sum": (jax.lax.reduce_sum_p, channel_sum.choose),
    "max_pool_gradient": (jax.lax.select_and_scatter_add_p, max_pool.choose),
}
NAMES = (*KERNELS, "ynnpack_products_alone")

# What undoes each part that is installed, in the order of installation.
_undo: dict[str, Callable[[], None]] = {}


def install(without: Sequence[str] = ()) -> str:
    """Lets JAX compute with the kernels in every program that it lowers for a CPU from now on.

    Call it before JAX computes anything: XLA reads its flags once, and what is compiled stays as it
    is. It starts no backend of JAX, and changes nothing about programs for other platforms. Calling
    it again replaces what was installed.

    Args:
      without: some of `NAMES`, to leave out.

    Returns:
      What `installed` says.

    Raises:
      ValueError: `without` has an unknown name.
    """
    if unknown := set(without) - set(NAMES):
        raise ValueError(f"unknown kernels {sorted(unknown)}: there are {', '.join(NAMES)}")
    uninstall()
    for name, (primitive, choose) in KERNELS.items():
        if name not in without:
            _undo[name] = lowering.register(primitive, choose)
    if "ynnpack_products_alone" not in without:
        _undo["ynnpack_products_alone"] = ynnpack.keep_products_alone()
    # JAX warns of every program that the compilation cache cannot hold.
    warnings.filterwarnings("ignore", r"Error writing persistent compilation cache .*bad_alloc")
    return installed()


def installed() -> str:
    """What is in use, such as `cpu: grouped_convolution (oneDNN), channel_sum`; else `xla`."""
    names = list(_undo)
    if "grouped_convolution" in names:
        place = names.index("grouped_convolution")
        names[place : place + 1] = ["grouped_convolution (oneDNN)"] if onednn.is_expected() else []
    return f"cpu: {', '.join(names)}" if names else "xla"


def uninstall() -> None:
    """Gives what is lowered from now on back to XLA, with the flags that it had."""
    while _undo:
        _undo.popitem()[1]()
