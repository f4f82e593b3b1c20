"""Checkpoints of a run: the training state and, beside it, the record up to that step."""

import orbax.checkpoint as ocp

from jaxeff.atomic import is_remote
from jaxeff.errors import UsageError
from jaxeff.train.workdir import Folder


class Checkpoints:
    """The checkpoints of one run, in `folder`, the two newest kept.

    Orbax writes each in a temporary folder and renames it, so that a killed process leaves either a
    whole checkpoint or none. Saving goes on in the background; every process of a run must call.
    """

    def __init__(self, folder: Folder):
        options = ocp.CheckpointManagerOptions(max_to_keep=2)
        folder = folder if is_remote(folder) else folder.absolute()
        self._manager = ocp.CheckpointManager(folder, options=options)

    @property
    def latest_step(self) -> int | None:
        """Step of the newest whole checkpoint; None where there is none."""
        return self._manager.latest_step()

    def newest_whole_step(self) -> int | None:
        """Step of the newest checkpoint that is whole on disk, whatever is being saved."""
        return max(ocp.utils.checkpoint_steps(self._manager.directory), default=None)

    def save(self, step: int, state, progress: dict) -> None:
        """Saves NumPy arrays `state` and JSON values `progress` as of `step`."""
        if step == self.latest_step:
            return
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress)
        )
        self._manager.save(step, args=arguments)

    def restore(self, like=None) -> tuple[object, dict]:
        """The newest `(state, progress)`.

        Args:
          like: what the state's structure, shapes and dtypes must be; None takes them as they are,
            in dictionaries.

        Raises:
          UsageError: there is no checkpoint, it cannot be read, or it does not fit `like`.
        """
        step = self.latest_step
        if step is None:
            raise UsageError(f"{self._manager.directory}: there is no checkpoint")
        arguments = ocp.args.Composite(
            state=ocp.args.StandardRestore(like), progress=ocp.args.JsonRestore()
        )
        try:
            restored = self._manager.restore(step, args=arguments)
        except (ValueError, OSError, KeyError) as error:
            raise UsageError(
                f"{self._manager.directory}/{step}: the checkpoint cannot be restored "
                f"({' '.join(str(error).split())[:200]}); remove that folder to go on from an "
                "earlier one"
            ) from error
        return restored["state"], restored["progress"]

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()
