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


def convert(name: str, state_dict: Mapping[str, np.ndarray], **fields) -> dict:
    """The variables of architecture `name` with the values of a PyTorch model's `state_dict`.

    Args:
      name: one of `models.names()`.
      state_dict: PyTorch's parameter and buffer names with NumPy arrays. `num_batches_tracked` is
        left out, and so is a `module.` in front of every name (`DataParallel`).
      **fields: of the architecture, such as `num_classes`, where they are not the default; the
        number of classes is otherwise that of the arrays.

    Returns:
      `{"params": …, "batch_stats": …}` of float32 arrays.

    Raises:
      UsageError: names or shapes are not those of the architecture.
    """
    unwanted = () if fields.get("aux_heads") else AUXILIARY
    arrays = {
        _present_name(key): value
        for key, value in state_dict.items()
        if not key.endswith("num_batches_tracked") and not key.startswith(unwanted)
    }
    if "num_classes" not in fields:
        fields["num_classes"] = num_classes(name, arrays, **fields)
    wanted = _shapes(name, fields)
    theirs = {path: torch_name(path) for path in wanted}
    _check_names(name, set(theirs.values()), set(arrays))
    converted = {}
    for path, key in theirs.items():
        value = np.asarray(arrays[key], np.float32)
        axes = LEAVES[path[-1]][1].get(value.ndim)
        value = value if axes is None else value.transpose(axes)
        if value.shape != wanted[path]:
            raise UsageError(
                f"the weights do not fit {name}: {key} has shape {arrays[key].shape}, which gives "
                f"{value.shape}, and the model has {wanted[path]}"
            )
        converted[path] = value
    return {"batch_stats": {}, **traverse_util.unflatten_dict(converted)}


def num_classes(name: str, arrays: Mapping[str, np.ndarray], **fields) -> int:
    """How many classes the weights `arrays` tell apart.

    It is the length of the bias whose length depends on it in architecture `name`; 1000 where the
    arrays have no such bias.
    """
    marker = 1009
    shapes = _shapes(name, {**fields, "num_classes": marker})
    heads = [torch_name(path) for path, shape in shapes.items() if shape == (marker,)]
    return next((len(arrays[head]) for head in heads if head in arrays), 1000)


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a file of PyTorch weights, by PyTorch's names.

    Args:
      path: a `.safetensors` file, or a `.pth`, `.pt` or `.bin` file, for which PyTorch must be
        installed. Nothing but arrays is read from the latter: no code in the file can run.

    Raises:
      UsageError: the file is missing, is of another kind or cannot be read.
    """
    path = pathlib.Path(path)
    reader = {
        ".safetensors": _read_safetensors,
        ".pth": _read_pickle,
        ".pt": _read_pickle,
        ".bin": _read_pickle,
    }.get(path.suffix)
    if reader is None:
        raise UsageError(f"{path}: give a .safetensors, .pth or .pt file of PyTorch weights")
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file of weights")
    return reader(path)


def _read_safetensors(path):
    import safetensors.numpy

    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise UsageError(f"{path}: no readable safetensors file ({error})") from error


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
        content = content.get("state_dict", content)
        return {key: value.float().numpy() for key, value in content.items()}
    except Exception as error:  # torch.load raises whatever the bytes lead it to.
        reason = " ".join(str(error).split())[:150]
        raise UsageError(f"{path}: no readable file of PyTorch weights ({reason})") from error


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


def _present_name(key):
    """The name that a parameter has today: DenseNet's published weights have other ones."""
    key = key.removeprefix("module.")
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)


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
