#!/usr/bin/env bash
# Everything a change must pass: format, lints, tests, the API from outside, the page in a browser, the
# fleet in containers, the documentation.
# Installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
ops/setup.sh

# One optimised profile and the whole workspace at once: other selections would build the
# dependencies again with other features.
flags=(--workspace --release --locked)

step() { printf '\n== %s\n' "$*"; }

step format
cargo fmt --all --check

step "files that use each other in a circle"
if command -v python3 >/dev/null 2>&1; then
  ops/circles.py
else
  echo "SKIPPED: circles: Python is not installed"
fi

step lints
cargo clippy "${flags[@]}" --all-targets -- -D warnings

# Another S3 server. Its test is ignored by default, as is one that takes more than a minute; where SeaweedFS cannot be
# installed, this prints SKIPPED.
ignored=()
. ops/seaweedfs.sh
[ -z "${USO_TEST_WEED:-}" ] || ignored=(--run-ignored all)

# Stored texts are compared, never rewritten.
export INSTA_UPDATE=no

if cargo nextest --version >/dev/null 2>&1; then
  tests() { cargo nextest run "${flags[@]}" "$@"; }
  # One more than there are processors: most tests wait for their servers, of which few run at once (.config/nextest.toml).
  run=(--no-fail-fast --test-threads "$(($(nproc) + 1))" "${ignored[@]}")
else
  tests() { cargo test "${flags[@]}" --all-targets --no-fail-fast "$@"; }
  run=(-- ${ignored:+--include-ignored})
fi

step "build of all tests"
tests --no-run

# Against a real fleet: the document of the API, other people's clients, the page in a browser. Where what they need
# cannot be had, they say SKIPPED. The first takes one core and long, so it runs beside all others.
said=$(mktemp -d)
{
  trap 'kill $!' TERM
  ops/test-api.sh >"$said/text" 2>&1 &
  # A file says that it passed: after so many other processes, the shell may have forgotten how this one ended.
  wait $! && touch "$said/passed"
} &
api=$!
trap 'kill "$api" 2>/dev/null || true; rm -rf "$said"' EXIT

step tests
tests "${run[@]}"

step "other people's clients"
ops/test-clients.sh

step "CUDA kernels, compiled for every architecture"
ops/check-kernels.sh

step "data sets, with other people's readers"
ops/test-dataset.sh

step page
ops/test-page.sh

step "the API is what its document says"
wait "$api" 2>/dev/null || true
cat "$said/text"
[ -e "$said/passed" ]

step "the fleet in containers"
ops/test-compose.sh

# After the others: they install Python where it is missing.
step papers
if command -v python3 >/dev/null 2>&1; then
  ops/test-docs.py
else
  echo "SKIPPED: papers: Python is not installed"
fi

step documentation
RUSTDOCFLAGS="-D warnings" cargo doc "${flags[@]}" --no-deps

step licences
if cargo deny --version >/dev/null 2>&1; then
  cargo deny --locked check bans licenses sources
else
  echo "SKIPPED: licences: cargo-deny is not installed"
fi
