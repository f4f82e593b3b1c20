#!/usr/bin/env bash
# Runs commands on a Cloud TPU slice: asks for it, sets up every host, runs each command on all of
# them, copies the results back, and deletes the slice, also when a step fails.
#
#   tpu.sh [--dry_run] COMMANDS
#
# COMMANDS is a file with a command line a line, such as
#   jaxeff train --model=resnet50 --dataset=imagenet2012 --data_dir=gs://bucket/tfds --workdir=gs://bucket/runs/resnet50-s0
# --dry_run prints every command instead of running it. What stands below may also come from the
# environment: PROJECT=mine ZONE=us-west4-a tpu.sh COMMANDS
#
# A slice that is taken back in the middle ends this script with an error; the same call asks for
# another one, and runs with checkpoints go on where they were. Exit status: 0 every command is done
# (with or without reaching its level); otherwise that of the step that failed.
set -euo pipefail

PROJECT="${PROJECT:-}"
ZONE="${ZONE:-us-west4-a}"
ACCELERATOR_TYPE="${ACCELERATOR_TYPE:-v5litepod-16}"
RUNTIME_VERSION="${RUNTIME_VERSION:-v2-alpha-tpuv5-lite}"
NAME="${NAME:-jaxeff}"
SPOT="${SPOT:-1}"              # 1: cheaper, and may be taken back at any time
WHEEL="${WHEEL:-}"             # jaxeff-*.whl, made by: pip wheel --no-deps .
EXTRAS="${EXTRAS:-train,tfds,gcs}"   # of the wheel
RESULTS="${RESULTS:-}"         # gs://bucket/runs, or a folder of the first host such as jaxeff/runs
OUT="${OUT:-results}"          # where the results go on this machine
WAIT_MINUTES="${WAIT_MINUTES:-720}"

dry_run=0
if [[ "${1:-}" == --dry_run ]]; then
  dry_run=1
  shift
fi
commands="${1:-}"
for name in PROJECT WHEEL RESULTS; do
  if [[ -z "${!name}" ]]; then
    echo "tpu.sh: $name is not set: write it into the script, or $name=… before the call" >&2
    exit 2
  fi
done
if [[ ! -r "$commands" ]]; then
  echo "tpu.sh: give a file with a command line a line, not '$commands'" >&2
  exit 2
fi

run() {
  if ((dry_run)); then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}
place=(--project="$PROJECT" --zone="$ZONE")

on_all_hosts() {
  # Its input is not the list of commands.
  run gcloud compute tpus tpu-vm ssh "$NAME" "${place[@]}" --quiet --worker=all \
    --command="$1" </dev/null
}

copy_results() {
  run mkdir -p "$OUT"
  if [[ "$RESULTS" == gs://* ]]; then
    run gcloud storage rsync --recursive "$RESULTS" "$OUT"
  else
    run gcloud compute tpus tpu-vm scp --recurse "${place[@]}" --quiet --worker=0 \
      "$NAME:$RESULTS" "$OUT"
  fi
}

finish() {
  status=$?
  trap - EXIT
  copy_results || echo "tpu.sh: no results were copied from $RESULTS" >&2
  run gcloud compute tpus queued-resources delete "$NAME" "${place[@]}" --force --quiet || {
    echo "tpu.sh: $NAME was not deleted, and is paid for until it is" >&2
    status=1
  }
  exit "$status"
}

create=(gcloud compute tpus queued-resources create "$NAME" --node-id="$NAME" "${place[@]}"
  --accelerator-type="$ACCELERATOR_TYPE" --runtime-version="$RUNTIME_VERSION")
if ((SPOT)); then
  create+=(--spot)
fi
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
run "${create[@]}"

describe=(gcloud compute tpus queued-resources describe "$NAME" "${place[@]}"
  --format='value(state.state)')
if ((dry_run)); then
  run "${describe[@]}"
else
  for ((minute = 0; ; minute++)); do
    state=$("${describe[@]}")
    case "$state" in
      ACTIVE) break ;;
      FAILED | SUSPENDED | SUSPENDING | DELETING)
        echo "tpu.sh: the queued resource $NAME is $state" >&2
        exit 1
        ;;
    esac
    if ((minute >= WAIT_MINUTES)); then
      echo "tpu.sh: $NAME is still $state after $WAIT_MINUTES minutes" >&2
      exit 1
    fi
    sleep 60
  done
fi

run gcloud compute tpus tpu-vm scp "${place[@]}" --quiet --worker=all "$WHEEL" "$NAME:"
# The hosts' own Python may be older than the package takes.
on_all_hosts "python3 -m pip install --quiet --user uv \
&& ~/.local/bin/uv venv --quiet --clear --python 3.12 ~/jaxeff-venv \
&& ~/.local/bin/uv pip install --quiet --python ~/jaxeff-venv/bin/python 'jax[tpu]' './$(basename "$WHEEL")[$EXTRAS]'"

while IFS= read -r line; do
  [[ -z "$line" ]] && continue
  # 3, level not reached, and 4, diverged, are results: running again would not change them.
  on_all_hosts "mkdir -p jaxeff && cd jaxeff && export PATH=\$HOME/jaxeff-venv/bin:\$PATH; $line; \
status=\$?; case \$status in 3|4) exit 0;; *) exit \$status;; esac"
done <"$commands"
