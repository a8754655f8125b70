#!/usr/bin/env bash
# A fleet for the page's tests that can be stopped and started again at the same address.
#   fleet.sh start DIR     prints its address; fleet.sh stop DIR
set -euo pipefail
dir=${2:?usage: fleet.sh start|stop DIR}
root=$(cd "$(dirname "$0")/../.." && pwd)
uso=${USO_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/uso}

case ${1:-} in
  start)
    mkdir -p "$dir"
    # The first start takes any free port, later ones the same again.
    port=$(cat "$dir/port" 2>/dev/null || echo 0)
    nohup "$uso" up --port "$port" --data "$dir/data" > "$dir/up.out" 2>> "$dir/up.log" &
    echo $! > "$dir/pid"
    for _ in $(seq 300); do
      grep -q 'ready on' "$dir/up.out" && break
      kill -0 "$(cat "$dir/pid")" 2>/dev/null || { tail "$dir/up.log" >&2; exit 1; }
      sleep 0.1
    done
    address=$(grep -o 'http://[0-9.:]*' "$dir/up.out")
    echo "${address##*:}" > "$dir/port"
    echo "$address"
    ;;
  stop)
    pid=$(cat "$dir/pid")
    kill -TERM "$pid" 2>/dev/null || exit 0
    for _ in $(seq 300); do
      kill -0 "$pid" 2>/dev/null || exit 0
      sleep 0.1
    done
    kill -KILL "$pid"
    ;;
  *) echo "usage: fleet.sh start|stop DIR" >&2; exit 2 ;;
esac
