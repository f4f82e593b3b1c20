"""Optimizers for a recipe to choose from, built of Optax's parts.

Each takes a learning rate, a number or a schedule of the step (`jaxeff.train.schedules`), and
returns an `optax.GradientTransformation`. `mask` is a function from the parameters to a tree of
booleans: weight decay is for the parameters where it is True, `decay_mask` for example, and by
default for all. A recipe may as well use any optimizer of Optax itself.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from jaxeff.errors import UsageError

Rate = float | optax.Schedule
Mask = Callable[[optax.Params], optax.Params]


def decay_mask(params: optax.Params) -> optax.Params:
    """True for weight matrices and convolution kernels: no decay on biases and normalisation.

    A bias, and the scale and the bias of a normalisation, have fewer than two dimensions (Goyal et
    al. 2017, Section 5.1, for batch normalisation; He et al. 2019, Section 3.1, for biases too).
    """
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def sgd(
    learning_rate: Rate,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    *,
    nesterov: bool = False,
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """`torch.optim.SGD` with its arguments.

    `g += weight_decay * p; buffer = momentum * buffer + g; p -= lr * buffer`, or with `nesterov`
    `p -= lr * (g + momentum * buffer)` (Sutskever et al. 2013). The decay is coupled: it passes
    through the momentum and is scaled by the rate.

    Args:
      learning_rate: number or schedule.
      momentum: fraction of the buffer that stays in each step.
      weight_decay: added to the gradient times the parameter.
      nesterov: whether the step looks ahead.
      mask: which parameters decay; None for all.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        optax.trace(decay=momentum, nesterov=nesterov),
        optax.scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    *,
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as `torch.optim.AdamW`.

    The decay is scaled by the learning rate, as PyTorch's is.

    Args:
      learning_rate: number or schedule.
      b1: fraction of the mean gradient that stays in each step.
      b2: fraction of the mean squared gradient that stays.
      eps: added to the root of the mean square.
      weight_decay: times learning rate and parameter, subtracted from the parameter.
      mask: which parameters decay; None for all.
    """
    return optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=mask)


def lamb(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 1e-2,
    *,
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """LAMB (You et al. 2020, Algorithm 2): AdamW whose step has the length of the parameters.

    `r = adam(g) + weight_decay * p; p -= lr * |p| / |r| * r` for each array of parameters, with the
    norms over the whole array and the ratio 1 where one of them is 0.

    Args:
      learning_rate: number or schedule.
      b1: fraction of the mean gradient that stays in each step.
      b2: fraction of the mean squared gradient that stays.
      eps: added to the root of the mean square.
      weight_decay: added to Adam's step times the parameter.
      mask: which parameters decay; None for all.
    """
    return optax.lamb(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=mask)


def lars(
    learning_rate: Rate,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    *,
    trust_coefficient: float = 1e-3,
    nesterov: bool = False,
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """LARS (You et al. 2017, Algorithm 1): SGD with a rate for each array of parameters.

    `buffer = momentum * buffer + lr * ratio * (g + weight_decay * p); p -= buffer`, where `ratio =
    trust_coefficient * |p| / (|g| + weight_decay * |p|)`, and 1 where the array or its gradient is
    0. `optax.lars` divides by `|g + weight_decay * p|` instead.

    Args:
      learning_rate: number or schedule; the article's global rate.
      momentum: fraction of the buffer that stays in each step.
      weight_decay: added to the gradient times the parameter.
      trust_coefficient: how far a step goes, as a fraction of the array's norm.
      nesterov: whether the step looks ahead.
      mask: which parameters have decay and a rate of their own; the others, such as biases, are
        those of SGD. None for all.
    """
    scaled = _scale_by_layer_rate(trust_coefficient, weight_decay)
    return optax.chain(
        scaled if mask is None else optax.masked(scaled, mask),
        optax.scale_by_learning_rate(learning_rate),
        optax.trace(decay=momentum, nesterov=nesterov),
    )


def _scale_by_layer_rate(trust_coefficient, weight_decay):
    def scale(grad, param):
        param_norm, grad_norm = jnp.linalg.norm(param), jnp.linalg.norm(grad)
        length = grad_norm + weight_decay * param_norm
        known = (param_norm > 0) & (grad_norm > 0)
        ratio = jnp.where(known, trust_coefficient * param_norm / jnp.where(known, length, 1), 1)
        return ratio * (grad + weight_decay * param)

    return optax.stateless_with_tree_map(scale)


def muon(
    learning_rate: Rate,
    adamw_learning_rate: Rate,
    momentum: float = 0.95,
    weight_decay: float = 0.0,
    *,
    nesterov: bool = True,
    newton_schulz_steps: int = 5,
    exclude: Sequence[str] = (),
    b1: float = 0.9,
    b2: float = 0.95,
    eps: float = 1e-10,
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal.

    Arrays of two dimensions, `[in, out]`, and of four, the kernels of convolutions `[h, w, in,
    out]` as matrices `[h * w * in, out]`, take the step `p -= lr * sqrt(max(1, out / in)) *
    orthogonal(momentum)`, in which `in` is the number of rows: Jordan's scaling, which is
    `torch.optim.Muon`'s `original`. The quintic Newton-Schulz iteration makes all singular values
    about 1; its products have JAX's default precision (bfloat16 on TPUs, as Jordan's everywhere).
    AdamW takes the step for all other arrays, and for those of modules named in `exclude`: Jordan
    advises it for the first and the last layer.

    `optax.contrib.muon` corrects the two parts of Nesterov's momentum for their start, each
    differently; here, as in Jordan's code, neither is.

    Args:
      learning_rate: number or schedule, for Muon; 0.02 in Jordan's examples.
      adamw_learning_rate: likewise, for AdamW; 3e-4 in Jordan's examples.
      momentum: fraction of Muon's buffer that stays in each step.
      weight_decay: decoupled, scaled by the learning rate of the array.
      nesterov: whether Muon's step looks ahead.
      newton_schulz_steps: iterations of three matrix products each.
      exclude: names of modules, wherever they are, whose arrays AdamW takes, such as `("head",)`.
      b1: AdamW's, as in `adamw`.
      b2: AdamW's.
      eps: AdamW's.
      mask: which parameters decay; None for all.

    Raises:
      UsageError: where it sees the parameters, no module has a name that is in `exclude`.
    """

    def labels(params):
        return _muon_or_adamw(params, exclude)

    by_muon = optax.chain(
        optax.trace(decay=momentum, nesterov=nesterov),
        # Without momentum of its own, this makes matrices orthogonal and nothing else.
        optax.contrib.scale_by_muon(
            ns_steps=newton_schulz_steps,
            beta=0.0,
            nesterov=False,
            weight_dimension_numbers=_as_matrices,
        ),
        optax.stateless_with_tree_map(_scale_by_shape),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )
    by_adamw = adamw(adamw_learning_rate, b1, b2, eps, weight_decay, mask=mask)
    return optax.partition({"muon": by_muon, "adamw": by_adamw}, labels)


def _muon_or_adamw(params, exclude):
    found = set()

    def label(path, leaf):
        names = {str(getattr(key, "key", getattr(key, "name", key))) for key in path}
        excluded = names & set(exclude)
        found.update(excluded)
        return "muon" if leaf.ndim in (2, 4) and not excluded else "adamw"

    labels = jax.tree.map_with_path(label, params)
    if unknown := sorted(set(exclude) - found):
        raise UsageError(
            f"Muon is to exclude {', '.join(unknown)}, and no module is called that: the network "
            f"has {', '.join(sorted(params))}"
        )
    return labels


def _as_matrices(params):
    """All axes but the last are the rows."""
    return jax.tree.map(
        lambda leaf: optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1),
        params,
    )


def _scale_by_shape(update, _):
    outputs = update.shape[-1]
    return update * math.sqrt(max(1, outputs * outputs / update.size))


def schedule_free_sgd(
    learning_rate: Rate,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    *,
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Schedule-free SGD (Defazio et al. 2024, Equations 3 to 5, weighted as in Algorithm 1).

    `z -= lr * (g + weight_decay * y); x = (1 - c) x + c z; y = (1 - momentum) z + momentum x`, with
    `c` the square of the highest rate so far, as a fraction of its sum over the steps. The
    gradient is that at `y`, which the training step holds as its parameters; accuracy is that of
    `x`, which `schedule_free_evaluation_params` makes of `y` and the state.

    The rate wants no decay: `schedules.constant(lr, warmup_steps)`.

    Statistics of batch normalisation are of the activations at `y`. The authors advise to take them
    anew at `x` before each evaluation, which nothing here does.

    Args:
      learning_rate: number or schedule.
      momentum: the authors' beta, above 0: how much of the average is in `y`.
      weight_decay: added to the gradient times the parameter.
      mask: which parameters decay; None for all.

    Raises:
      UsageError: momentum is not above 0.
    """
    decayed = optax.add_decayed_weights(weight_decay, mask)
    base = optax.chain(decayed, optax.scale_by_learning_rate(learning_rate))
    return _schedule_free(base, learning_rate, momentum)


def schedule_free_adamw(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    *,
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Schedule-free AdamW (Defazio et al. 2024, Algorithm 1), as in the authors' released code.

    As `schedule_free_sgd`, with `z -= lr * (g / (sqrt(v / (1 - b2^t)) + eps) + weight_decay * y)`,
    in which `v` is the running mean of squared gradients. (The article's algorithm puts the
    correction by `1 - b2^t` into the rate, and so into decay and average too.)

    Args:
      learning_rate: number or schedule.
      b1: the authors' beta, above 0: how much of the average is in `y`.
      b2: fraction of the mean squared gradient that stays in each step.
      eps: added to the root of the mean square.
      weight_decay: times learning rate and parameter, subtracted from the parameter.
      mask: which parameters decay; None for all.

    Raises:
      UsageError: b1 is not above 0.
    """
    base = optax.chain(
        optax.scale_by_rms(decay=b2, eps=eps, eps_in_sqrt=False, bias_correction=True),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )
    return _schedule_free(base, learning_rate, b1)


def schedule_free_evaluation_params(
    opt_state: optax.OptState, params: optax.Params
) -> optax.Params:
    """The average `x` of a schedule-free run, to evaluate with.

    Args:
      opt_state: the optimizer's, with one schedule-free part in it, alone or in a chain.
      params: those that the training step holds, `y`.

    Returns:
      Parameters of the same shapes.

    Raises:
      UsageError: the optimizer is not schedule-free.
    """

    def is_schedule_free(state):
        return isinstance(state, optax.contrib.ScheduleFreeState)

    states = jax.tree.leaves(opt_state, is_leaf=is_schedule_free)
    states = [state for state in states if is_schedule_free(state)]
    if len(states) != 1:
        raise UsageError(
            f"the optimizer has {len(states)} schedule-free parts: evaluate with its own "
            "parameters, or use optimizers.schedule_free_sgd or schedule_free_adamw"
        )
    return optax.contrib.schedule_free_eval_params(states[0], params)


def _schedule_free(base, learning_rate, beta):
    if not 0 < beta <= 1:
        raise UsageError(f"a schedule-free beta (momentum, b1) of {beta}: give above 0, at most 1")
    return optax.contrib.schedule_free(base, _from_one(learning_rate), b1=beta)


def _from_one(learning_rate):
    """`optax.contrib.schedule_free` counts its own steps from 1, and those of `base` from 0."""
    if not callable(learning_rate):
        return learning_rate

    def one_step_before(count):
        return learning_rate(count - 1)

    return one_step_before
