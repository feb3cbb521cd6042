#!/usr/bin/env bash
# One process of a run on whatever machine it stands; what the launchers of this folder start:
#
#   bash launch/worker.sh --config=configs/resnet18_mix.py:tenpercent --workdir=/shared/run
#   MIX_FROM=… bash launch/worker.sh stage          only copies the mix
#
# The arguments are main.py's. The workdir must be the same folder for all processes of the run.
# Exit code 75: stopped by SIGTERM or Ctrl-C, saved, not finished; the same command goes on.
# README.md in this folder has more.
#
#   MIX_FROM                    folder or gs://… that is copied to this machine's disk first; what
#                               is there already is not copied again
#   MIX_TO                      where to (default: data/mix in the repository, where configs look)
#   JAX_COMPILATION_CACHE_DIR   compiled programs (default: jax_cache beside the workdir)
#   HISTO_SIMCLR_PYTHON         a Python with everything installed, instead of launch/local.sh
#   DRY_RUN                     1: print the commands, run nothing
set -euo pipefail

launch=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$launch")

# shellcheck source=launch/steps.sh
. "$launch/steps.sh"

told="" child=""
# SIGINT too: it does not reach the child, since bash lets what runs in the background ignore it.
trap 'told=1 now=1; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true' TERM INT

# Runs a command and passes SIGTERM on: bash answers a signal while it waits, not while a program is
# in the foreground.
attend() {
  local now code
  "$@" &
  child=$!
  # It came before there was a child to pass it on to.
  [[ -z $told ]] || kill -TERM "$child" 2>/dev/null || true
  while true; do
    now="" code=0
    wait "$child" || code=$?
    # The signal ends `wait` as well, with a code that is not the program's.
    [[ -n $now ]] || break
  done
  child=""
  return "$code"
}

# Whoever restarts what failed must learn that there is more to do.
stopped() {
  printf 'worker.sh: stopped before the end of %s; the same command goes on\n' "$1" >&2
  exit 75
}

# One step of `stage`: nothing half-done is harmful, rsync goes on.
copy() {
  local code=0
  if [[ ${DRY_RUN:-} == 1 ]]; then
    run "$@"
  else
    attend "$@" || code=$?
    [[ -z $told ]] || stopped "the copy of $MIX_FROM"
    ((code == 0)) || exit "$code"
  fi
}

stage() {
  local to=${MIX_TO:-$root/data/mix}
  run mkdir -p "$to"
  # Several processes of one machine: the first copies, the others wait.
  if [[ ${DRY_RUN:-} != 1 ]]; then
    exec 9>"${to%/}.lock"
    copy flock 9
  fi
  if [[ $MIX_FROM == gs://* ]]; then
    copy gcloud storage rsync --recursive "$MIX_FROM" "$to"
  else
    [[ ${DRY_RUN:-} == 1 || -d $MIX_FROM ]] || fail "MIX_FROM=$MIX_FROM: no such folder here; mount it, or give gs://…"
    copy rsync -rt "${MIX_FROM%/}/" "${to%/}/"
  fi
  [[ ${DRY_RUN:-} == 1 ]] || exec 9>&-
}

if [[ ${1:-} == stage ]]; then
  (($# == 1)) || fail "stage takes no arguments"
  [[ -n ${MIX_FROM:-} ]] || fail "MIX_FROM is not set; give a folder or gs://… to copy from"
  stage
  exit 0
fi
find_workdir "" "$@"
run cd "$root"
[[ -z ${MIX_FROM:-} ]] || stage
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$(dirname "$workdir")/jax_cache}
command=(bash "$launch/local.sh")
[[ -z ${HISTO_SIMCLR_PYTHON:-} ]] || command=("$HISTO_SIMCLR_PYTHON")
command+=(main.py "$@")
if [[ ${DRY_RUN:-} == 1 ]]; then
  run env "JAX_COMPILATION_CACHE_DIR=$JAX_COMPILATION_CACHE_DIR" "${command[@]}"
  exit 0
fi

code=0
attend "${command[@]}" || code=$?
# main.py answers SIGTERM with 0, in the training after a checkpoint; what is not started yet is ended
# by the signal itself.
if [[ ! -e $workdir/finished.json ]] &&
  { ((code == 0)) && [[ -d $workdir/checkpoints || -n $told ]] || [[ -n $told && $code == 143 ]]; }; then
  stopped "$workdir"
fi
exit "$code"
