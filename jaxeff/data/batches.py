"""The iterator over batches, which Grain makes in threads or processes."""

from collections.abc import Iterator

import grain
import numpy as np

from jaxeff.data import grain_workarounds
from jaxeff.data.options import StreamOptions
from jaxeff.errors import UsageError


class Batches(Iterator[dict[str, np.ndarray]]):
    """Iterator over batches, made in the background from construction until `close`.

    Use it from one thread. The arrays are the caller's to keep but not to write to.

    Attributes:
      skipped: indices of the images that could not be read, of the batches so far.
    """

    def __init__(
        self,
        batches: grain.MapDataset,
        options: StreamOptions,
        *,
        num_threads: int,
        batch_bytes: int,
    ):
        if options.num_workers == 0:
            read_ahead = grain.ReadOptions(num_threads, num_threads + options.prefetch)
            iterator = iter(batches.to_iter_dataset(read_ahead))
        else:
            iterator = iter(_in_workers(batches, options, batch_bytes))
            grain_workarounds.create_workers(iterator)
        iterator.start_prefetch()
        self.skipped: set[int] = set()
        self._held = [iterator]  # empty once it is closed
        self._close = grain_workarounds.close_before_exit(self, self._held)

    def __next__(self) -> dict[str, np.ndarray]:
        if not self._held:
            raise StopIteration
        try:
            batch = next(self._held[0])
        except StopIteration:
            self.close()
            raise
        except UsageError as error:
            self.close()
            # The message says all; Grain's copy carries a worker's traceback and Grain's own note.
            raise UsageError(str(error)) from None
        except RuntimeError as error:
            self.close()
            exit_code = grain_workarounds.dead_worker_exit_code(error)
            if exit_code is None:
                raise
            raise UsageError(
                f"a worker process that reads images died ({exit_code}), often for want of memory; "
                "run the same command again with a smaller --num_workers"
            ) from error
        if "skipped" in batch:
            skipped = np.asarray(batch.pop("skipped"))
            self.skipped.update(skipped[skipped >= 0].tolist())
        return {name: grain_workarounds.plain_array(array) for name, array in batch.items()}

    def close(self) -> None:
        """Ends the threads and processes; the iterator then is at its end. Safe to call again."""
        self._close()


def _in_workers(
    batches: grain.MapDataset, options: StreamOptions, batch_bytes: int
) -> grain.IterDataset:
    """Whole batches are dealt to the workers in turn, so their number changes no batch."""
    grain_workarounds.accept_unparsed_flags()
    grain_workarounds.free_shared_memory_at_exit()
    # Threads within a worker would gain nothing: the queue to this process is the buffer.
    dataset = batches.to_iter_dataset(grain.ReadOptions(0, 0))
    # Each worker's queue holds `prefetch` batches, and one is being made and one used.
    in_flight_bytes = options.num_workers * (options.prefetch + 2) * batch_bytes
    dataset = grain.experimental.WithOptionsIterDataset(
        dataset,
        grain.experimental.DatasetOptions(
            min_shm_size=grain_workarounds.min_shared_bytes(in_flight_bytes)
        ),
    )
    return dataset.mp_prefetch(
        grain.MultiprocessingOptions(options.num_workers, options.prefetch),
        worker_init_fn=grain_workarounds.start_worker,
    )
