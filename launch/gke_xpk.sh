#!/usr/bin/env bash
# Pretraining on TPUs of a GKE cluster, by xpk (`pip install xpk`):
#
#   export PROJECT=… ZONE=us-east5-b CLUSTER=… TYPE=v6e-16 WORKLOAD=first
#   export IMAGE=us-east5-docker.pkg.dev/$PROJECT/histo-simclr/tpu
#   bash launch/gke_xpk.sh build
#   bash launch/gke_xpk.sh attach histo-shared --type gcsfuse --bucket mine --size 1000
#   bash launch/gke_xpk.sh run --config=configs/resnet18_mix.py:tenpercent \
#     --workdir=/mnt/histo_simclr/runs/first
#
#   build           the image of launch/dockerfile for TPUs, from what is committed, by Cloud Build
#   attach NAME …   storage of the cluster, mounted at SHARED in every workload; once. What follows
#                   goes to `xpk storage attach`
#   run ARGS…       a workload of `main.py ARGS…` on one slice; started again by the cluster after a
#                   preemption, until it is finished
#   list            the workloads of the cluster
#   delete          ends this one
#
# README.md in this folder has costs and details.
#
#   PROJECT, ZONE, CLUSTER   the cluster, made by `xpk cluster create` or by hand
#   TYPE, WORKLOAD           TPU type of xpk, such as v6e-16; name of the workload
#   IMAGE          where the image lies; its tag is the commit
#   SHARED         (default: /mnt/histo_simclr)
#   MIX_FROM       folder below SHARED that is copied to data/mix on each host's disk first
#   MAX_RESTARTS   (default: 50)
#   PRIORITY       very-low, low, medium, high, very-high (default: medium)
#   DRY_RUN        1: print the commands, run nothing
set -euo pipefail

launch=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$launch")
shared=${SHARED:-/mnt/histo_simclr}

# shellcheck source=launch/steps.sh
. "$launch/steps.sh"

installed() { [[ ${DRY_RUN:-} == 1 ]] || command -v "$1" >/dev/null || fail "no $1 here: $2"; }

build() {
  needs PROJECT IMAGE
  installed gcloud "install the Google Cloud CLI"
  local version
  version=$(committed) || exit
  pack "$version" tpu-image
  run gcloud builds submit "$archive" --project "$PROJECT" --config "$launch/cloudbuild.yaml" \
    --substitutions "_DOCKERFILE=dockerfile,_IMAGE=$IMAGE:$version"
}

submit() {
  needs TYPE WORKLOAD IMAGE
  numbers MAX_RESTARTS
  find_workdir "$shared" "$@"
  [[ $* != *$'\n'* ]] || fail "a line break in the arguments: xpk puts them into one line of YAML"
  local version command
  version=$(committed) || exit
  # exec: xpk sends SIGTERM to the shell that starts this, and it has to reach the worker.
  command="exec $(printf '%q ' bash /histo_simclr/launch/worker.sh "$@")"
  # 75: saved before the end, as a preemption does; 76: another host was lost. xpk restarts what a
  # signal ended by itself.
  run xpk workload create "${where[@]}" --workload "$WORKLOAD" --tpu-type "$TYPE" --num-slices 1 \
    --docker-image "$IMAGE:$version" \
    --max-restarts "${MAX_RESTARTS:-50}" --restart-on-exit-codes 75,76 \
    --termination-grace-period-seconds 300 --priority "${PRIORITY:-medium}" \
    --env "JAX_COMPILATION_CACHE_DIR=$shared/jax_cache" ${MIX_FROM:+--env "MIX_FROM=$MIX_FROM"} \
    --command "${command% }"
}

action=${1:-}
(($# == 0)) || shift
case $action in
  build)
    build
    exit
    ;;
  attach | run | list | delete) ;;
  "") fail "nothing to do; give build, attach, run, list or delete" ;;
  *) fail "$action: unknown; give build, attach, run, list or delete" ;;
esac
needs PROJECT ZONE CLUSTER
installed xpk "pip install xpk"
where=(--project "$PROJECT" --zone "$ZONE" --cluster "$CLUSTER")
case $action in
  attach)
    (($# > 0)) || fail "no storage named; give NAME --type gcsfuse --bucket BUCKET --size GB"
    run xpk storage attach "$@" "${where[@]}" --mount-point "$shared" --auto-mount true --readonly false
    ;;
  run) submit "$@" ;;
  list) run xpk workload list "${where[@]}" ;;
  delete)
    needs WORKLOAD
    run xpk workload delete "${where[@]}" --workload "$WORKLOAD"
    ;;
esac
