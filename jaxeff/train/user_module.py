"""A network that a user wrote, made to compute the same on any number of devices.

`UserModule` lets the training step call any Linen or NNX module as it calls the packaged ones,
`module(inputs, train=…)`, and makes of its layers what the packaged ones are by themselves:

- Flax's `BatchNorm` (Linen and NNX, also under `remat`, `scan` and `vmap`) averages mean and mean
  of squares over the devices that share the batch, so that its statistics are the global batch's.
- Flax's Linen `Dropout` draws each example's mask from the example's place in the global batch.
  Where Flax hands a layer no random stream of ours (inside `scan` and `vmap`, and in NNX), and for
  whatever else a module draws, each device draws numbers of its own.

What mixes the examples of a device in another way is found by `splitting`, and refused.
"""

import inspect
import linecache
import sys
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

from jaxeff import nn as layers
from jaxeff.errors import UsageError

# Arguments of `__call__` that say whether it trains, and their value when it does.
TRAINING_FLAGS: Mapping[str, bool] = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}

# Layers with a field `axis_name`, which are told the axis over which the batch is split.
_OVER_THE_BATCH = (nn.BatchNorm, layers.BatchNorm, layers.Dropout, layers.StochasticDepth)


class UserModule(nn.Module):
    """Applies `network`, whose variables are this module's own, by the same names.

    Attributes:
      network: the user's module; NNX modules come as `from_nnx` returns them.
      outputs: numbers that it must return for an example, such as the number of classes.
      file: of the user's class or function, for messages.
      line: likewise.
      axis_name: the `pmap` axis over which the batch is split, or None.
    """

    network: nn.Module
    outputs: int
    file: str
    line: int
    axis_name: str | None = None

    def setup(self):
        """Gives the network this module's own place in the variables."""
        nn.share_scope(self, self.network)

    def __call__(self, inputs, train: bool = False):
        """Outputs `[N, outputs]`, float32, of `inputs` `[N, ...]`.

        Raises:
          UsageError: the network returns something else, or a layer of it cannot be made to
            compute the same on several devices.
        """
        flags = training_flags(self.network, train)
        with nn.intercept_methods(_Interceptor(self, len(inputs))):
            outputs = self.network(inputs, **flags)
        expected = (len(inputs), self.outputs)
        if not hasattr(outputs, "shape") or outputs.shape != expected:
            got = f"shape {outputs.shape}" if hasattr(outputs, "shape") else type(outputs).__name__
            raise UsageError(
                f"{self.place}: returns {got} for {len(inputs)} examples, and must return one "
                f"array of shape {expected}, a number for each class"
            )
        if not jnp.issubdtype(outputs.dtype, jnp.floating):
            raise UsageError(f"{self.place}: returns {outputs.dtype}, and must return floats")
        return outputs.astype(jnp.float32)

    @property
    def place(self) -> str:
        """`mynet.py, line 12`: where the network is defined."""
        return place(self.file, self.line)

    def random_streams(self, key: jax.Array) -> dict[str, jax.Array]:
        """Keys of a training step, for every name of a stream that the network may ask for.

        `params` stands in for every name that is not given (Flax), `default` likewise (NNX).
        """
        own = key
        if self.axis_name is not None:
            own = jax.random.fold_in(key, jax.lax.axis_index(self.axis_name) + 1)
        names = ("dropout", "params", "default")
        keys = {name: jax.random.fold_in(own, i) for i, name in enumerate(names)}
        return {layers.EXAMPLES_STREAM: key, **keys}


def random_streams(module: nn.Module, key: jax.Array) -> dict[str, jax.Array]:
    """The keys by stream with which a training step applies `module`."""
    return module.random_streams(key) if isinstance(module, UserModule) else {"dropout": key}


def initial_streams(module: nn.Module, key: jax.Array) -> dict[str, jax.Array]:
    """The keys by stream from which the variables of `module` are drawn."""
    if not isinstance(module, UserModule):
        return {"params": key}
    return {"params": key, "default": jax.random.fold_in(key, 1)}


def describe(module: nn.Module) -> str:
    """The module for messages, with its line where it is the user's."""
    if isinstance(module, UserModule):
        return f"{module.place}: the network"
    return type(module).__name__


def kept_collections(
    module: nn.Module, before: Mapping, after: Mapping, of_one_pass: tuple[str, ...]
) -> dict:
    """What a training step keeps of the collections that `module` wrote.

    Args:
      module: for messages.
      before: the collections of the state.
      after: those that the pass returned.
      of_one_pass: names of collections that are never kept.

    Raises:
      UsageError: what the module writes in training is not what it created at the start, so that
        it would be lost, or grow from step to step.
    """
    for name in sorted({*before, *after} - {*of_one_pass}):
        shapes = [
            jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), found.get(name, {}))
            for found in (before, after)
        ]
        if shapes[0] != shapes[1]:
            sown = " or ".join(map(repr, of_one_pass))
            raise UsageError(
                f"{describe(module)} writes into its collection {name!r} in training what it did "
                "not create at the start, where it is called with train=False: create the same "
                f"variables in both; what it sows belongs into {sown}"
            )
    return {name: after[name] for name in before}


def place(file: str, line: int) -> str:
    """`mynet.py, line 12`."""
    return f"{file.rpartition('/')[2]}, line {line}"


def definition(thing: Callable) -> tuple[str, int]:
    """File and line of the `def` of a function, or of a class."""
    function = inspect.unwrap(thing)
    if not hasattr(function, "__code__"):
        return inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1]
    code = function.__code__
    lines = range(code.co_firstlineno, code.co_firstlineno + 20)
    texts = ((line, linecache.getline(code.co_filename, line).lstrip()) for line in lines)
    found = (line for line, text in texts if text.startswith(("def ", "lambda", "async ")))
    return code.co_filename, next(found, code.co_firstlineno)


def training_flags(network: nn.Module, train: bool) -> dict[str, bool]:
    """Those of `TRAINING_FLAGS` that `network` takes, with their values."""
    if isinstance(network, nnx.bridge.ToLinen):
        return {"nnx_method": _NnxCall(train)}
    return _flags_of(type(network).__call__, train)


def _flags_of(call, train):
    taken = inspect.signature(call).parameters
    return {name: train == value for name, value in TRAINING_FLAGS.items() if name in taken}


def check_call(call: Callable, name: str) -> None:
    """Raises `UsageError` unless the method `call` takes the inputs and needs nothing more.

    Args:
      call: the `__call__` of the class `name`, as the class has it.
      name: for the message.
    """
    where = place(*definition(call))
    _self, *taken = inspect.signature(call).parameters.values()
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    if not taken or taken[0].kind not in positional or taken[0].name in TRAINING_FLAGS:
        raise UsageError(
            f"{where}: __call__ of {name} does not take the inputs: write "
            "`def __call__(self, inputs, train)`"
        )
    for parameter in taken[1:]:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        if parameter.default is parameter.empty and parameter.name not in TRAINING_FLAGS:
            raise UsageError(
                f"{where}: __call__ of {name} needs {parameter.name!r}, which nothing gives it: "
                f"give it a default; whether it trains is one of {', '.join(TRAINING_FLAGS)}"
            )


def from_nnx(make: Callable, arguments: Mapping[str, object]) -> nn.Module:
    """A Linen module of the NNX module that `make(**arguments, rngs=rngs)` returns.

    The training step puts it into `train()` and `eval()` mode; what its `__call__` takes of
    `TRAINING_FLAGS` it is told, too.
    """
    return nnx.bridge.ToLinen(make, kwargs=dict(arguments), metadata_fn=None)


class _NnxCall:
    """Calls an NNX module as told: with its batch norms over the axis, in a mode, or both."""

    def __init__(self, train=None, method=None, axis_name=None):
        self.train, self.method, self.axis_name = train, method, axis_name

    def __call__(self, module, *args, **kwargs):
        for _, layer in nnx.iter_modules(module):
            if isinstance(layer, nnx.BatchNorm):
                layer.axis_name = _batch_axis(layer, self.axis_name)
        if self.train is None:
            method = self.method or "__call__"
            method = getattr(type(module), method) if isinstance(method, str) else method
            return method(module, *args, **kwargs)
        module.train() if self.train else module.eval()
        return module(*args, **_flags_of(type(module).__call__, self.train), **kwargs)


class _Interceptor:
    """What `nn.intercept_methods` calls in the place of every method of every layer."""

    def __init__(self, module: UserModule, examples: int):
        self._module, self._examples = module, examples

    def __call__(self, call, args, kwargs, context):
        layer, axis_name = context.module, self._module.axis_name
        if context.method_name != "__call__" or layer is self._module:
            return call(*args, **kwargs)
        # One that a user derived draws as she wrote it, on each device by itself.
        if type(layer).__call__ is nn.Dropout.__call__:
            return _dropout(call, layer, args, kwargs, self._examples, axis_name)
        if isinstance(layer, nnx.bridge.ToLinen):
            method = kwargs.get("nnx_method")
            train = method.train if isinstance(method, _NnxCall) else None
            kwargs = {**kwargs, "nnx_method": _NnxCall(train, method, axis_name)}
            return call(*args, **kwargs)
        if not isinstance(layer, _OVER_THE_BATCH):
            return call(*args, **kwargs)
        if isinstance(layer, nn.BatchNorm):
            self._check(layer, kwargs)
        own = layer.axis_name
        # Linen's modules are frozen; this one is bound to this very pass.
        object.__setattr__(layer, "axis_name", _batch_axis(layer, axis_name))
        try:
            return call(*args, **kwargs)
        finally:
            object.__setattr__(layer, "axis_name", own)

    def _check(self, layer, kwargs):
        """Refuses what the devices' average would not make exact."""
        if self._module.axis_name is None:
            return
        for name, given in (
            ("axis_index_groups", layer.axis_index_groups),
            ("mask", kwargs.get("mask")),
        ):
            if given is not None:
                raise UsageError(
                    f"{_calling_line(self._module)}: BatchNorm with {name} depends on how many "
                    f"devices share the batch: leave {name} out, or train on one device"
                )


def _batch_axis(layer, axis_name):
    """`layer`'s own axes, where they are those of a `vmap` around it, and the devices'."""
    own = layer.axis_name
    own = () if own is None else own if isinstance(own, tuple) else (own,)
    added = () if axis_name is None else (axis_name,)
    axes = tuple(dict.fromkeys((*(name for name in own if _is_bound(name)), *added)))
    return axes[0] if len(axes) == 1 else axes or None


def _is_bound(axis_name):
    try:
        jax.lax.axis_size(axis_name)
    except NameError:
        return False
    return True


def _dropout(call, layer, args, kwargs, examples, axis_name):
    """Flax's dropout, each example's mask by its place in the global batch."""
    bound = inspect.signature(nn.Dropout.__call__).bind(layer, *args, **kwargs).arguments
    inputs = bound["inputs"]
    deterministic = nn.merge_param("deterministic", layer.deterministic, bound.get("deterministic"))
    has_own_key = bound.get("rng") is not None or not layer.has_rng(layers.EXAMPLES_STREAM)
    if deterministic or layer.rate in (0.0, 1.0) or has_own_key:
        return call(*args, **kwargs)
    shared = {dim % inputs.ndim for dim in layer.broadcast_dims}
    key = layer.make_rng(layers.EXAMPLES_STREAM)
    if 0 in shared or inputs.ndim < 2 or len(inputs) % examples:
        # One mask for the whole batch, or for something that no example has of its own.
        return call(inputs, deterministic=False, rng=key)
    shape = [1 if dim in shared else inputs.shape[dim] for dim in range(1, inputs.ndim)]
    keys = layers.example_keys(key, len(inputs), axis_name)
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - layer.rate, shape))(keys)
    return jnp.where(keep, inputs / (1 - layer.rate), jnp.zeros_like(inputs))


def _calling_line(module):
    """The line of the user's file that is being run, or that of its definition."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == module.file:
            return place(module.file, frame.f_lineno)
        frame = frame.f_back
    return module.place
