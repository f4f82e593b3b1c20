"""PyTorch's parameters in the layout of our modules.

Modules carry the reference's names, so a parameter's path here is its name there; only the layouts
and the names of the leaves differ.
"""

import os
import pathlib
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxeff.errors import UsageError
from models import registry

# Our leaf: its name in PyTorch, and PyTorch's axes in our order, by number of axes.
LEAVES = {
    "kernel": ("weight", {4: (2, 3, 1, 0), 2: (1, 0)}),
    "scale": ("weight", {}),
    "bias": ("bias", {}),
    "mean": ("running_mean", {}),
    "var": ("running_var", {}),
}

# Published weights of GoogLeNet hold its auxiliary classifiers, which only training uses.
AUXILIARY = ("aux1.", "aux2.")

# Under what training scripts save the parameters beside the rest, the first one there is taken.
# Those that a run averaged (`model_ema` of torchvision, `state_dict_ema` of timm) come last.
ENTRIES = ("state_dict", "model_state_dict", "model", "net", "model_ema", "state_dict_ema", "ema")
# What wrappers put in front of every name: `DataParallel` and `AveragedModel`, `torch.compile`,
# and the attribute of a Lightning module that holds the network.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
MOST_CLASSES = 1_000_000
# What wrappers count beside the parameters.
_COUNTERS = ("num_batches_tracked", "n_averaged")


def convert(name: str, state_dict: Mapping[str, np.ndarray], **fields) -> dict:
    """The variables of architecture `name` with the values of a PyTorch model's `state_dict`.

    Args:
      name: one of `models.names()`.
      state_dict: PyTorch's parameter and buffer names with NumPy arrays. `num_batches_tracked` is
        left out, and so are `PREFIXES` in front of every name, one within the other too.
      **fields: of the architecture, such as `num_classes`, where they are not the default; the
        number of classes is otherwise that of the arrays.

    Returns:
      `{"params": …, "batch_stats": …}` of float32 arrays.

    Raises:
      UsageError: names or shapes are not those of the architecture, or a weight is not finite.
    """
    arrays = _present_arrays(name, state_dict, fields)
    if "num_classes" not in fields:
        fields["num_classes"] = num_classes(name, state_dict, **fields)
    wanted = _shapes(name, fields)
    theirs = {path: torch_name(path) for path in wanted}
    _check_names(name, set(theirs.values()), set(arrays))
    ours = {}
    for path, key in theirs.items():
        value = arrays[key]
        axes = LEAVES[path[-1]][1].get(value.ndim)
        ours[path] = value if axes is None else value.transpose(axes)
        if ours[path].shape != wanted[path]:
            raise UsageError(
                f"the weights do not fit {name}: {key} has shape {value.shape}, which gives "
                f"{ours[path].shape}, and the model has {wanted[path]}"
            )
        if value.dtype.kind in "cOSUmM":  # NumPy calls bfloat16 another kind than its own numbers.
            raise UsageError(f"{key} is {value.dtype}, and a weight is a real number")
    _check_finite(arrays)
    converted = {path: np.asarray(value, np.float32) for path, value in ours.items()}
    return {"batch_stats": {}, **traverse_util.unflatten_dict(converted)}


def num_classes(name: str, state_dict: Mapping[str, np.ndarray], **fields) -> int:
    """How many classes the weights `state_dict` (as `convert` takes them) tell apart.

    It is the length of the bias whose length depends on it in architecture `name`; 1000 where the
    arrays have no such bias.
    """
    arrays, marker = _present_arrays(name, state_dict, fields), 1009
    shapes = _shapes(name, {**fields, "num_classes": marker})
    heads = [torch_name(path) for path, shape in shapes.items() if shape == (marker,)]
    biases = [arrays[head] for head in heads if head in arrays and arrays[head].ndim == 1]
    count = len(biases[0]) if biases else 1000
    if not 1 <= count <= MOST_CLASSES:
        raise UsageError(f"the weights tell {count:,} classes apart: give 1 to {MOST_CLASSES:,}")
    return count


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a file of PyTorch weights, by PyTorch's names.

    Where the file holds more than weights, such as a checkpoint of a training script, they are
    found below the first of `ENTRIES` that is there.

    Args:
      path: a `.safetensors` file, or a `.pth`, `.pt`, `.bin`, `.ckpt` or `.pth.tar` file, for which
        PyTorch must be installed; upper case is the same. Nothing but arrays and plain values is
        read from the latter: no code in the file can run.

    Raises:
      UsageError: the file is missing, is of another kind, cannot be read, holds no weights, or
        holds objects that only running its code could make.
    """
    path = pathlib.Path(path)
    reader = next((read for end, read in READERS.items() if path.name.lower().endswith(end)), None)
    if reader is None:
        raise UsageError(
            f"{path}: give a file of PyTorch weights whose name ends in {', '.join(READERS)}"
        )
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file of weights")
    return reader(path)


def _read_safetensors(path):
    import safetensors.numpy

    try:
        return safetensors.numpy.load_file(path)
    except Exception as error:  # The reader raises whatever a header leads it to.
        raise UsageError(f"{path}: no readable safetensors file ({_one_line(error)})") from error


def _read_pickle(path):
    try:
        import torch
    except ImportError as error:
        raise UsageError(
            f"{path}: reading this needs PyTorch (pip install torch), or convert the file to "
            ".safetensors"
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the bytes lead it to.
        if found := _CODE.search(str(error)):
            raise UsageError(
                f"{path} holds more than arrays ({found[0]}): only running code from the file "
                "would restore that, which is never done; where you trust the file, save its "
                "weights alone: torch.save(model.state_dict(), FILE)"
            ) from error
        # PyTorch's text advises to let the file run its code.
        reason = _one_line(_ADVICE.sub("", str(error)))
        raise UsageError(f"{path}: no readable file of PyTorch weights ({reason})") from error
    weights = _weights(content, torch.Tensor)
    if not weights:
        is_mapping = isinstance(content, Mapping)
        held = ", ".join(map(str, content)) if is_mapping else type(content).__name__
        raise UsageError(
            f"{path} holds no weights by name: found {held:.200}, expected a state_dict, or one "
            f"below {', '.join(ENTRIES)}"
        )
    elements, size = sum(value.numel() for value in weights.values()), path.stat().st_size
    if elements > _MOST_VIEWS * size:
        raise UsageError(
            f"{path} says that its weights are {elements:,} numbers and has {size:,} bytes: they "
            "are views of the same few; save them as they are, value.contiguous()"
        )
    try:
        return {key: value.detach().float().numpy() for key, value in weights.items()}
    except (TypeError, RuntimeError, NotImplementedError, MemoryError) as error:
        raise UsageError(
            f"{path}: not all weights are plain arrays ({_one_line(error)}); save them as float32"
        ) from error


READERS = {
    ".safetensors": _read_safetensors,
    ".pth": _read_pickle,
    ".pt": _read_pickle,
    ".bin": _read_pickle,
    ".ckpt": _read_pickle,
    ".pth.tar": _read_pickle,
}
"""The reader of each ending of a file's name."""

# Names may share an array, as tied weights do, but not many.
_MOST_VIEWS = 8
# How PyTorch names what it would have to run code for.
_CODE = re.compile(r"(?<=GLOBAL )[\w.]+|TorchScript")
_ADVICE = re.compile(
    r"(?s)Weights only load failed.*?(WeightsUnpickler error: |\n\n+|$)|Check the doc.*"
)


def _weights(content, tensor):
    """The tensors of a checkpoint by name, wherever they lie; empty where there are none."""
    if not isinstance(content, Mapping):
        return {}
    for entry in ENTRIES:
        if found := _weights(content.get(entry), tensor):
            return found
    return {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, tensor)
    }


def _one_line(error):
    return " ".join(str(error).split())[:150]


def torch_name(path: tuple[str, ...]) -> str:
    """PyTorch's name of the variable at `path` (collection, modules, leaf)."""
    return ".".join((*path[1:-1], LEAVES[path[-1]][0]))


def _shapes(name, fields):
    """The shape of each variable of the architecture, by its path."""
    module = registry.create(name, **fields)
    images = jnp.zeros((1, 224, 224, 3))
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), images, train=True))
    flat = traverse_util.flatten_dict(variables)
    return {path: leaf.shape for path, leaf in flat.items()}


def _present_arrays(name, state_dict, fields):
    """The arrays that count, by the names that the architecture's own state dict has today."""
    arrays = {
        key.replace("_orig_mod.", ""): value
        for key, value in state_dict.items()
        if not key.endswith(_COUNTERS)
    }
    wanted = {torch_name(path) for path in _shapes(name, fields)}
    while (prefix := _shared_prefix(arrays)) and wanted.isdisjoint(arrays):
        arrays = {key.removeprefix(prefix): value for key, value in arrays.items()}
    unwanted = () if fields.get("aux_heads") else AUXILIARY
    return {
        _present_name(key): value for key, value in arrays.items() if not key.startswith(unwanted)
    }


def _shared_prefix(arrays):
    return next((p for p in PREFIXES if arrays and all(key.startswith(p) for key in arrays)), None)


def _present_name(key):
    """The name that a parameter has today: DenseNet's published weights have other ones."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)


def _check_finite(arrays):
    broken = {
        key: int(np.size(value) - np.isfinite(value).sum())
        for key, value in arrays.items()
        if not np.isfinite(value).all()
    }
    if broken:
        key, count = next(iter(broken.items()))
        further = f", and so do {len(broken) - 1} more" if len(broken) > 1 else ""
        raise UsageError(
            f"{key} holds {count} of {np.size(arrays[key])} values that are not finite (NaN or "
            f"infinity){further}: these weights are of a run that diverged; give an earlier file"
        )


def _check_names(name, wanted, given):
    problems = [
        f"{label} {', '.join(sorted(names)[:3])}" + (" …" if len(names) > 3 else "")
        for label, names in (("without", wanted - given), ("with unknown", given - wanted))
        if names
    ]
    if problems:
        raise UsageError(
            f"the weights are not those of {name}: {' and '.join(problems)}; is this the right "
            "model name?"
        )
