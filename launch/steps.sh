# What the scripts of this folder share; they source it. `root` is the repository.

fail() {
  # Slurm runs copies under another name: there, `program` says which script it is.
  printf '%s: %s\n' "${program:-${0##*/}}" "$*" >&2
  exit 2
}

# Is this variable 1, or 0 or nothing? Anything else is refused, not taken as off.
switch() {
  [[ ${!1:-} =~ ^[01]?$ ]] || fail "$1=${!1}: give 1, or 0 or nothing"
}
# DRY_RUN=true would run for real.
switch DRY_RUN

# Are these variables whole numbers, where they are set?
numbers() {
  local name
  for name in "$@"; do
    [[ ${!name:-0} =~ ^(0|[1-9][0-9]*)$ ]] || fail "$name=${!name}: give a whole number"
  done
}

# Runs a command; with DRY_RUN=1 prints it instead, quoted for a shell.
run() {
  if [[ ${DRY_RUN:-} == 1 ]]; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@"
  fi
}

# The same in place of this script, so that signals for it reach the command.
become() {
  [[ ${DRY_RUN:-} == 1 ]] || exec "$@"
  run "$@"
}

# Are these variables set?
needs() {
  local name
  for name in "$@"; do
    [[ -n ${!name:-} ]] || fail "$name is not set; see the head of this file"
  done
}

# Finds `workdir` in what main.py is given, and refuses what no worker can use, before a machine costs
# anything. $1, if not empty: the mount that all hosts share. Beside it each host would write into a
# folder of its own, and checkpoints would go with the machine.
find_workdir() {
  local mount=${1%/} argument previous=""
  shift
  (($# > 0)) || fail "nothing to run; give what main.py takes"
  workdir=""
  for argument in "$@"; do
    case $argument in
      --workdir=* | -workdir=*) workdir=${argument#*=} ;;
      *) case $previous in --workdir | -workdir) workdir=$argument ;; esac ;;
    esac
    previous=$argument
  done
  [[ -n $workdir ]] || fail "no --workdir=DIR; give a folder that all processes of the run reach"
  [[ $workdir != *://* ]] || fail "--workdir=$workdir: a store is no folder; mount it and give the mount's path"
  [[ -z $mount || $workdir == "$mount"/?* ]] ||
    fail "--workdir=$workdir: not below $mount, which all hosts share; give --workdir=$mount/…"
}

# The commit that is sent to other machines; $1: what to do when it is not all there is.
committed() {
  local way_out=${1:-commit them: what is sent is the commit} new
  git -C "${root:?}" diff --quiet HEAD -- || fail "changes that are not committed; $way_out"
  # `git diff` does not see new files, which the code here may need: there, they would be missing.
  new=$(git -C "$root" ls-files --others --exclude-standard -- \
    configs histo_simclr launch ':(glob)*.py' ':(glob)*.toml' requirements.txt)
  [[ -z $new ]] || fail "new files that are not committed, such as ${new%%$'\n'*}; $way_out"
  git -C "$root" rev-parse --short=12 HEAD
}

# Packs commit $1 into `archive` until the script ends. Named for $2, not by mktemp: a dry run can
# print it, and two uploads at once do not share it.
pack() {
  archive=${root:?}/histo_simclr-$2.tgz
  trap 'run rm -f "$archive"' EXIT
  run git -C "$root" archive --format tgz -o "$archive" "$1"
}
