#!/usr/bin/env bash
# Installs what the CUDA build needs into a folder: NVIDIA's compiler and libraries, as the Python packages that NVIDIA
# publishes, and a stand-in for the driver's library to link against. Needs no GPU and no driver. Takes 1.3 GB.
#   ops/cuda-toolkit.sh FOLDER     then `. FOLDER/env.sh` and set CUDA_COMPUTE_CAP (89 for an RTX 40), or at once:
#   CUDA_COMPUTE_CAP=89 ops/cuda-toolkit.sh FOLDER cargo build --workspace --release --locked --features uso/cuda
set -euo pipefail
mkdir -p "${1:?ops/cuda-toolkit.sh FOLDER}"
folder=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."

packages=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-nvrtc==13.0.88 nvidia-cublas==13.0.2.14 nvidia-curand==10.4.0.35)
home=$folder/nvidia/cu13

say() { printf 'cuda-toolkit: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

install() {
  [ "$(cat "$folder/packages" 2>/dev/null)" = "${packages[*]}" ] && return
  command -v python3 >/dev/null || die "Python is missing"
  if [ ! -x "$folder/python/bin/pip" ]; then
    . ops/tools.sh
    python_tools "$folder/python" 'import pip' pip || die "cannot make a Python environment"
  fi
  say "installing ${packages[*]}"
  "$folder/python/bin/pip" install -q --retries 1 --no-deps --upgrade --target "$folder" "${packages[@]}" ||
    die "cannot install NVIDIA's packages"
  printf '%s' "${packages[*]}" > "$folder/packages"
}

# The packages have libraries under their full names alone, and linkers ask for the short ones.
links() {
  ln -sfn lib "$home/lib64"
  local name full
  for name in cudart cublas cublasLt curand nvrtc; do
    full=$(find "$home/lib" -maxdepth 1 -name "lib$name.so.*" -printf '%f\n' | sort | sed -n 1p)
    [ -n "$full" ] || die "there is no lib$name in $home/lib"
    ln -sfn "$full" "$home/lib/lib$name.so"
  done
}

# Stands in for the driver's library: all of its functions that are called, each of which says that there is no device.
stub() {
  local metadata manifest names
  metadata=$(cargo metadata --locked --format-version 1 --manifest-path crates/cli/Cargo.toml --features cuda)
  # Not through pipes that close early: that would end this script.
  manifest=$(grep -o '"manifest_path":"[^"]*/cudarc-[^"]*"' <<< "$metadata" | cut -d '"' -f 4 | sort -u | sed -n 1p)
  [ -n "$manifest" ] || die "cargo knows no cudarc"
  names=$(sed -n 's/^pub unsafe fn \(cu[A-Za-z0-9_]*\)(.*/\1/p' "$(dirname "$manifest")/src/driver/sys/mod.rs" | sort -u)
  [ -n "$names" ] || die "cudarc names no functions of the driver"
  mkdir -p "$home/lib/stubs"
  # 100 is CUDA_ERROR_NO_DEVICE.
  sed 's/.*/int &(void) { return 100; }/' <<< "$names" |
    cc -shared -fPIC -x c -Wl,-soname,libcuda.so.1 -o "$home/lib/stubs/libcuda.so" -
  ln -sfn libcuda.so "$home/lib/stubs/libcuda.so.1"
}

install
links
stub
cat > "$folder/env.sh" <<ENV
export CUDA_HOME=$home PATH=$home/bin:\$PATH LIBRARY_PATH=$home/lib/stubs:$home/lib\${LIBRARY_PATH:+:\$LIBRARY_PATH}
ENV
"$home/bin/nvcc" --version | tail -n 2
[ $# -gt 0 ] || exit 0
. "$folder/env.sh"
exec "$@"
