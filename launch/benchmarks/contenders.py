"""Training steps that are timed against each other, each in a process of its own.

A contender builds its step, warms it up and then, turn by turn, takes as many steps as it is told,
so that contenders can alternate: what else the machine does hits all of them alike, and each has
its memory to itself.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

from jaxeff.errors import UsageError

# What each contender is: the module of this folder that builds its step, and its settings.
CONTENDERS = {
    "jaxeff": ("jax_step", {"by": "launcher"}),
    "jit": ("jax_step", {"by": "user"}),
    "xla": ("jax_step", {"by": "launcher", "kernels": "xla"}),
    "torch": ("torch_step", {"compiled": False}),
    "torch-compile": ("torch_step", {"compiled": True}),
}
INPUT_CONTENDERS = {
    name: (f"input_pipelines.{name}", {}) for name in ("jaxeff", "pil", "tfdata", "torch")
}
# More than any of them makes ahead of its use, with workers.
BATCHES_AHEAD = 16
LAUNCH = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Work:
    """What every contender does in a step.

    Attributes:
      model: as `--models` named it.
      num_classes: length of the logits.
      image_size: side of the images in pixels.
      batch_size: images a step.
      dtype: of the arithmetic, `float32` or `bfloat16`.
      threads: of the CPU; None for all.
      model_args: as `--model_args` gives them.
    """

    model: str
    num_classes: int
    image_size: int
    batch_size: int
    dtype: str
    threads: int | None
    model_args: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class InputWork:
    """What every input pipeline does.

    Attributes:
      data_dir: an image folder.
      image_size: side of the training crops in pixels.
      batch_size: images a batch.
      cores: that the process and its children may run on, and its number of threads or processes.
    """

    data_dir: str
    image_size: int
    batch_size: int
    cores: int


def without_kernels(names: list[str]) -> dict:
    """Further `CONTENDERS`, jaxeff without one of the kernels `names` each."""
    return {f"-{name}": ("jax_step", {"by": "launcher", "without": [name]}) for name in names}


class Contender:
    """The parent's side of a contender's process; ready to take steps once constructed.

    Attributes:
      name: key of `kinds`.
      facts: what the contender tells of itself: `compile_seconds` (its first step, compilation
        included, but for the seconds of an ordinary one), and what its module adds, such as
        `platform`, `device_kind` and `software`.

    Raises:
      UsageError: the contender could not build or take a step.
    """

    def __init__(self, name: str, work: Work | InputWork, kinds: dict = CONTENDERS):
        self.name = name
        module, settings = kinds[name]
        message = json.dumps({"module": module, **settings, "work": dataclasses.asdict(work)})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", message],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(LAUNCH), *sys.path])},
        )
        try:
            self.facts = self._answer()
        except UsageError:
            self.close()
            raise

    def seconds(self, steps: int) -> float:
        """Takes `steps` steps and returns the seconds until their results were there."""
        return self._ask(steps=steps)["seconds"]

    def peak_memory_bytes(self) -> int | None:
        """The most memory held at once since warm-up, or None where that cannot be told.

        On CPU that of the process, resident, libraries included; on a GPU that of its allocations.
        """
        return self._ask(peak_memory=True)["peak_memory_bytes"]

    def flops_per_step(self) -> int:
        """XLA's count, of contenders that run XLA. Ask last: counting changes the peak memory."""
        return self._ask(flops_per_step=True)["flops_per_step"]

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _ask(self, **request):
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise UsageError(
                f"the contender {self.name} ended with status {self._process.wait()}; what it said "
                "is above"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise UsageError(f"the contender {self.name}: {answer['error']}")
        return answer
