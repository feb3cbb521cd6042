#!/usr/bin/env bash
# What the task of launch/skypilot.yaml runs on each node, with what main.py takes. To see it before
# a machine is rented:
#
#   DRY_RUN=1 bash launch/skypilot_node.sh --config=… --workdir=/shared/runs/first
#
#   SKYPILOT_NUM_NODES, SKYPILOT_NODE_RANK, SKYPILOT_NODE_IPS   SkyPilot's (dry run: one node)
#   DRY_RUN   1: print the commands, run nothing
set -euo pipefail

launch=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# shellcheck source=launch/steps.sh
. "$launch/steps.sh"

shared=/shared # where launch/skypilot.yaml mounts the bucket
find_workdir "$shared" "$@"
[[ ${DRY_RUN:-} == 1 || -n ${SKYPILOT_NUM_NODES:-} ]] ||
  fail "not in a task: sky jobs launch launch/skypilot.yaml …"
numbers SKYPILOT_NUM_NODES SKYPILOT_NODE_RANK
nodes=${SKYPILOT_NUM_NODES:-1}
variables=("JAX_COMPILATION_CACHE_DIR=$shared/jax_cache")
# One process a node, all of its GPUs in it.
if ((nodes > 1)); then
  needs SKYPILOT_NODE_RANK SKYPILOT_NODE_IPS
  # One address a line; the first node coordinates.
  variables+=(
    "JAX_COORDINATOR_ADDRESS=${SKYPILOT_NODE_IPS%%$'\n'*}:8476"
    "JAX_NUM_PROCESSES=$nodes" "JAX_PROCESS_ID=$SKYPILOT_NODE_RANK"
  )
fi
become env "${variables[@]}" bash "$launch/worker.sh" "$@" --config.data.mix=/mix
