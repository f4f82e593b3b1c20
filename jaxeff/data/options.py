"""What a stream of batches is told: what to read, how to vary it, and how to make batches of it."""

from dataclasses import dataclass

from jaxeff.errors import UsageError

ON_BAD_IMAGE = ("stop", "skip")


@dataclass(frozen=True)
class Shard:
    """Which part of each global batch this process reads: `process_count` equal parts in order.

    The devices of a run are in the order of its processes, so an image has the same place in the
    batch however many processes read it, and so the same dropout.

    Attributes:
      process_index: which process this is, 0 … process_count − 1.
      process_count: the number of processes that divide each batch among them.

    Raises:
      UsageError: there is no such process.
    """

    process_index: int = 0
    process_count: int = 1

    def __post_init__(self):
        if not 0 <= self.process_index < self.process_count:
            raise UsageError(
                f"process {self.process_index} of {self.process_count}: count them from 0"
            )

    def local_batch_size(self, batch_size: int) -> int:
        """The number of images of a global batch that this process reads.

        Raises:
          UsageError: the batch does not divide among the processes.
        """
        if batch_size % self.process_count:
            multiple = -(-batch_size // self.process_count) * self.process_count
            raise UsageError(
                f"--batch_size={batch_size} does not divide among {self.process_count} processes; "
                f"give a multiple, such as {multiple}"
            )
        return batch_size // self.process_count

    def position(self, local_position: int, batch_size: int) -> int:
        """The position in the global order of images of one in this process's order."""
        local_batch_size = self.local_batch_size(batch_size)
        batch, row = divmod(local_position, local_batch_size)
        return batch * batch_size + self.process_index * local_batch_size + row


WHOLE_BATCH = Shard()


@dataclass(frozen=True)
class StreamOptions:
    """How a stream of batches is made. Batch size and seed decide what is in it, the rest how fast.

    Attributes:
      batch_size: images in a global batch, over all processes.
      seed: not negative; decides order and augmentation.
      start_example: number of images to leave out at the start; costs nothing.
      num_workers: worker processes that decode; 0 decodes in threads of this process.
      prefetch: batches that each worker, or this process, makes ahead of their use.
      on_bad_image: what to do with an image that cannot be read: `stop` raises, `skip` takes the
        next readable one of the epoch's order in its place and adds it to `Batches.skipped`.

    Raises:
      UsageError: a value is out of range.
    """

    batch_size: int
    seed: int = 0
    start_example: int = 0
    num_workers: int = 0
    prefetch: int = 2
    on_bad_image: str = "stop"

    def __post_init__(self):
        if self.batch_size < 1:
            raise UsageError(f"--batch_size={self.batch_size}: give 1 or more")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed} is negative; give 0 or more")
        if self.start_example < 0:
            raise UsageError(f"start example {self.start_example} is negative; give 0 or more")
        if self.num_workers < 0:
            raise UsageError(f"--num_workers={self.num_workers} is negative; give 0 or more")
        if self.prefetch < 1:
            raise UsageError(f"prefetch of {self.prefetch} batches: give 1 or more")
        if self.on_bad_image not in ON_BAD_IMAGE:
            raise UsageError(
                f"--on_bad_image={self.on_bad_image}: give {' or '.join(ON_BAD_IMAGE)}"
            )


@dataclass(frozen=True)
class Augmentation:
    """How training images vary; by default as in the paper, which used torchvision's settings.

    Attributes:
      crop_area: smallest and largest area of the crop, as fractions of the image's.
      crop_aspect: smallest and largest width over height of the crop, before it is squared.
      horizontal_flip: flip every other image left to right, at random.
    """

    crop_area: tuple[float, float] = (0.08, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    horizontal_flip: bool = True
