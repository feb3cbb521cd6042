#!/usr/bin/env bash
# `histo-simclr prepare --slides` on an Apache Flink or Spark cluster, through Apache Beam:
#
#   bash launch/prepare_flink.sh worker                      on every host that shall read slides
#   bash launch/prepare_flink.sh HOST:8081 SOURCE… --name COHORT --out DIR --mpp 0.5 …
#   RUNNER=SparkRunner bash launch/prepare_flink.sh spark://HOST:7077 SOURCE… …
#
# This folder, the slides and DIR lie on a file system that all hosts share under the same path (or
# slides and --parts in a store). The second command submits the work, waits, and writes the record
# set; started again after any failure it goes on. README.md in this folder has the details.
#
#   PORT          of the workers, on every host (default: 50000)
#   PARALLELISM   slides read at a time, all hosts together (default: the cluster's own)
#   RUNNER        FlinkRunner (default) or SparkRunner
#   JOB_SERVER    host:port of a running Beam job server; else Beam starts one here, which needs
#                 Java and, the first time, the network
#   DRY_RUN       1: print the command, run nothing
set -euo pipefail

launch=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=${PORT:-50000}
runner=${RUNNER:-FlinkRunner}
local=(env HISTO_SIMCLR_EXTRA=beam bash "$launch/local.sh")

# shellcheck source=launch/steps.sh
. "$launch/steps.sh"

numbers PORT PARALLELISM
(($# > 0)) || fail "no arguments; give 'worker', or the cluster's HOST:PORT and what to prepare"
if [[ $1 == worker ]]; then
  # On all interfaces of the host: Flink's task managers reach it as localhost.
  become "${local[@]}" -m apache_beam.runners.worker.worker_pool_main --service_port "$port"
  exit
fi

cluster=$1
shift
(($# > 0)) || fail "nothing to prepare; give what histo-simclr prepare takes after $cluster"
options="--environment_type=EXTERNAL --environment_config=localhost:$port"
case $runner in
  FlinkRunner) options+=" --flink_master=$cluster${PARALLELISM:+ --parallelism=$PARALLELISM}" ;;
  SparkRunner) options+=" --spark_master_url=$cluster" ;;
  *) fail "RUNNER=$runner: unknown; set FlinkRunner or SparkRunner" ;;
esac
if [[ -n ${JOB_SERVER:-} ]]; then
  runner=PortableRunner
  options+=" --job_endpoint=$JOB_SERVER"
elif [[ ${DRY_RUN:-} != 1 ]] && ! command -v java >/dev/null; then
  fail "no java here, which Beam's job server needs; install a JRE (11 or 17), or set JOB_SERVER"
fi
become "${local[@]}" -m histo_simclr prepare "$@" --slides --runner "$runner" \
  "--beam-options=$options"
