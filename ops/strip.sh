#!/usr/bin/env bash
# Splits a binary: the program, and beside it PROGRAM.debug with its symbols and line tables. With both in one folder,
# backtraces show functions, files and lines; with the program alone, they show addresses, which
# `addr2line -e PROGRAM.debug` explains. Panics name their file and line either way.
#   ops/strip.sh BINARY PROGRAM
set -euo pipefail
binary=$1
program=$2
objcopy --only-keep-debug "$binary" "$program.debug"
objcopy --strip-all --add-gnu-debuglink="$program.debug" "$binary" "$program"
