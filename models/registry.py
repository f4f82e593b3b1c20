"""The table of architectures: each file of this folder adds its variants by name."""

import difflib
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from jaxeff.errors import UsageError
from models import (
    alexnet,
    densenet,
    efficientnet,
    googlenet,
    mobilenet_v1,
    mobilenet_v2,
    resnet,
    shufflenet_v1,
    shufflenet_v2,
    squeezenet,
    vgg,
)

# Hernandez & Brown 2020, Table 3, in its order.
PAPER = (
    "vgg11",
    "wide_resnet50_2",
    "alexnet",
    "resnet50",
    "resnet34",
    "resnext50_32x4d",
    "resnet18",
    "densenet121",
    "squeezenet1_1",
    "googlenet",
    "mobilenet_v1",
    "mobilenet_v2",
    "shufflenet_v2_x1_5",
    "shufflenet_v1",
    "shufflenet_v2",
    "efficientnet_b0",
)
FAMILIES = (
    alexnet,
    densenet,
    efficientnet,
    googlenet,
    mobilenet_v1,
    mobilenet_v2,
    resnet,
    shufflenet_v1,
    shufflenet_v2,
    squeezenet,
    vgg,
)
VARIANTS = {name: module for family in FAMILIES for name, module in family.VARIANTS.items()}


# What `select` takes besides names.
GROUPS = {"paper": PAPER, "all": tuple(sorted(VARIANTS))}


def names() -> tuple[str, ...]:
    """The names that `create` takes, sorted."""
    return GROUPS["all"]


# What a module must be told to be torchvision's to the last bit, where our default is the paper's.
TORCH_FIELDS: dict[str, dict] = {
    **efficientnet.TORCHVISION_BATCH_NORM,
    "googlenet": {"transform_input": True},
}


def torch_fields(name: str) -> dict:
    """Fields of `create` with which architecture `name` computes what torchvision's does.

    Torchvision's published weights are right with them: EfficientNet's batch norm there is not the
    authors', and GoogLeNet's weights expect another normalisation of the images.
    """
    return TORCH_FIELDS.get(name, {})


def check(name: str) -> None:
    """Raises `UsageError`, with the nearest known names, unless `create` takes `name`."""
    if name not in VARIANTS:
        near = difflib.get_close_matches(name, names(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"known are {summary()}"
        raise UsageError(f"unknown model {name!r}: {hint}; your own is FILE.py:NAME")


def summary() -> str:
    """The names by family, in one line: `alexnet; efficientnet_b0 and 7 more; …`."""
    texts = []
    for family in FAMILIES:
        variants = list(family.VARIANTS)
        many = len(variants) > 4
        texts.append(f"{variants[0]} and {len(variants) - 1} more" if many else ", ".join(variants))
    return "; ".join(texts)


def variant(name: str) -> Callable:
    """What makes the architecture `name`, a class or function of its fields."""
    return VARIANTS[name]


def select(text: str) -> tuple[str, ...]:
    """The names that `--models=text` means.

    Args:
      text: names with commas between, `paper` (the sixteen of the paper's Table 3) or `all`.

    Raises:
      UsageError: a name is unknown, or there is none.
    """
    if text in GROUPS:
        return GROUPS[text]
    chosen = tuple(name.strip() for name in text.split(",") if name.strip())
    if not chosen:
        raise UsageError("--models is empty: give names with commas between, paper or all")
    for name in chosen:
        check(name)
    return chosen


def create(
    name: str,
    num_classes: int = 1000,
    dtype: jnp.dtype = jnp.float32,
    axis_name: str | None = None,
    **fields,
) -> nn.Module:
    """The architecture `name`, ready for `init` and `apply`.

    `module.apply(variables, images, train=False)` takes normalised float images `[N, H, W, 3]` and
    returns float32 logits `[N, num_classes]`. Parameters and batch statistics are float32.

    Args:
      name: one of `names()`.
      num_classes: length of the logits.
      dtype: of the arithmetic.
      axis_name: the `pmap` axis that splits the batch in training, over which batch statistics are
        averaged; None where the whole batch is on one device.
      **fields: of the architecture, such as `dropout_rate`.

    Raises:
      UsageError: there is no such architecture.
    """
    check(name)
    return VARIANTS[name](
        num_classes=num_classes, dtype=jnp.dtype(dtype), axis_name=axis_name, **fields
    )
