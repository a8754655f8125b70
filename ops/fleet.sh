#!/usr/bin/env bash
# A fleet for tests that can be stopped and started again at the same address.
#   fleet.sh start DIR [arguments of uso up]     prints its address; fleet.sh stop DIR
set -euo pipefail
dir=${2:?usage: fleet.sh start|stop DIR}
root=$(cd "$(dirname "$0")/.." && pwd)
uso=${USO_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/uso}

free_port() {
  local port
  for port in $(shuf -i 20000-29999 -n 50); do
    (: < "/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

case ${1:-} in
  start)
    shift 2
    mkdir -p "$dir/data"
    # The first start takes any free ports, later ones the same again. They are none of those that the system
    # gives to outgoing connections: one of these could have them while the fleet is down.
    [ -e "$dir/port" ] || free_port > "$dir/port"
    [ -e "$dir/data/s3-port" ] || free_port > "$dir/data/s3-port"
    port=$(cat "$dir/port")
    # What an earlier start said must not pass for this one's.
    rm -f "$dir/up.out"
    # Later starts have the arguments of the first.
    [ $# -eq 0 ] || printf '%s\n' "$@" > "$dir/arguments"
    arguments=()
    [ ! -e "$dir/arguments" ] || mapfile -t arguments < "$dir/arguments"
    nohup "$uso" up --port "$port" --data "$dir/data" "${arguments[@]}" > "$dir/up.out" 2>> "$dir/up.log" &
    echo $! > "$dir/pid"
    for _ in $(seq 900); do
      grep -so 'http://[0-9.:]*' "$dir/up.out" && exit 0
      kill -0 "$(cat "$dir/pid")" 2>/dev/null || break
      sleep 0.1
    done
    echo "the fleet did not start:" >&2
    tail "$dir/up.log" >&2
    exit 1
    ;;
  stop)
    pid=$(cat "$dir/pid")
    kill -TERM "$pid" 2>/dev/null || exit 0
    # It finishes running jobs for 20 s, and a busy machine may take longer.
    for _ in $(seq 900); do
      kill -0 "$pid" 2>/dev/null || exit 0
      sleep 0.1
    done
    kill -KILL "$pid"
    ;;
  *) echo "usage: fleet.sh start|stop DIR" >&2; exit 2 ;;
esac
