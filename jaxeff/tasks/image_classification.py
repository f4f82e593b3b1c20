"""Image classification: which of K classes a square image belongs to."""

from __future__ import annotations  # `data.Batches` would import the whole pipeline.

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxeff import data
from jaxeff.tasks.task import LOSS, Batch, Metric

# Of the loss of each auxiliary classifier that a module puts into its collection `auxiliary`
# (Szegedy et al. 2014, Section 5).
AUXILIARY_WEIGHT = 0.3

TOP1 = Metric("top1", "top-1")
TOP5 = Metric("top5", "top-5")


@dataclasses.dataclass(frozen=True, eq=False)
class ImageClassification:
    """A `Task`: cross entropy to train by, top-1 and top-5 accuracy to measure.

    A batch holds `image` uint8 `[N, H, W, 3]` and `label` int32 `[N]`; the module takes normalised
    float32 images and returns float32 logits `[N, K]`.

    Attributes:
      dataset: images and labels, and how their pixels are normalised.
      image_size: side in pixels at which the network sees the images.
      transforms: how training images vary.
      label_smoothing: probability mass spread evenly over the classes (Szegedy et al. 2016).
      on_bad_image: `stop`, or `skip` training images that cannot be read.
      cache_on_devices: keeps the training images, which are in memory, on every device, and crops
        and flips them there.
    """

    dataset: data.Dataset
    image_size: int
    transforms: data.Augmentation = dataclasses.field(default_factory=data.Augmentation)
    label_smoothing: float = 0.0
    on_bad_image: str = "stop"
    cache_on_devices: bool = False

    name = "image_classification"
    example_noun = "images"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Loss, top-1 and top-5; the last is no target where it tells nothing."""
        count = self.dataset.num_classes
        if count > 5:
            return LOSS, TOP1, TOP5
        reason = f"since the five likeliest of {count} classes are all of them"
        return LOSS, TOP1, dataclasses.replace(TOP5, always_met=reason)

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

    def loss(self, outputs: jax.Array, batch: Batch, collections: Mapping[str, object]):
        """Mean cross entropy in nats, and 0.3 times that of each auxiliary classifier."""

        def mean_loss(logits):
            return cross_entropy(logits, batch["label"], self.label_smoothing).mean()

        loss = mean_loss(outputs)
        for logits in jax.tree.leaves(collections.get("auxiliary", {})):
            loss += AUXILIARY_WEIGHT * mean_loss(logits)
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
        return {"images": self.dataset.train.images} if self.cache_on_devices else None

    def on_devices(self, arrays: Mapping[str, jax.Array], batch: Batch) -> Batch:
        """Crops and flips the images that the host chose."""
        pixels = data.crop_and_flip(
            arrays["images"], batch["index"], batch["box"], batch["flip"], self.image_size
        )
        return {"image": pixels, "label": batch["label"]}

    def example_name(self, index: int) -> str:
        """The file of a training image, or its number."""
        image = self.dataset.train[index]["image"]
        return image if isinstance(image, str) else f"training image {index}"


def normalise(images: jax.Array, mean: tuple, std: tuple) -> jax.Array:
    """`(images / 255 - mean) / std` per channel: uint8 `[N, H, W, 3]` to float32."""
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    return (images.astype(jnp.float32) - 255 * mean) * (1 / (255 * std))


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Cross entropy per image, in nats.

    Args:
      logits: `[N, K]` float32.
      labels: `[N]` int32.
      label_smoothing: mass spread evenly over the `K` classes (Szegedy et al. 2016).

    Returns:
      `[N]` float32.
    """
    if label_smoothing == 0.0:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
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
