#!/usr/bin/env bash
# Proves that GET /openapi.json and a real fleet agree, with schemathesis. Needs target/release/uso; installs
# the rest.
#   ops/test-api.sh [arguments of schemathesis run]
set -euo pipefail
cd "$(dirname "$0")/.."

. ops/tools.sh
skip() { echo "SKIPPED: api: $*"; exit 0; }

uso=${USO_BIN:-${CARGO_TARGET_DIR:-target}/release/uso}
[ -x "$uso" ] || { echo "there is no $uso: cargo build --workspace --release --locked" >&2; exit 1; }

tools=${CARGO_TARGET_DIR:-target}/api-tools
python_tools "$tools" 'import schemathesis' 'schemathesis==4.*' ||
  skip "the Python package schemathesis cannot be had"

here=$PWD/ops/api
schemathesis=$(cd "$tools/bin" && pwd)/schemathesis
work=$(mktemp -d)
stop() {
  local fleet
  for fleet in open keys; do
    [ ! -e "$work/$fleet/pid" ] || ops/fleet.sh stop "$work/$fleet" || true
  done
  rm -rf "$work"
}
trap stop EXIT

# Some jobs fail, so that failures are answered, too.
engine=(--engine scripted:step=5ms,fail=0.01 --allow-test-engine)

# In a folder of its own: schemathesis leaves files where it runs.
check() {
  local address=$1
  shift
  (cd "$work" && PYTHONDONTWRITEBYTECODE=1 SCHEMATHESIS_HOOKS=$here/hooks.py "$schemathesis" \
    --config-file "$here/schemathesis.toml" run "$address/openapi.json" "$@")
}

failed=0

echo "== without keys"
address=$(ops/fleet.sh start "$work/open" "${engine[@]}")
check "$address" "$@" || failed=1

echo "== with keys"
address=$(ops/fleet.sh start "$work/keys" "${engine[@]}" --auth keys)
redis=redis://:$(cat "$work/keys/data/redis/password")@127.0.0.1:$(cat "$work/keys/data/redis/port")
key=$("$uso" keys create --redis "$redis" tester --scope submit,read,admin 2>/dev/null)
check "$address" --header "Authorization: Bearer $key" "$@" || failed=1

exit $failed
