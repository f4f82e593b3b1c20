"""Compiles models' training steps for TPUs, each in a process of its own that libtpu may end."""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys


class Answers:
    """A file that keeps what the compiler said, a line an answer, for the next time.

    Several processes may add to it. A line that a crash cut short is no answer, and is asked again.

    Raises:
      UsageError: the file cannot be read and written, or holds something else.
    """

    def __init__(self, path: str | os.PathLike):
        from jaxeff.errors import UsageError

        self._path = pathlib.Path(path).expanduser()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8"):
                pass
            entries = self._entries()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UsageError(
                f"--compiled={path}: {reason}: give a file to keep answers in"
            ) from None
        if entries and not any(entries):
            raise UsageError(
                f"--compiled={path} holds something else: give a file for answers alone"
            )

    def get(self, question: dict) -> dict | None:
        """The answer to the same question, if there is one."""
        found = (
            entry["answer"] for entry in self._entries() if entry and entry["question"] == question
        )
        return next(found, None)

    def add(self, question: dict, answer: dict) -> None:
        """Keeps an answer."""
        with self._path.open("rb+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
            cut_short = file.read(1) not in (b"", b"\n")
        line = json.dumps({"question": question, "answer": answer})
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" * cut_short + line + "\n")

    def _entries(self) -> list[dict | None]:
        """Of each line what it says, or None."""
        return [_entry(line) for line in self._path.read_text("utf-8").splitlines()]


def _entry(line: str) -> dict | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    known = isinstance(entry, dict) and all(
        isinstance(entry.get(key), dict) for key in ("question", "answer")
    )
    return entry if known else None


def compile_step(
    model,
    *,
    device_kind: str,
    topology: tuple[int, ...],
    answers: Answers | None = None,
    **sizes,
) -> dict:
    """Compiles one step of the paper's recipe for a slice of TPUs.

    Args:
      model: a `networks.ModelSpec`.
      device_kind: a TPU of `jaxeff.compute.hardware.PEAKS`.
      topology: chips along each axis.
      answers: keeps every answer of the compiler, and gives the one to the same question.
      **sizes: `image_size`, `batch_size` (images a step on all devices), `num_classes`, `dtype`.

    Returns:
      The fields of `jaxeff.compute.tpu_compiler.Compiled`; `state_bytes`, of what a step changes;
      `gradient_bytes`, of what the devices add up in a step. If the compiler fails for another
      reason than memory, `failed` alone: the reason.

    Raises:
      UsageError: libtpu is not installed, or knows no such slice.
    """
    question = {
        "model": model.specification,
        "args": dict(model.args),
        "source": model.source,
        "device_kind": device_kind,
        "topology": list(topology),
        **sizes,
        "versions": _versions(),
    }
    answer = answers.get(question) if answers else None
    if answer is None:
        answer, compiler_said_so = _ask(question)
        if answers and compiler_said_so:
            answers.add(question, answer)
    return answer


def largest_batch(model, *, devices: int, first: dict, batch_size: int, **sizes) -> int | None:
    """The most images on a device, by compiling larger steps (`tpu_compiler.search_largest_batch`).

    Args:
      model: as for `compile_step`.
      devices: of the slice.
      first: what `compile_step` said of `batch_size`.
      batch_size: images a step on all devices.
      **sizes: the other arguments of `compile_step`.

    Returns:
      None where the compiler failed.
    """
    from jaxeff.compute import tpu_compiler

    def needed_bytes(each: int) -> tuple[bool, float]:
        step = compile_step(model, batch_size=each * devices, **sizes)
        if "failed" in step:
            raise _CompilerError
        return step["fits"], step["needed_bytes"]

    place = tpu_compiler.Slice(sizes["device_kind"], sizes["topology"])
    try:
        return tpu_compiler.search_largest_batch(
            needed_bytes,
            batch_size=batch_size // devices,
            first=(first["fits"], first["needed_bytes"]),
            fixed_bytes=fixed_bytes(first),
            available_bytes=first["available_bytes"] or place.available_bytes,
        )
    except _CompilerError:
        return None


class _CompilerError(Exception):
    """The compiler failed for a reason other than memory."""


def fixed_bytes(step: dict) -> int:
    """Of a device's memory what a step needs with any number of images: its state and program."""
    return step["state_bytes"] + (step["code_bytes"] or 0)


def _versions():
    return {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}


def _ask(question: dict) -> tuple[dict, bool]:
    """The answer of a process of its own, and whether it came from the compiler."""
    from jaxeff.compute import tpu_compiler
    from jaxeff.errors import UsageError

    finished = subprocess.run(
        [sys.executable, str(pathlib.Path(__file__)), json.dumps(question)],
        env=os.environ | tpu_compiler.ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        said = finished.stderr.strip().splitlines() or ["nothing"]
        # Killed, perhaps for want of memory: another time it may go well.
        status = f"ended with status {finished.returncode}; its last words: {said[-1]}"
        return {"failed": status}, False
    answer = json.loads(finished.stdout.splitlines()[-1])
    if "wrong" in answer:
        raise UsageError(answer["wrong"])
    return answer, True


def _compile(question: dict) -> dict:
    """What the process started by `compile_step` does."""
    import dataclasses

    import counting
    import jax
    import networks

    from jaxeff.compute import tpu_compiler
    from jaxeff.errors import UsageError
    from jaxeff.train import parallel

    topology = tuple(question["topology"])
    try:
        devices = tpu_compiler.Slice(question["device_kind"], topology).tpu_devices()
    except UsageError as error:
        return {"wrong": str(error)}
    sizes = ("image_size", "batch_size", "num_classes", "dtype")
    step, state, batch = counting.step_and_shapes(
        networks.load(question["model"], question["args"]),
        *(question[size] for size in sizes),
        axis_name=parallel.AXIS if len(devices) > 1 else None,  # As `parallel.shared_axis` has it.
    )
    try:
        compiled = tpu_compiler.compile_replicated(step, state, batch, parallel.AXIS, devices)
    except UsageError as error:
        return {"failed": str(error)}
    sizes_of = {
        name: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
        for name, tree in {"state_bytes": state, "gradient_bytes": state.params}.items()
    }
    return dataclasses.asdict(compiled) | sizes_of


if __name__ == "__main__":
    import cli  # noqa: F401  (`models` is found from here on)

    print(json.dumps(_compile(json.loads(sys.argv[1]))))
