# shellcheck shell=bash disable=SC2034,SC2154 # shared with those who source it
# What the scripts share: how they speak, and how they install what is missing. Sourced, never run.

# Everything that is worth keeping from one run to the next.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/spiffe-rs

# What Python needs, at the versions that we promise to work with.
python_packages=interop/python/requirements.txt
python_home=$cache/python-$(cksum <"$python_packages" | cut -d ' ' -f 1)

heading() { printf '\n== %s\n' "$*"; }
note() { printf -- '-- %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND...: fails where that would mean to ask for a password.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 1
  fi
}

# install_packages PACKAGE...: from the distribution.
install_packages() {
  if ! have apt-get; then
    note "cannot install $*: there is no apt-get"
    return 1
  fi
  note "installing $* with apt-get"
  as_root apt-get update -qq </dev/null &&
    as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -qq -y --no-install-recommends "$@" </dev/null
}

# install_python_client: a Python with the SPIFFE packages of PyPI, on gRPC's C core and OpenSSL. It is
# at $python_home/bin/python when this succeeds.
install_python_client() {
  # Written last: a run that was cut short leaves none.
  local mark=$python_home/installed
  [ -e "$mark" ] && "$python_home/bin/python" -c 'import spiffe, spiffetls' 2>/dev/null && return
  if ! have python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    install_packages python3 python3-venv || return 1
  fi
  note "installing $(paste -sd ' ' "$python_packages") from PyPI into $python_home"
  rm -rf "$python_home"
  mkdir -p "$cache"
  python3 -m venv "$python_home" &&
    "$python_home/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
      --requirement "$python_packages" &&
    touch "$mark"
}

# install_postgres: a PostgreSQL server, whose programs are in $postgres_programs when this succeeds. The
# tests start it themselves; the one that Debian would start is not made.
install_postgres() {
  find_postgres && return
  # A package that makes no cluster of its own where this file says so.
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    as_root mkdir -p /etc/postgresql-common &&
      echo 'create_main_cluster = false' |
      as_root tee /etc/postgresql-common/createcluster.conf >/dev/null || return 1
  fi
  install_packages postgresql && find_postgres
}

# The newest of those that Debian has installed side by side, or whichever is on the path.
find_postgres() {
  local initdb
  initdb=$(find /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1)
  [ -n "$initdb" ] || initdb=$(command -v initdb) || return 1
  postgres_programs=$(dirname "$initdb")
}
