"""Image classification: which of K classes a square image belongs to."""

from __future__ import annotations  # `data.Batches` would import the whole pipeline.

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxeff import data
from jaxeff.errors import UsageError
from jaxeff.tasks.task import LOSS, Batch, Metric

# Of the loss of each auxiliary classifier that a module puts into its collection `auxiliary`
# (Szegedy et al. 2014, Section 5).
AUXILIARY_WEIGHT = 0.3
# Tells the key of a step's augmentation from that of its dropout.
_AUGMENTATION = 1

TOP1 = Metric("top1", "top-1")
TOP5 = Metric("top5", "top-5")
# Of the mean of the outputs for an image and its mirror image: twice the work of an evaluation.
FLIP = "flip_"
FLIPPED = (
    Metric("flip_loss", "loss with flips", higher_is_better=False, is_fraction=False),
    Metric("flip_top1", "top-1 with flips"),
    Metric("flip_top5", "top-5 with flips"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class ImageClassification:
    """A `Task`: cross entropy to train by, top-1 and top-5 accuracy to measure.

    A batch holds `image` uint8 `[N, H, W, 3]` and `label` int32 `[N]`; the module takes normalised
    float32 images and returns float32 logits `[N, K]`.

    Attributes:
      dataset: images and labels, and how their pixels are normalised.
      image_size: side in pixels at which the network sees the images.
      transforms: how the host varies training images.
      batch_transforms: how the devices do, in order: each takes a key, a batch of `image` float32
        `[n, H, W, 3]` in 0..255 and `label` float32 `[n, K]`, probabilities, and the `pmap` axis,
        and returns such a batch.
      label_smoothing: probability mass spread evenly over the classes (Szegedy et al. 2016).
      loss_function: `(logits [n, K], labels) -> [n]` in the place of cross entropy, for training
        alone; labels as above where there are batch transforms, else int32 `[n]`.
      test_time_flips: measures the mean of the logits of an image and its mirror image, too.
      on_bad_image: `stop`, or `skip` training images that cannot be read.
      cache_on_devices: keeps the training images, which are in memory, on every device, and crops
        and flips them there.
    """

    dataset: data.Dataset
    image_size: int
    transforms: data.Augmentation = dataclasses.field(default_factory=data.Augmentation)
    batch_transforms: tuple[Callable, ...] = ()
    label_smoothing: float = 0.0
    loss_function: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    test_time_flips: bool = False
    on_bad_image: str = "stop"
    cache_on_devices: bool = False

    name = "image_classification"
    example_noun = "images"

    def __post_init__(self):
        if self.test_time_flips and not self.dataset.horizontal_flip:
            raise UsageError(
                f"the recipe measures mirror images too, and in {self.dataset.name} they are of "
                "another class: leave out its test_time_flips"
            )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Loss, top-1 and top-5; with `test_time_flips`, those of mirrored pairs too.

        Top-5 is no target where it tells nothing.
        """
        top5, flipped_top5 = TOP5, FLIPPED[-1]
        if (count := self.dataset.num_classes) <= 5:
            reason = f"since the five likeliest of {count} classes are all of them"
            top5 = dataclasses.replace(top5, always_met=reason)
            flipped_top5 = dataclasses.replace(flipped_top5, always_met=reason)
        plain = (LOSS, TOP1, top5)
        return (*plain, *FLIPPED[:-1], flipped_top5) if self.test_time_flips else plain

    @property
    def notes(self) -> tuple[str, ...]:
        """What the data set says of itself."""
        return self.dataset.notes

    @property
    def dataset_name(self) -> str:
        """The data set's name."""
        return self.dataset.name

    @property
    def fingerprint(self) -> str:
        """The data set's fingerprint."""
        return self.dataset.fingerprint

    @property
    def train_examples(self) -> int:
        """Number of training images."""
        return len(self.dataset.train)

    @property
    def validation_examples(self) -> int:
        """Number of validation images."""
        return len(self.dataset.validation)

    @property
    def may_skip(self) -> bool:
        """Whether training goes on without images that cannot be read."""
        return self.on_bad_image == "skip"

    def settings(self) -> dict[str, object]:
        """Image size, number of classes, the evaluation crop, and what was chosen of the data.

        `mean` and `std` are among them where they are not ImageNet's.
        """
        dataset = self.dataset
        settings = {
            "image_size": self.image_size,
            "num_classes": dataset.num_classes,
            "evaluation_crop_fraction": dataset.evaluation_crop_fraction,
            **dataset.settings,
        }
        if (dataset.mean, dataset.std) != (data.IMAGENET_MEAN, data.IMAGENET_STD):
            settings |= {"mean": list(dataset.mean), "std": list(dataset.std)}
        return settings

    def changes(self) -> dict[str, object]:
        """The image size."""
        return {"image_size": self.image_size}

    def description(self) -> str:
        """The data in one line."""
        dataset = self.dataset
        return (
            f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.validation):,} "
            f"validation images, {dataset.num_classes} classes, shown at {self.image_size} px"
        )

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """`image` uint8 `[N, H, W, 3]` and `label` int32 `[N]`."""
        shape = (batch_size, self.image_size, self.image_size, 3)
        return {
            "image": jax.ShapeDtypeStruct(shape, jnp.uint8),
            "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        }

    def inputs(self, batch: Batch) -> jax.Array:
        """Normalised images, float32 `[N, H, W, 3]`."""
        return normalise(batch["image"], self.dataset.mean, self.dataset.std)

    def trained_by(self, recipe: Any) -> ImageClassification:
        """The task with the recipe's transforms, label smoothing, loss and test-time flips."""
        return dataclasses.replace(
            self,
            transforms=recipe.transforms,
            batch_transforms=recipe.batch_transforms,
            label_smoothing=recipe.label_smoothing,
            loss_function=recipe.loss,
            test_time_flips=recipe.test_time_flips,
        )

    def with_changes(self, changes: Mapping[str, Any]) -> ImageClassification:
        """The task with another `image_size` in training."""
        unknown = sorted(set(changes) - {"image_size"})
        if unknown:
            raise UsageError(f"a phase changes {unknown[0]}: image_size is all that it may change")
        return dataclasses.replace(self, **changes)

    def augment(self, batch: Batch, key: jax.Array, axis_name: str | None) -> Batch:
        """The batch after `batch_transforms`, each with a key of its own."""
        if not self.batch_transforms:
            return batch
        batch = {
            "image": batch["image"].astype(jnp.float32),
            "label": jax.nn.one_hot(batch["label"], self.dataset.num_classes),
        }
        keys = jax.random.split(jax.random.fold_in(key, _AUGMENTATION), len(self.batch_transforms))
        for transform, own_key in zip(self.batch_transforms, keys, strict=True):
            batch = transform(own_key, batch, axis_name)
        return batch

    def views(self, batch: Batch) -> Mapping[str, Sequence[jax.Array]]:
        """The images, and with `test_time_flips` the images with their mirror images."""
        images = self.inputs(batch)
        if not self.test_time_flips:
            return {"": (images,)}
        return {"": (images,), FLIP: (images, images[:, :, ::-1])}

    def loss(self, outputs: jax.Array, batch: Batch, collections: Mapping[str, Any]):
        """Mean cross entropy in nats, 0.3 times that of each auxiliary classifier, other terms.

        A module puts logits `[N, num_classes]` of a classifier, or a scalar that is added as it is,
        into its collection `auxiliary`.
        """

        def mean_loss(logits):
            if self.loss_function is not None:
                return self.loss_function(logits, batch["label"]).mean()
            return cross_entropy(logits, batch["label"], self.label_smoothing).mean()

        loss = mean_loss(outputs)
        for term in jax.tree.leaves(collections.get("auxiliary", {})):
            loss += term if term.ndim == 0 else AUXILIARY_WEIGHT * mean_loss(term)
        return loss

    def example_metrics(self, outputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Cross entropy, and whether the label is the first of the logits, or among five."""
        hits = top_k_hits(outputs, batch["label"], min(5, outputs.shape[-1]))
        return {
            "loss": cross_entropy(outputs, batch["label"]),
            "top1": hits[:, 0],
            "top5": hits.any(axis=1),
        }

    def train_batches(self, options: data.StreamOptions, shard: data.Shard) -> data.Batches:
        """As `data.train_batches`; with `cache_on_devices`, as `data.crop_batches`."""
        options = dataclasses.replace(options, on_bad_image=self.on_bad_image)
        if self.cache_on_devices:
            return data.crop_batches(self.dataset, self.transforms, options, shard)
        return data.train_batches(self.dataset, self.image_size, self.transforms, options, shard)

    def validation_batches(
        self, batch_size: int, num_workers: int, shard: data.Shard
    ) -> data.Batches:
        """As `data.validation_batches`."""
        return data.validation_batches(
            self.dataset,
            self.image_size,
            batch_size=batch_size,
            num_workers=num_workers,
            shard=shard,
        )

    def device_arrays(self) -> Mapping[str, np.ndarray] | None:
        """The training images, uint8 `[images, H, W, 3]`, where they are kept on the devices."""
        if not self.cache_on_devices:
            return None
        source: Any = self.dataset.train  # `data.in_memory` has made it one with `images`.
        return {"images": source.images}

    def host_batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """As `batch_shapes`; with `cache_on_devices`, which image, its crop and its flip."""
        if not self.cache_on_devices:
            return self.batch_shapes(batch_size)
        return {
            "index": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
            "box": jax.ShapeDtypeStruct((batch_size, 4), jnp.int32),
            "offset": jax.ShapeDtypeStruct((batch_size, 2), jnp.int32),
            "flip": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
            "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        }

    def on_devices(self, arrays: Mapping[str, jax.Array], batch: Batch) -> Batch:
        """Crops and flips the images that the host chose."""
        pixels = data.crop_and_flip(arrays["images"], batch, self.image_size, self.transforms.crop)
        return {"image": pixels, "label": batch["label"]}

    def example_name(self, index: int) -> str:
        """The file of a training image, or its number."""
        image = self.dataset.train[index]["image"]
        return image if isinstance(image, str) else f"training image {index}"


def normalise(images: jax.Array, mean: tuple, std: tuple) -> jax.Array:
    """`(images / 255 - mean) / std` per channel: uint8 `[N, H, W, 3]` to float32."""
    middle, deviation = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    return (images.astype(jnp.float32) - 255 * middle) * (1 / (255 * deviation))


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Cross entropy per image, in nats.

    Args:
      logits: `[N, K]` float32.
      labels: `[N]` int32, or `[N, K]` float32, probabilities.
      label_smoothing: mass spread evenly over the `K` classes (Szegedy et al. 2016).

    Returns:
      `[N]` float32.
    """
    if labels.ndim == 1 and label_smoothing == 0.0:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    targets = jax.nn.one_hot(labels, logits.shape[-1]) if labels.ndim == 1 else labels
    if label_smoothing > 0.0:
        targets = optax.smooth_labels(targets, label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def top_k_hits(logits: jax.Array, labels: jax.Array, k: int) -> jax.Array:
    """Whether the label is the 1st, 2nd, … k-th largest logit.

    Equal logits count in the order of their classes. A row with a logit that is not finite hits
    nowhere: a broken network must not look like a right one.

    Args:
      logits: `[N, K]` float32.
      labels: `[N]` int32.
      k: how many of the largest logits to look at.

    Returns:
      `[N, k]` bool, at most one True a row.
    """
    _, classes = jax.lax.top_k(logits, k)
    finite = jnp.isfinite(logits).all(axis=-1)
    return (classes == labels[:, None]) & finite[:, None]
