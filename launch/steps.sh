# What the scripts of this folder share; they source it.

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 2
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

# Are these variables set?
needs() {
  local name
  for name in "$@"; do
    [[ -n ${!name:-} ]] || fail "$name is not set; see the head of this file"
  done
}
