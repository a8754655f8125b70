#!/usr/bin/env bash
# Proves that GET /openapi.json and a real fleet agree, with schemathesis. Needs target/release/uso; installs
# the rest.
#   ops/test-api.sh [arguments of schemathesis run]
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "SKIPPED: api: $*"; exit 0; }

uso=${USO_BIN:-${CARGO_TARGET_DIR:-target}/release/uso}
[ -x "$uso" ] || { echo "there is no $uso: cargo build --workspace --release --locked" >&2; exit 1; }

tools=${CARGO_TARGET_DIR:-target}/api-tools
if ! "$tools/bin/python" -c 'import schemathesis' 2>/dev/null; then
  { python3 -m venv "$tools" && "$tools/bin/pip" install -q 'schemathesis==4.*'; } >/dev/null 2>&1 ||
    skip "the Python package schemathesis cannot be had"
fi

work=$(mktemp -d)
stop() {
  ops/fleet.sh stop "$work/open" || true
  ops/fleet.sh stop "$work/keys" || true
  rm -rf "$work"
}
trap stop EXIT

# Some pictures fail, so that there are failures to look at.
engine=(--engine scripted:step=5ms,fail=0.01 --allow-test-engine)

check() {
  local address=$1
  shift
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=ops/api "$tools/bin/schemathesis" \
    --config-file ops/api/schemathesis.toml run "$address/openapi.json" "$@"
}

echo "== everybody is let in"
check "$(ops/fleet.sh start "$work/open" "${engine[@]}")" "$@"

echo "== keys are asked for"
address=$(ops/fleet.sh start "$work/keys" "${engine[@]}" --auth keys)
key=$("$uso" keys create --redis "redis://127.0.0.1:$(cat "$work/keys/data/redis/port")" tester --scope submit,read,admin)
check "$address" --header "Authorization: Bearer $key" "$@"
