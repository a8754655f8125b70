#!/usr/bin/env bash
# Checks a device, in at most 10 minutes if `uso-bench device` keeps to its budget: the engine's own test with its kernels,
# parity with the CPU in each precision and tier, memory and seconds of a step beside the plan's and the cost model's,
# resumption, a run of 200 jobs. Prints a table and writes it as JSON.
#   ops/gpu-check.sh                    on a machine with NVIDIA's driver
#   ops/gpu-check.sh --device cpu       the same at a small size, to try the check itself
#   --json FILE                         where the table goes, by default gpu-check.json
#   --seconds N, --quick                are passed on to `uso-bench device`
# It runs beside the source (after a build with CUDA, see ops/check-cuda.sh) or unpacked from the package that
# `ops/check-cuda.sh --package sm_90` makes. CUDA 13's runtime libraries are taken from lib/ of the package, from CUDA_HOME,
# or from where NVIDIA's packages install them.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

# The oldest driver for CUDA 13.
need_driver=580

die() { printf 'gpu-check: %s\n' "$*" >&2; exit 1; }
device=cuda json=gpu-check.json more=()
while [ $# -gt 0 ]; do
  case $1 in
    --device) device=${2-}; shift ;;
    --json) json=${2-}; shift ;;
    --seconds) [[ ${2-} =~ ^[1-9][0-9]*$ ]] || die "--seconds takes a whole number from 1"
      more+=(--seconds "$2"); shift ;;
    --quick) more+=(--quick) ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) die "unknown: $1; the head of this file says what there is" ;;
  esac
  [ $# -eq 0 ] || shift
done
case $device in cuda | cpu) ;; *) die "--device takes cuda or cpu" ;; esac
[ -n "$json" ] || die "--json takes the name of a file"
# The table is written last, and would be lost there.
[ -w "$(dirname "$json")" ] || die "cannot write $json: there is no folder $(dirname "$json") that you may write to"

find_program() {
  local folder
  local built=${CARGO_TARGET_DIR:-$here/target}/release places
  # A build without CUDA starts anywhere.
  if [ "$device" = cpu ]; then
    places=("$built" "$here/bin")
  else
    # First the build for this card: others do not start on it, or multiply blocks wrongly.
    places=("$here/bin" "$here/target/cuda/build-$(capability)/release" "$here"/target/cuda/build-*/release "$built")
  fi
  for folder in "${places[@]}"; do
    [ -x "$folder/uso-bench" ] && { echo "$folder"; return; }
  done
  die "there is no uso-bench: unpack a package, or build the workspace"
}

ask_driver() { nvidia-smi --query-gpu="$1" --format=csv,noheader | head -n 1; }
# As builds are named: 89 for 8.9.
capability() { ask_driver compute_cap | tr -d .; }

check_driver() {
  echo "CUDA 13 needs NVIDIA's driver $need_driver or newer"
  command -v nvidia-smi >/dev/null || die "there is no nvidia-smi, and so no driver"
  local driver capability
  driver=$(ask_driver driver_version) || die "nvidia-smi fails: $driver"
  echo "driver $driver"
  [ "${driver%%.*}" -ge "$need_driver" ] || die "the driver is too old"
  capability=$(ask_driver compute_cap)
  echo "$(ask_driver name), capability $capability, $(ask_driver memory.total)"
  if [ -r "$here/capability.txt" ] && [ "$(cat "$here/capability.txt")" != "${capability/./}" ]; then
    die "this package was built for sm_$(cat "$here/capability.txt"), and the card is sm_${capability/./}"
  fi
}

missing() { LD_LIBRARY_PATH=$1 ldd "$bin/uso-bench" | sed -n 's/^\s*\(\S*\) => not found.*/\1/p'; }

find_libraries() {
  local folder
  for folder in "" "$here/lib" "${CUDA_HOME:-/usr/local/cuda}/lib64" "$here/target/cuda/toolkit/nvidia/cu13/lib" \
    /usr/local/cuda-13*/lib64 /usr/local/lib/python3*/*-packages/nvidia/cu13/lib /usr/lib/python3*/*-packages/nvidia/cu13/lib; do
    if [ -z "$(missing "$folder")" ]; then
      [ -z "$folder" ] || echo "CUDA's libraries in $folder" >&2
      echo "$folder"
      return
    fi
  done
  die "missing libraries: $(missing "" | tr '\n' ' '); unpack cuda-13-runtime.tar.xz into $here"
}

[ "$device" = cpu ] || check_driver
bin=$(find_program)
libraries=$(find_libraries)
# A packed Redis serves where none is installed.
export PATH=$PATH:$bin
command -v redis-server >/dev/null || echo "there is no redis-server: the run of jobs will fail" >&2
# The random weights are best in memory.
if [[ $device == cuda* ]] && [ -z "${TMPDIR:-}" ] && [ "$(df --output=avail -B1000000000 /dev/shm 2>/dev/null | tail -n 1)" -gt 40 ]; then
  export TMPDIR=/dev/shm
fi
LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$bin/uso-bench" device --device "$device" --json "$json" "${more[@]}"
