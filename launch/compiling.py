"""Compiles models' training steps for TPUs, each in a process of its own that libtpu may end."""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys


def compile_step(
    model, *, device_kind: str, topology: tuple[int, ...], log: pathlib.Path | None = None, **sizes
) -> dict:
    """Compiles one step of the paper's recipe for a slice of TPUs.

    Args:
      model: a `networks.ModelSpec`.
      device_kind: a TPU of `jaxeff.compute.hardware.PEAKS`.
      topology: chips along each axis.
      log: file that keeps every answer, a line each; an answer to the same question is read there.
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
    for line in log.read_text("utf-8").splitlines() if log and log.exists() else ():
        entry = json.loads(line)
        if entry["question"] == question:
            return entry["answer"]
    answer = _ask(question)
    if log:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"question": question, "answer": answer}) + "\n")
    return answer


def _versions():
    return {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}


def _ask(question: dict) -> dict:
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
        return {"failed": f"ended with status {finished.returncode}; its last words: {said[-1]}"}
    answer = json.loads(finished.stdout.splitlines()[-1])
    if "wrong" in answer:
        raise UsageError(answer["wrong"])
    return answer


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
