#!/usr/bin/env bash
# Runs `python ARGS…` in a ready environment, from the repository root:
#
#   bash launch/local.sh main.py --config=configs/resnet18_mix.py
#   bash launch/local.sh -m pytest
#
# The environment is .venv in the repository root, with the pinned packages of requirements.txt,
# the extra `dev` of pyproject.toml, JAX for what the machine has (CUDA 12 or 13, TPU, else CPU)
# and the command histo-simclr. It is made when missing, brought up to date when a pin changed,
# and taken as it is otherwise. README.md in this folder has the details.
#
#   PYTHON                     the Python that makes .venv (3.11 to 3.13; default: the first found)
#   HISTO_SIMCLR_ACCELERATOR   cpu, cuda12, cuda13 or tpu, instead of what the machine seems to have
#   HISTO_SIMCLR_EXTRA         beam, dataflow or ecosystem: another environment, .venv-beam and so
#                              on, with that extra too; for the first two launch/beam_constraints.txt
#                              pins what lies beside it
#   DRY_RUN                    1: print the commands, run nothing
set -euo pipefail

root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
extra=${HISTO_SIMCLR_EXTRA:-}
# Beam needs older packages than we do, and the ecosystem (PyTorch, timm, transformers) is large and
# tells the tests of exports apart from the rest: each has an environment of its own.
name=.venv${extra:+-$extra}
venv=$root/$name
stamp=$venv/histo-simclr.txt # first line: what it is for; rest: what was installed. Written last.
log=$root/$name.log
unfinished="unfinished"

# shellcheck source=launch/steps.sh
. "$root/launch/steps.sh"

say() { [[ ${DRY_RUN:-} == 1 ]] || printf 'local.sh: %s\n' "$*" >&2; }
# Notes what the environment is: $1 for the first line, then the files in $@.
note() {
  # shellcheck disable=SC2016 # the inner shell expands it
  run bash -c 'cd "$1" && { echo "$2" && cat /dev/null "${@:4}"; } >"$3.new" && mv "$3.new" "$3"' \
    bash "$root" "$1" "$stamp" "${@:2}"
}

constraints="" # a file below the root
case $extra in
  "" | ecosystem) ;;
  beam | dataflow) constraints=launch/beam_constraints.txt ;;
  *) fail "HISTO_SIMCLR_EXTRA=$extra: unknown; set beam, dataflow or ecosystem, or none" ;;
esac

accelerator() {
  local driver
  case ${HISTO_SIMCLR_ACCELERATOR:-} in
    cpu | cuda12 | cuda13 | tpu) echo "$HISTO_SIMCLR_ACCELERATOR" && return ;;
    "") ;;
    *) fail "HISTO_SIMCLR_ACCELERATOR=$HISTO_SIMCLR_ACCELERATOR: unknown; set cpu, cuda12, cuda13 or tpu" ;;
  esac
  if compgen -G "/dev/accel[0-9]*" >/dev/null; then
    echo tpu && return
  fi
  # Newer TPUs come through vfio, as other vendors' devices can.
  if compgen -G "/dev/vfio/[0-9]*" >/dev/null && grep -qs 0x1ae0 /sys/bus/pci/devices/*/vendor; then
    echo tpu && return
  fi
  if command -v nvidia-smi >/dev/null; then
    driver=$(timeout 10 nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null) || driver=""
    driver=${driver%%.*}
    # Oldest drivers for which NVIDIA promises that CUDA 13 and CUDA 12 programs run.
    if [[ ! $driver =~ ^[0-9]+$ ]]; then
      say "nvidia-smi is there but names no GPU: taking the CPU"
    elif ((driver >= 580)); then
      echo cuda13 && return
    elif ((driver >= 525)); then
      echo cuda12 && return
    else
      say "the NVIDIA driver $driver is older than 525, which CUDA 12 needs: taking the CPU"
    fi
  fi
  echo cpu
}

# What the environment has to be; read without starting anything, so that a ready one costs nothing.
wanted=(requirements.txt pyproject.toml ${constraints:+"$constraints"})

# Is it ready for accelerator $1? One made for GPU or TPU also serves the CPU: on a cluster the
# login node must not take the environment away from a job on a GPU node.
ready() {
  local has_for
  [[ -x $venv/bin/python && -f $stamp ]] || return 1
  { read -r has_for && [[ $(cat) == "$(cd "$root" && cat "${wanted[@]}")" ]]; } <"$stamp" || return 1
  [[ $has_for == "$1" || ($1 == cpu && $has_for != "$unfinished") ]] || return 1
  same_python
}

same_python() {
  [[ -z ${PYTHON:-} || $(cat "$venv/made-by.txt" 2>/dev/null) == "$(command -v "$PYTHON")" ]]
}

find_python() {
  local name
  # 3.14 and later: TensorFlow 2.21 has no build for them.
  local probe='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
  for name in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
    if "$name" -c "$probe" >/dev/null 2>&1; then
      command -v "$name" && return
    fi
    [[ $name != "${PYTHON:-}" ]] ||
      fail "PYTHON=$PYTHON: not a Python 3.11 to 3.13 with its venv module; set another or none"
  done
  fail "no Python 3.11 to 3.13 with its venv module found; install one (Debian, Ubuntu:" \
    "python3-venv too), or set PYTHON to its path"
}

prepare() {
  local for=$1 extras=dev python old
  if [[ -e $venv && ! -f $stamp ]]; then
    fail "$venv was not made by this script; move it away, or use it: $name/bin/python …"
  fi
  old=$(head -n 1 "$stamp" 2>/dev/null || true)
  # In place where pins changed, and from CPU to GPU, which only adds packages. All else is made
  # anew: the CUDA plugins exclude each other, and an installation cut off may hold anything.
  if [[ ! -x $venv/bin/python || ($old != "$for" && $old != cpu) ]] || ! same_python; then
    python=$(find_python)
    say "making $name with $python"
    run rm -rf "$venv"
    run mkdir "$venv"
    note "$unfinished"
    run "$python" -m venv "$venv" ||
      fail "$python -m venv failed (see above); set PYTHON to another Python"
    # shellcheck disable=SC2016 # the inner shell expands it
    run bash -c 'echo "$1" >"$2"' bash "$python" "$venv/made-by.txt"
  fi
  [[ $for == cpu ]] || extras+=,$for
  [[ -z $extra ]] || extras+=,$extra
  say "installing the pinned packages with JAX for $for into $name: minutes, some GB; log: $name.log"
  run cp "$stamp" "$venv/stamp.old"
  note "$unfinished"
  # shellcheck disable=SC2016 # the inner shell expands it
  if ! run bash -c 'cd "$1" && "${@:3}" >"$2" 2>&1' bash "$root" "$log" \
    "$venv/bin/python" -m pip install --no-input --disable-pip-version-check \
    ${constraints:+--constraint "$constraints"} --editable ".[$extras]"; then
    # While it resolves and downloads, pip changes nothing.
    grep -q "^Installing collected packages" "$log" || mv "$venv/stamp.old" "$stamp"
    fail "pip could not install the packages: $(grep -m 1 ERROR "$log" || tail -n 1 "$log");" \
      "see $name.log, check the network, and run the same command again"
  fi
  note "$for" "${wanted[@]}"
  run rm "$venv/stamp.old"
}

for=$(accelerator)
if [[ ${DRY_RUN:-} == 1 ]]; then
  ready "$for" || prepare "$for"
elif ! ready "$for"; then
  # Two at once: the second waits, then finds it ready. (macOS has no flock: there, start one.)
  exec 9>"$root/$name.lock"
  if command -v flock >/dev/null && ! flock --nonblock 9; then
    say "another local.sh is preparing $name: waiting for it"
    flock 9
  fi
  ready "$for" || prepare "$for"
  exec 9>&-
fi

variables=("VIRTUAL_ENV=$venv" "PATH=$venv/bin:$PATH")
# Also when a CUDA JAX is installed: it would look for a GPU, and complain.
[[ $for != cpu ]] || variables+=("JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}")
say "$name is ready, JAX runs on $for: python $*"
run cd "$root"
become env "${variables[@]}" "$venv/bin/python" "$@"
