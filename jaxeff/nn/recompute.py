"""What the backward pass on CPU computes a second time, so that it need not be kept until then."""

from collections.abc import Callable

import jax
from flax import linen as nn

from jaxeff.nn import forms

# The name (`jax.ad_checkpoint.checkpoint_name`) of results that are kept all the same: a few
# numbers that many went into.
KEPT = "kept"

# XLA's CPU backend removes the barrier between the first computation and the second, and then takes
# one for the other, unless the program is compiled with these options.
COMPILER_OPTIONS = {"xla_disable_hlo_passes": "cse_barrier_expander"}


def recomputed(function: Callable) -> Callable:
    """`function`, of which the backward pass on CPU keeps the arguments alone.

    For what stands between two convolutions: batch norm, activation, and the second convolution
    (which is not computed again: no gradient needs its result). Their results take as much memory
    as those of the first convolution; computing them again takes a few per cent of a step. TPU, GPU
    and programs for several platforms keep them, and so does a program that is compiled without
    `COMPILER_OPTIONS`.

    Args:
      function: takes a Flax module, whose submodules it may call, and arrays; returns an array.
    """
    if not forms.cpu_forms_alone():
        return function
    return nn.remat(function, policy=jax.checkpoint_policies.save_only_these_names(KEPT))
