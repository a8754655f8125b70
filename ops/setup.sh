#!/usr/bin/env bash
# Installs what the build and the fleet need and the machine lacks. Safe to run again.
set -euo pipefail

need_redis=7

say() { printf '%s\n' "$*" >&2; }
die() { say "setup: $*"; exit 1; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null 2>&1; then sudo "$@"
  else die "must be root (or have sudo) to run: $*"; fi
}

install_packages() {
  command -v apt-get >/dev/null 2>&1 \
    || die "cannot install $*: no apt-get here; install by hand: a C and a C++ compiler, redis-server $need_redis or newer"
  say "setup: installing $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null \
    || die "cannot install $*"
}

# The system's own Redis service is not wanted: every server of ours is started privately.
install_redis() {
  if [ ! -e /usr/sbin/policy-rc.d ] && [ "$(id -u)" -eq 0 ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  install_packages redis-server
}

check_redis() {
  local version
  version=$(redis-server --version | sed -n 's/.*v=\([0-9.]*\).*/\1/p')
  [ "${version%%.*}" -ge "$need_redis" ] 2>/dev/null \
    || die "redis-server ${version:-of unknown version} is too old: $need_redis.0 or newer is needed (Debian 12, Ubuntu 24.04)"
}

packages=()
# The C++ compiler is for the host twins of the CUDA kernels, which tests compile.
{ command -v cc && command -v "${CXX:-c++}"; } >/dev/null 2>&1 || packages+=(build-essential)
[ ${#packages[@]} -eq 0 ] || install_packages "${packages[@]}"
command -v redis-server >/dev/null 2>&1 || install_redis
check_redis
command -v cargo >/dev/null 2>&1 || die "cargo is missing: install Rust with rustup (rust-toolchain.toml names the version)"
