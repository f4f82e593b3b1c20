"""Checkpoints of a run: the training state and, beside it, the record up to that step.

Each carries a digest of both, so that bit rot is no other state.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxeff.atomic import is_remote
from jaxeff.errors import UsageError
from jaxeff.train import parallel
from jaxeff.train.workdir import Folder

# Orbax logs the traceback of what it raises, in each thread that comes across it.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)


class Checkpoints:
    """The checkpoints of one run, in `folder`, the two newest kept.

    Orbax writes each in a temporary folder and renames it, so that a killed process leaves either a
    whole checkpoint or none. Saving goes on in the background; every process of a run must call.

    Raises:
      UsageError: the folder cannot be used, or later, a checkpoint cannot be written.
    """

    def __init__(self, folder: Folder):
        self._folder = folder if is_remote(folder) else folder.absolute()
        if self._folder.exists() and not self._folder.is_dir():
            raise UsageError(f"{folder} is a file, and checkpoints need a folder: move it away")
        options = ocp.CheckpointManagerOptions(max_to_keep=2)
        try:
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        except OSError as error:
            raise self._not_written(error) from error

    @property
    def latest_step(self) -> int | None:
        """Step of the newest whole checkpoint; None where there is none."""
        return self._manager.latest_step()

    def newest_whole_step(self) -> int | None:
        """Step of the newest checkpoint that is whole on disk, whatever is being saved."""
        try:
            return max(ocp.utils.checkpoint_steps(self._folder), default=None)
        except (OSError, ValueError):  # The folder has gone.
            return None

    def save(self, step: int, state, progress: dict) -> None:
        """Saves NumPy arrays `state` and JSON values `progress` as of `step`."""
        if step == self.latest_step:
            return
        progress = {**progress, "digest": _digest(state, progress)}
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress)
        )
        try:
            self._manager.save(step, args=arguments)
        except Exception as error:  # Of Orbax, TensorStore or the disk.
            raise self._not_written(error) from error

    def restore(self, like=None, say: Callable[[str], None] | None = None) -> tuple[object, dict]:
        """The newest `(state, progress)` that every process can read.

        Args:
          like: what the state's structure, shapes and dtypes must be; None takes them as they are,
            in dictionaries.
          say: is told of a checkpoint that is damaged, which the first process puts aside for the
            one before. None puts none aside.

        Raises:
          UsageError: there is no checkpoint, none can be read, or it does not fit `like`.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise UsageError(f"{self._folder}: there is no checkpoint")
        for step, before in zip(steps, [*steps[1:], None], strict=True):
            error = None
            try:
                restored = self._read(step, like)
            except Exception as raised:  # Damage raises whatever the libraries trip over.
                error = raised
            if not parallel.union([] if error is None else [jax.process_index()]):
                return restored
            reason = "as another process reads it" if error is None else _reason(error)
            problem = f"{self._folder}/{step}: the checkpoint is damaged ({reason})"
            if before is None or say is None:
                raise UsageError(
                    f"{problem}; remove that folder to go on from "
                    + ("the start" if before is None else f"step {before}")
                ) from error
            if jax.process_index() == 0:
                say(f"{problem}: put into {self._put_aside(step)}; going on from step {before}")
            parallel.union([])  # Nobody looks before it is gone.
            self._manager.reload()
        raise AssertionError("the loop returns or raises")

    def _read(self, step, like):
        """What this process reads, which waits for no other, since that may find damage."""
        rank = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=rank, active_processes={rank}, barrier_sync_key_prefix=f"read{rank}"
        )
        handler = ocp.CompositeCheckpointHandler(
            composite_options=ocp.CompositeOptions(multiprocessing_options=alone)
        )
        arguments = ocp.args.Composite(
            state=ocp.args.StandardRestore(like), progress=ocp.args.JsonRestore()
        )
        with contextlib.closing(
            ocp.Checkpointer(handler, multiprocessing_options=alone)
        ) as checkpointer:
            restored = checkpointer.restore(self._folder / str(step), args=arguments)
        state, progress = restored["state"], restored["progress"]
        digest = progress.pop("digest", None)  # Earlier ones have none.
        if digest is not None and digest != _digest(state, progress):
            raise ValueError("its numbers are not those that were saved")
        if progress["step"] != step:
            raise ValueError(f"it is of step {progress['step']}")
        return state, progress

    def _put_aside(self, step):
        damaged = self._folder.parent / "damaged"
        aside, number = damaged / f"checkpoint-{step}", 1
        while aside.exists():
            aside, number = damaged / f"checkpoint-{step}-{number}", number + 1
        try:
            damaged.mkdir(exist_ok=True)
            _move(self._folder / str(step), aside)
        except OSError as error:
            raise UsageError(
                f"{self._folder}/{step}: the checkpoint is damaged, and cannot be put into "
                f"{damaged} ({_reason(error)}); move it away"
            ) from error
        return aside

    def _not_written(self, error):
        step = self.newest_whole_step()
        safe = "there is none yet" if step is None else f"the last whole one is of step {step}"
        return UsageError(
            f"{self._folder}: a checkpoint cannot be written ({_reason(error)}); {safe}: make room "
            "there, and run the same command again"
        )

    def close(self) -> None:
        """Waits until everything is on disk."""
        try:
            self._manager.wait_until_finished()
            self._manager.close()
        except Exception as error:
            raise self._not_written(error) from error


def _move(folder, target):
    """Renames a folder; in a bucket, which has none, copies its objects before it removes them."""
    if not is_remote(folder):
        folder.rename(target)
        return
    for path in objects(folder):
        path.copy(target / path.relative_to(folder), overwrite=True)
    folder.rmtree()


def objects(folder: Folder) -> Iterator[Folder]:
    """All files below `folder`; in a bucket there is no `rglob`."""
    for path in folder.iterdir():
        yield from objects(path) if path.is_dir() else (path,)


def _digest(state, progress):
    """SHA-256 of the arrays, in whatever structure they come, and of the progress."""
    leaves = []
    for leaf in jax.tree.leaves(state):
        array = np.ascontiguousarray(leaf)
        content = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
        content.update(array.reshape(-1).view(np.uint8) if array.size else b"")
        leaves.append(content.hexdigest())
    text = json.dumps([sorted(leaves), progress], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _reason(error):
    text = " ".join(str(error).split()) or type(error).__name__
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        if os.strerror(number) in text:  # TensorStore's messages are of several hundred words.
            return os.strerror(number)
    return text if len(text) <= 200 else text[:200] + "…"
