"""Writes job files for Cloud TPU, Google Kubernetes Engine and Slurm from command lines."""

import json
import pathlib
import re
import shlex
import string
from collections.abc import Mapping, Sequence

from jaxeff.atomic import write_atomically
from jaxeff.errors import UsageError

FOLDER = pathlib.Path(__file__).resolve().parent
KINDS = ("tpu", "gke", "slurm")
COMMANDS = "commands.txt"

# What may be set of each kind, with the value that stands unless it is; None must be given. What is
# empty here the script takes from its environment, and asks for if it is not there either.
SETTINGS: dict[str, dict[str, str | None]] = {
    "tpu": {
        "project": "",
        "wheel": "",
        "results": "",
        "zone": "us-west4-a",
        "accelerator_type": "v5litepod-16",
        "runtime_version": "v2-alpha-tpuv5-lite",
        "name": "jaxeff",
        "spot": "1",
        "extras": "train,tfds,gcs",
        "out": "results",
        "wait_minutes": "720",
    },
    "gke": {
        "image": None,
        "accelerator": "tpu-v5-lite-podslice",
        "topology": "4x4",
        "hosts": "4",
        "chips_per_host": "4",
        "restarts": "10",
        "service_account": "default",
        "results": "",
        "namespace": "default",
        "out": "results",
    },
    "slurm": {
        "nodes": "1",
        "gpus_per_node": "8",
        "cpus_per_task": "8",
        "time": "08:00:00",
        "job_name": "jaxeff",
        "setup": "",
    },
}

# 3, level not reached, and 4, diverged, are results: running again would not change them.
_RESULTS = "status=$?; case $status in 3|4) exit 0;; *) exit $status;; esac"


def emit(
    kind: str,
    commands: Sequence[Sequence[str]],
    out: pathlib.Path,
    settings: Mapping[str, str] | None = None,
) -> list[pathlib.Path]:
    """Writes the files that run commands on a cluster or in a cloud.

    `tpu` is a script that gets a slice, runs the commands on all of its hosts one after the other,
    and deletes it; `gke` a JobSet for each command and a script that applies them; `slurm` a job
    array with a task for each command. Each script prints what it would do with `--dry_run`.

    Args:
      kind: of `KINDS`.
      commands: argument lists of processes, such as `["jaxeff", "train", "--model=resnet50"]`,
        whose paths all hosts can reach.
      out: folder of the files; made where it is missing.
      settings: of `SETTINGS[kind]`, by name.

    Returns:
      The files, that which is to be run first.

    Raises:
      UsageError: there is no such kind, a setting is missing or unknown, or there is no command.
    """
    if kind not in KINDS:
        raise UsageError(f"--emit={kind}: give one of {', '.join(KINDS)}")
    if not commands:
        raise UsageError(f"--emit={kind}: there is no command to write a job for")
    values = _values(kind, settings or {})
    lines = [shlex.join(command) for command in commands]
    if any("\n" in line for line in lines):
        raise UsageError(
            f"--emit={kind}: a command has a line break in it, which no job file keeps"
        )
    out.mkdir(parents=True, exist_ok=True)
    if kind == "gke":
        return _write_gke(commands, out, values)
    _write(out / COMMANDS, "".join(f"{line}\n" for line in lines))
    if kind == "tpu":
        script = out / "tpu.sh"
        _write(script, _with_variables(FOLDER / "tpu.sh", values), executable=True)
    else:
        script = out / "slurm.sbatch"
        _write(script, _sbatch(values, len(lines)))
    return [script, out / COMMANDS]


def _values(kind: str, settings: Mapping[str, str]) -> dict[str, str]:
    values = dict(SETTINGS[kind])
    for name, value in settings.items():
        if name not in values:
            raise UsageError(
                f"--emit={kind}: there is no setting {name}; there are {', '.join(values)}"
            )
        if not isinstance(value, str | int) or re.search(r"[\n\"\\`$]", str(value)):
            raise UsageError(f"--emit={kind}: {name}={value!r}: give a text on one line, no quotes")
        values[name] = str(value)
    missing = [name for name, value in values.items() if value is None]
    if missing:
        raise UsageError(f"--emit={kind}: these settings are missing: {', '.join(missing)}")
    return values


def _with_variables(template: pathlib.Path, values: Mapping[str, str]) -> str:
    """A script in which the defaults of the variables on top are those of `values`."""
    text = template.read_text(encoding="utf-8")
    for name, value in values.items():
        variable = name.upper()
        text, found = re.subn(
            rf'^{variable}="\$\{{{variable}:-[^}}]*\}}"',
            lambda _, variable=variable, value=value: f'{variable}="${{{variable}:-{value}}}"',
            text,
            flags=re.MULTILINE,
        )
        assert found == 1, (template.name, variable)
    return text


def _sbatch(values: Mapping[str, str], tasks: int) -> str:
    text = _with_variables(FOLDER / "slurm.sbatch", {"setup": values["setup"]})
    options = {
        "job-name": values["job_name"],
        "nodes": values["nodes"],
        "ntasks-per-node": values["gpus_per_node"],
        "gpus-per-node": values["gpus_per_node"],
        "cpus-per-task": values["cpus_per_task"],
        "time": values["time"],
    }
    for name, value in options.items():
        text, found = re.subn(
            rf"^#SBATCH --{name}=.*$",
            lambda _, name=name, value=value: f"#SBATCH --{name}={value}",
            text,
            flags=re.MULTILINE,
        )
        assert found == 1, name
    return text.replace("#SBATCH --requeue\n", f"#SBATCH --array=1-{tasks}\n#SBATCH --requeue\n")


def _write_gke(commands, out: pathlib.Path, values: dict[str, str]) -> list[pathlib.Path]:
    """A manifest for each command, and the script that applies the folder they are in."""
    on_tpus = values["accelerator"].startswith("tpu")
    template = FOLDER / ("gke_tpu.yaml" if on_tpus else "gke_gpu.yaml")
    text = template.read_text(encoding="utf-8")
    text = text[text.index("apiVersion:") :]
    folder = out / "jobs"
    folder.mkdir(exist_ok=True)
    written = []
    for number, command in enumerate(commands):
        name = _job_name(command, number)
        line = shlex.join(command)
        if not on_tpus:
            # JobSet calls the first pod of the first job so.
            line += (
                f" --coordinator_address={name}-hosts-0-0.{name}:1234"
                f" --num_processes={values['hosts']} --process_id=$JOB_COMPLETION_INDEX"
            )
        filled = string.Template(text).substitute(
            values
            | {
                "name": name,
                "gpus_per_host": values["chips_per_host"],
                "command": json.dumps(f"{line}; {_RESULTS}"),
            }
        )
        written.append(folder / f"{name}.yaml")
        _write(written[-1], filled)
    script = out / "gke.sh"
    variables = {name: values[name] for name in ("namespace", "results", "out")}
    _write(script, _with_variables(FOLDER / "gke.sh", variables), executable=True)
    return [script, *written]


def _job_name(command: Sequence[str], number: int) -> str:
    """A name that Kubernetes takes, and its pods' names with it: 40 letters, digits and dashes."""
    model = next((part for part in command if part.startswith("--model=")), "")
    model = re.sub(r"[^a-z0-9]+", "-", model.removeprefix("--model=").lower()).strip("-")
    return f"jaxeff-{number}-{model}"[:40].strip("-")


def _write(path: pathlib.Path, text: str, executable: bool = False) -> None:
    write_atomically(path, text.encode("utf-8"))
    if executable:
        path.chmod(0o755)
