#!/usr/bin/env bash
# Makes one rented machine ready: the shared folder, a Python, the environment. launch/tpu_pod.sh runs
# it on every worker, launch/skypilot.yaml on every node. Again: only what is missing.
#
#   BUCKET   gs://NAME, mounted at SHARED by Cloud Storage FUSE
#   NFS      HOST:/SHARE (Filestore), mounted there instead
#   SHARED   (default: /mnt/histo_simclr); empty: mount nothing
#   HISTO_SIMCLR_ACCELERATOR   as for launch/local.sh
#   DRY_RUN  1: print the commands, run nothing
set -euo pipefail

root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
shared=${SHARED-/mnt/histo_simclr}

# shellcheck source=launch/steps.sh
. "$root/launch/steps.sh"

# Is it there already? A dry run asks nobody.
there() { [[ ${DRY_RUN:-} != 1 ]] && "$@" >/dev/null 2>&1; }

install() {
  # A young VM may still be installing updates of its own.
  run sudo apt-get -o DPkg::Lock::Timeout=600 update -q
  run sudo apt-get -o DPkg::Lock::Timeout=600 install -qy "$@"
}

if [[ -n $shared ]] && ! there mountpoint "$shared"; then
  [[ -n ${BUCKET:-}${NFS:-} ]] || fail "nothing is mounted at $shared: set BUCKET or NFS"
  run sudo mkdir -p "$shared"
  # shellcheck disable=SC2016 # the inner shell expands it: the user there
  run bash -c 'sudo chown "$(id -un)" "$1"' bash "$shared"
  if [[ -n ${NFS:-} ]]; then
    there command -v mount.nfs || install nfs-common
    run sudo mount -t nfs "$NFS" "$shared"
  else
    if ! there command -v gcsfuse; then
      key=/usr/share/keyrings/cloud.google.asc
      run sudo curl -fsS -o "$key" https://packages.cloud.google.com/apt/doc/apt-key.gpg
      # shellcheck disable=SC2016 # the inner shell expands it
      run sudo bash -c 'echo "deb [signed-by=$1] https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -cs) main" >/etc/apt/sources.list.d/gcsfuse.list' bash "$key"
      install gcsfuse
    fi
    # No metadata from a cache: a worker must see at once what another wrote. Checkpoints become
    # whole by renaming their folder, which a flat bucket does file by file.
    run gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 --rename-dir-limit=10000 \
      "${BUCKET#gs://}" "$shared"
  fi
fi

# Images of the clouds bring Python 3.10; we need 3.11 or later.
python=""
for name in python3 python3.13 python3.12 python3.11; do
  if there "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
    python=$(command -v "$name")
    break
  fi
done
if [[ -z $python ]]; then
  uv=$HOME/.local/bin/uv
  there test -x "$uv" || run python3 -m pip install --quiet --user uv
  run "$uv" python install 3.12
  # shellcheck disable=SC2016 # the inner shell expands it: where uv keeps it is known only then
  run bash -c 'PYTHON=$("$1" python find --no-project 3.12) && export PYTHON && bash "$2" -c pass' \
    bash "$uv" "$root/launch/local.sh"
else
  run env "PYTHON=$python" bash "$root/launch/local.sh" -c pass
fi
