#!/usr/bin/env bash
# Puts the job queues that `uso-bench queue` is compared with into target/bench (or into the folder
# given). What cannot be had is SKIPPED, and its figures stay unmeasured. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-target/bench}
mkdir -p "$out"
log=$out/setup.log

skip() { echo "SKIPPED: $*"; }

bullmq() {
  command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || { skip "BullMQ: Node or npm is not installed"; return; }
  mkdir -p "$out/bullmq"
  cp ops/bench/bullmq/{app.js,package.json,package-lock.json} "$out/bullmq/"
  if (cd "$out/bullmq" && npm ci --omit=dev --no-audit --no-fund) >"$log" 2>&1; then
    echo "BullMQ is in $out/bullmq"
  else
    rm -rf "$out/bullmq"
    skip "BullMQ: npm cannot install it, see $log"
  fi
}

apalis() {
  local build=$out/apalis-build
  if cargo build --release --locked --manifest-path ops/bench/apalis/Cargo.toml --target-dir "$build" >"$log.apalis" 2>&1; then
    mkdir -p "$out/apalis"
    cp "$build/release/apalis-bench" "$out/apalis/"
    sed -n '/^name = "apalis-redis"/{n;s/version = "\(.*\)"/\1/p}' ops/bench/apalis/Cargo.lock >"$out/apalis/version"
    echo "apalis is in $out/apalis"
  else
    rm -rf "$out/apalis"
    skip "apalis: cargo cannot build it, see $log.apalis"
  fi
}

bullmq
apalis
