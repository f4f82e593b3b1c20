"""Whether what a network computes depends on how many devices share a batch.

A batch normalisation of a user's own, or anything else that looks across the examples of one
device, would train another network on four devices than on one, without a word. Here a small batch
goes through the network whole, and in halves as two devices would take it, and what comes out is
compared.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from jaxeff.errors import UsageError
from jaxeff.nn import EXAMPLES_STREAM
from jaxeff.train.user_module import UserModule, definition, initial_streams, place

# Largest root mean square of the differences, relative to the values', that rounding makes.
_ROUNDING = 0.02
_EXAMPLES = 8
# A network may by chance drop all that leads from one half to the other.
_DRAWS = 8


def refuse_local_statistics(module: nn.Module, inputs: jax.ShapeDtypeStruct) -> None:
    """Raises `UsageError` where what `module` computes depends on how a batch is split.

    `vmap` stands in for `pmap`, so that one device suffices; the halves draw the random numbers of
    the whole. A network that draws random numbers beyond Flax's dropout cannot be compared by
    value: of it the first half's outputs must depend on the second half's examples if they do in
    the whole batch.

    Args:
      module: as it is trained; nothing is checked unless it is a `UserModule` with an axis name.
      inputs: of one example, `[1, ...]`.

    Raises:
      UsageError: with the line of the layer, or of the network, that mixes a device's examples.
    """
    if not isinstance(module, UserModule) or module.axis_name is None:
        return
    experiment = _Experiment(module, inputs)
    for noise in (0.1, 0.0):
        whole, drawn_again = experiment.whole(noise)
        if np.isfinite(whole.outputs).all():
            break
    if _differ(whole.outputs, drawn_again.outputs):
        if experiment.mixes(noise, split=False) == experiment.mixes(noise, split=True):
            return
        where, name = module.place, type(module.network).__name__
    else:
        split = experiment.split(noise)
        pairs = [(whole.outputs, split.outputs)]
        pairs += [(whole.state[path], split.state[path]) for path in whole.state]
        if not any(_differ(*pair) for pair in pairs):
            return
        where, name = experiment.culprit(whole, split)
    raise UsageError(
        f"{where}: what {name} computes depends on how many devices share the batch, as with a "
        "batch normalisation of one's own: use flax.linen.BatchNorm, average over the devices "
        "with jax.lax.pmean(…, axis_name), or train on one device"
    )


@dataclasses.dataclass(frozen=True)
class _Pass:
    """What a pass over `_EXAMPLES` examples makes, as NumPy arrays.

    Attributes:
      outputs: of the network, `[_EXAMPLES, ...]`.
      state: its collections afterwards, by path, `[parts, ...]`.
      inner: what each layer returns, by the layer's path, `[parts, ...]`.
    """

    outputs: np.ndarray
    state: Mapping[tuple, np.ndarray]
    inner: Mapping[tuple, np.ndarray]


class _Experiment:
    """The passes through one network."""

    def __init__(self, module: UserModule, inputs: jax.ShapeDtypeStruct):
        self._module, self._key = module, jax.random.key(0)
        examples = jax.random.normal(self._key, (_EXAMPLES, *inputs.shape[1:]), inputs.dtype)
        # The halves must be unlike, or their statistics would be alike.
        half = _EXAMPLES // 2
        self._examples = examples.at[half:].multiply(3.0).at[half:].add(1.0)
        self._layers: list[nn.Module] = []

        def start():
            kept = nn.DenyList(("intermediates", "auxiliary"))
            streams = initial_streams(module, self._key)
            return module.init(streams, examples[:1], mutable=kept)

        self._variables = jax.jit(start)()

    def whole(self, noise: float) -> list[_Pass]:
        """The batch whole, twice: what the network draws by itself it draws again."""
        with nn.intercept_methods(self._remember):
            return self._in_parts(1, noise, draws=2)

    def split(self, noise: float) -> _Pass:
        """The batch in halves."""
        (split,) = self._in_parts(2, noise, draws=1)
        return split

    def mixes(self, noise: float, split: bool) -> bool:
        """Whether the first half's outputs change with the second half's examples, in any draw."""
        half = _EXAMPLES // 2
        direction = jnp.zeros_like(self._examples).at[half:].set(1)

        @jax.jit
        def changes(examples, draw):
            def outputs(examples):
                parts = 2 if split else 1
                return self._apply(parts, noise, draw, examples)[0].reshape(_EXAMPLES, -1)

            return jnp.any(jax.jvp(outputs, (examples,), (direction,))[1][:half] != 0)

        return any(changes(self._examples, draw) for draw in range(_DRAWS))

    def culprit(self, whole: _Pass, split: _Pass) -> tuple[str, str]:
        """Place and name of the user's class whose layer is the first to differ."""
        found = self._module.place, type(self._module.network).__name__
        classes = {layer.path: type(layer) for layer in self._layers}
        for layer in self._layers:
            theirs = split.inner.get(layer.path)
            ours = whole.inner.get(layer.path)
            if theirs is None or ours is None or not _differ(ours.ravel(), theirs.ravel()):
                continue
            for end in range(len(layer.path), 0, -1):
                kind = classes.get(layer.path[:end])
                # Flax's own layers do as they are told: what stands around them is meant.
                if kind is not None and kind.__module__.split(".")[0] not in ("flax", "jaxeff"):
                    return place(*definition(kind.__call__)), kind.__name__
            return found
        return found

    def _in_parts(self, parts, noise, draws):
        run = jax.jit(lambda examples, draw: self._apply(parts, noise, draw, examples))
        passes = []
        for draw in range(draws):
            outputs, state, inner = jax.device_get(run(self._examples, draw))
            passes.append(_Pass(outputs.reshape(_EXAMPLES, -1), state, inner))
        return passes

    def _apply(self, parts, noise, draw, examples):
        """Outputs, collections and what each layer returns, of a training pass by part."""
        params = self._noisy(noise)
        alone = self._module.clone(axis_name=None)
        streams = alone.random_streams(jax.random.fold_in(self._key, draw))
        streams[EXAMPLES_STREAM] = self._key

        def apply(examples):
            outputs, collections = self._module.apply(
                {**self._variables, "params": params},
                examples,
                train=True,
                mutable=nn.DenyList("params"),
                rngs=streams,
                capture_intermediates=True,
            )
            inner = traverse_util.flatten_dict(collections.pop("intermediates", {}))
            returned = {
                path[:-1]: values[0]
                for path, values in inner.items()
                if path[-1] == "__call__" and isinstance(values[0], jax.Array)
            }
            return outputs, traverse_util.flatten_dict(collections), returned

        split = examples.reshape(parts, _EXAMPLES // parts, *examples.shape[1:])
        return jax.vmap(apply, axis_name=self._module.axis_name)(split)

    def _noisy(self, noise):
        """The parameters with noise: a scale that starts at zero would hide what it scales."""

        def add(leaf):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            return leaf + noise * jax.random.normal(self._key, leaf.shape, leaf.dtype)

        return jax.tree.map(add, self._variables["params"])

    def _remember(self, call, args, kwargs, context):
        returned = call(*args, **kwargs)
        if context.method_name == "__call__":
            self._layers.append(context.module)  # Inner layers come before outer ones.
        return returned


def _differ(ours, theirs):
    """Whether two arrays differ by more than rounding does; NaNs in the same places do not."""
    ours, theirs = (np.asarray(values, np.float64) for values in (ours, theirs))
    if not np.isfinite(ours).all():
        return not np.array_equal(np.isfinite(ours), np.isfinite(theirs))
    size = np.sqrt(np.square(ours).mean()) if ours.size else 0.0
    return bool(ours.size and np.sqrt(np.square(ours - theirs).mean()) > _ROUNDING * size + 1e-12)
