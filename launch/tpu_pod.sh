#!/usr/bin/env bash
# Pretraining on a slice of Cloud TPU VMs, one host or many, from your own machine:
#
#   export NAME=histo ZONE=us-east5-b PROJECT=… TYPE=v6e-16 SPOT=1 BUCKET=gs://mine
#   export MIX_FROM=gs://mine/mix
#   bash launch/tpu_pod.sh run --config=configs/resnet18_mix.py:tenpercent \
#     --workdir=/mnt/histo_simclr/runs/first
#   bash launch/tpu_pod.sh logs
#   bash launch/tpu_pod.sh delete
#
#   create [FLAG…]  asks for the slice and waits for it; one that was preempted or failed is deleted
#                   and asked for anew. FLAGs go to `gcloud … queued-resources create`
#   install         what is committed here, its environment and the shared folder, on every worker;
#                   not under a run that goes on there
#   run ARGS…       create and install where needed, then `main.py ARGS…` on every worker, which
#                   goes on without this machine. After a preemption the same command goes on
#   logs            follows what worker WORKER prints
#   stop            SIGTERM: the run saves and ends; the slice stays, and costs
#   delete          gives the slice back
#
# README.md in this folder has costs and details.
#
#   NAME, ZONE, PROJECT, TYPE   of the slice; TYPE is an accelerator type, such as v6e-16
#   RUNTIME     TPU software version (default: by TYPE)
#   SPOT        1: spot, cheaper, can be taken away
#   VALID_FOR   give up the place in the queue after this long, such as 6h (default: never)
#   BUCKET      gs://NAME, mounted on every worker at SHARED for workdirs and compiled programs; or
#   NFS         HOST:/SHARE, a Filestore, mounted there instead
#   SHARED      (default: /mnt/histo_simclr)
#   MIX_FROM    gs://… of the mix, copied to data/mix on every worker's disk, where configs look
#   WORKER      (default: 0)
#   POLL        seconds between two looks at the queue (default: 30)
#   DRY_RUN     1: print the commands, run nothing
set -euo pipefail

launch=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$launch")
shared=${SHARED:-/mnt/histo_simclr}
there=histo_simclr # below the home of every worker
# On a worker: does a run go on there? The number alone may since be another program's.
running="grep -qs worker.sh /proc/\$(cat $there/run.pid 2>/dev/null)/cmdline"

# shellcheck source=launch/steps.sh
. "$launch/steps.sh"

say() { [[ ${DRY_RUN:-} == 1 ]] || printf 'tpu_pod.sh: %s\n' "$*" >&2; }

runtime() {
  case $TYPE in
    v6e-*) echo v2-alpha-tpuv6e ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v4-* | v3-* | v2-*) echo tpu-ubuntu2204-base ;;
    *) fail "TYPE=$TYPE: its software version is not known here; set RUNTIME, see https://cloud.google.com/tpu/docs/runtimes" ;;
  esac
}

where=() # set below, when the variables are known to be there
queue() { run gcloud compute tpus queued-resources "$@" "${where[@]}"; }
# shellcheck disable=SC2153 # NAME is the caller's
remote() { run gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" "$@"; }

# ACTIVE, WAITING_FOR_RESOURCES, SUSPENDED, … or nothing when there is none.
state() {
  [[ ${DRY_RUN:-} == 1 ]] ||
    gcloud compute tpus queued-resources describe "$NAME" "${where[@]}" \
      --format 'value(state.state)' 2>/dev/null || true
}

create() {
  needs TYPE
  local found software
  software=${RUNTIME:-$(runtime)} || exit
  found=$(state)
  case $found in
    SUSPENDED | SUSPENDING | FAILED)
      say "$NAME is $found: asking for it anew"
      queue delete "$NAME" --force --quiet
      found=""
      ;;
  esac
  if [[ -z $found ]]; then
    queue create "$NAME" --node-id "$NAME" --accelerator-type "$TYPE" --runtime-version "$software" \
      ${spot[@]+"${spot[@]}"} ${VALID_FOR:+"--valid-until-duration=$VALID_FOR"} "$@"
  fi
  [[ ${DRY_RUN:-} != 1 ]] || return 0
  while found=$(state) && [[ $found != ACTIVE ]]; do
    case $found in
      SUSPENDED | SUSPENDING | FAILED) fail "$NAME became $found; gcloud compute tpus queued-resources describe $NAME says why, the same command asks anew" ;;
    esac
    say "$NAME: ${found:-unknown yet}, waiting (Ctrl-C keeps its place in the queue)"
    sleep "${POLL:-30}"
  done
}

# Is there a run on any worker? A dry run asks nobody.
runs() {
  local found
  [[ ${DRY_RUN:-} != 1 ]] || return 1
  found=$(remote --worker=all --command "if $running; then echo runs already; fi") || exit
  [[ $found == *"runs already"* ]]
}

install() {
  pack "$version" "$NAME"
  run gcloud compute tpus tpu-vm scp "$archive" "$NAME:histo_simclr.tgz" "${where[@]}" --worker=all
  say "preparing every worker with $version: minutes the first time"
  local setup
  setup=$(printf '%q ' env HISTO_SIMCLR_ACCELERATOR=tpu "SHARED=$shared" \
    ${BUCKET:+"BUCKET=$BUCKET"} ${NFS:+"NFS=$NFS"} bash "$there/launch/setup.sh")
  # Here and not at the start: processes wait five minutes for each other, and no longer.
  [[ -z ${MIX_FROM:-} ]] ||
    setup+="&& $(printf '%q ' env "MIX_FROM=$MIX_FROM" bash "$there/launch/worker.sh" stage)"
  # Files that the commit no longer has would still be imported.
  local keep="-path $there/data/mix -o -path '$there/.venv*' -o -path '$there/run.*'"
  remote --worker=all --command "mkdir -p $there && find $there \\( $keep \\) -prune -o ! -type d -exec rm {} + && tar -xzf histo_simclr.tgz -C $there && $setup"
}

start() {
  local command
  command=$(printf '%q ' env HISTO_SIMCLR_POD=1 HISTO_SIMCLR_ACCELERATOR=tpu \
    "JAX_COMPILATION_CACHE_DIR=$shared/jax_cache" bash launch/worker.sh "$@")
  # Without a terminal and in a session of its own: it outlives the connection.
  remote --worker=all --command "if $running; then echo runs already; else cd $there && { setsid nohup $command >>run.log 2>&1 </dev/null & echo \$! >run.pid; } && echo started; fi"
}

action=${1:-}
(($# == 0)) || shift
case $action in
  create | install | run | logs | stop | delete) ;;
  "") fail "nothing to do; give create, install, run, logs, stop or delete" ;;
  *) fail "$action: unknown; give create, install, run, logs, stop or delete" ;;
esac
needs NAME ZONE PROJECT
where=(--zone "$ZONE" --project "$PROJECT")
switch SPOT
numbers POLL
spot=()
[[ ${SPOT:-} != 1 ]] || spot=(--spot)
[[ ${DRY_RUN:-} == 1 ]] || command -v gcloud >/dev/null || fail "no gcloud here: install the Google Cloud CLI"
case $action in
  install | run)
    [[ -n ${BUCKET:-}${NFS:-} ]] || fail "neither BUCKET nor NFS is set; see the head of this file"
    [[ ${BUCKET:-gs://x} == gs://?* ]] || fail "BUCKET=$BUCKET: not of the form gs://NAME"
    # Before a slice is waited for.
    version=$(committed) || exit
    ;;
esac

case $action in
  create) create "$@" ;;
  install)
    # Code and packages stay as they are under a run.
    ! runs || fail "a run goes on there; bash launch/tpu_pod.sh stop ends it"
    install
    ;;
  run)
    find_workdir "$shared" "$@"
    create
    if runs; then
      say "runs already, so nothing is installed"
    else
      install
    fi
    # Also then: a lost connection may have left some workers without their process.
    start "$@"
    say "bash launch/tpu_pod.sh logs follows it"
    ;;
  logs) remote "--worker=${WORKER:-0}" --command "tail -n 100 -F $there/run.log" ;;
  stop) remote --worker=all --command "if $running; then kill -TERM \$(cat $there/run.pid); else echo nothing runs; fi" ;;
  delete) queue delete "$NAME" --force --quiet ;;
esac
