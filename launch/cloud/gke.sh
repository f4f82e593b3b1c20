#!/usr/bin/env bash
# Runs JobSets on a Kubernetes cluster: applies them, waits until all have ended, copies the results
# back and deletes the jobs, also when one fails.
#
#   gke.sh [--dry_run] FOLDER
#
# FOLDER holds the manifests, a .yaml file a job, such as sweep.py --emit=gke writes. --dry_run
# prints every command instead of running it. What stands below may also come from the environment.
# The cluster needs JobSet: kubectl apply --server-side -f
# https://github.com/kubernetes-sigs/jobset/releases/latest/download/manifests.yaml
#
# Exit status: 0 every job is complete; 1 one failed or did not end in time.
set -euo pipefail

NAMESPACE="${NAMESPACE:-default}"
RESULTS="${RESULTS:-}"         # gs://bucket/runs; nothing is copied without it
OUT="${OUT:-results}"          # where the results go on this machine
WAIT_MINUTES="${WAIT_MINUTES:-1440}"

dry_run=0
if [[ "${1:-}" == --dry_run ]]; then
  dry_run=1
  shift
fi
folder="${1:-}"
shopt -s nullglob
manifests=("$folder"/*.yaml)
if ((${#manifests[@]} == 0)); then
  echo "gke.sh: give a folder with manifests, not '$folder'" >&2
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

# shellcheck disable=SC2329  # The trap calls it.
finish() {
  status=$?
  trap - EXIT
  if [[ -n "$RESULTS" ]]; then
    run mkdir -p "$OUT"
    run gcloud storage rsync --recursive "$RESULTS" "$OUT" ||
      echo "gke.sh: no results were copied from $RESULTS" >&2
  fi
  run kubectl delete --namespace="$NAMESPACE" --ignore-not-found -f "$folder" || status=1
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

run kubectl apply --namespace="$NAMESPACE" -f "$folder"
failed=0
for manifest in "${manifests[@]}"; do
  # Complete, or failed: whichever comes first.
  state=(kubectl get --namespace="$NAMESPACE" -f "$manifest" -o
    'jsonpath={.status.terminalState}')
  if ((dry_run)); then
    run "${state[@]}"
    continue
  fi
  for ((minute = 0; ; minute++)); do
    found=$("${state[@]}")
    case "$found" in
      Completed) break ;;
      Failed)
        echo "gke.sh: $manifest failed" >&2
        failed=1
        break
        ;;
    esac
    if ((minute >= WAIT_MINUTES)); then
      echo "gke.sh: $manifest has not ended after $WAIT_MINUTES minutes" >&2
      exit 1
    fi
    sleep 60
  done
done
exit "$failed"
