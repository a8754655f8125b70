#!/usr/bin/env bash
# Shows that the CUDA build compiles and links, on a machine without a GPU. Everything lies in target/cuda, the build in a
# target folder of its own. Allow an hour on two cores.
#   ops/check-cuda.sh                          checks features cuda and cudnn, builds, links, runs the program without a GPU
#   ops/check-cuda.sh --check-only             checks the features alone
#   ops/check-cuda.sh --package sm_90 [--runtime]
#                                              builds for that capability and packs the programs into target/cuda, with
#                                              --runtime also CUDA's runtime libraries, for machines that have none
#   --cap 89                                   the capability to check, by default that of an RTX 40
set -euo pipefail
cd "$(dirname "$0")/.."

capability=89 check=1 build=1 package= runtime=
say() { printf '\n== %s\n' "$*"; }
die() { printf 'check-cuda: %s\n' "$*" >&2; exit 1; }
while [ $# -gt 0 ]; do
  case $1 in
    --check-only) build= ;;
    --cap) capability=${2:?--cap NUMBER}; shift ;;
    --package) package=${2:?--package sm_NUMBER} capability=${2#sm_} check=; shift ;;
    --runtime) runtime=1 ;;
    *) die "unknown: $1; the head of this file says what there is" ;;
  esac
  shift
done
[[ $capability =~ ^[0-9]+$ ]] || die "$capability is no capability such as 89 or sm_90"
[ -z "$runtime" ] || [ -n "$package" ] || die "--runtime is for --package"
[ -z "$package" ] || [ -n "$build" ] || die "--package needs the build"

toolkit=${USO_CUDA_TOOLKIT:-$PWD/target/cuda/toolkit}
out=$PWD/target/cuda
say "NVIDIA's compiler and libraries in $toolkit"
ops/cuda-toolkit.sh "$toolkit"
. "$toolkit/env.sh"
export CUDA_COMPUTE_CAP=$capability CARGO_TARGET_DIR=$out/build-$capability
# Nvcc takes a gigabyte a thread.
export CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-$(nproc)}

cargo_on() { cargo "$1" --release --locked -p uso -p uso-bench --features "$2" "${@:3}"; }

# A check links nothing, so the kernels that candle keeps as machine code may be empty there: compiling them takes most of
# the time. Its target folder is another one than the build's.
quick_nvcc() {
  mkdir -p "$out/quick"
  cat > "$out/quick/nvcc" <<NVCC
#!/usr/bin/env bash
if [[ "\$*" =~ (mmq_|mmvq_|moe_)[a-z0-9_]*\.cu ]]; then
  while [ \$# -gt 1 ]; do
    [ "\$1" != -o ] || { echo | cc -x c -c -o "\$2" -; exit; }
    shift
  done
fi
exec "$CUDA_HOME/bin/nvcc" "\$@"
NVCC
  chmod +x "$out/quick/nvcc"
}

if [ -n "$check" ]; then
  quick_nvcc
  for feature in cuda cudnn; do
    say "check with feature $feature"
    PATH=$out/quick:$PATH NVCC=$out/quick/nvcc CARGO_TARGET_DIR=${USO_CUDA_TARGET:-$out/check-$capability} \
      cargo_on check "uso/$feature"
  done
fi
[ -n "$build" ] || exit 0

say "build for sm_$capability"
cargo_on build uso/cuda --bins
built=$CARGO_TARGET_DIR/release

say "the program without a GPU"
libraries=$CUDA_HOME/lib:$CUDA_HOME/lib/stubs
run() { LD_LIBRARY_PATH=$libraries "$built/uso" "$@"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run generate --device cpu --prompt "a red star" --seed 1 --steps 2 --out "$work/star.png" >/dev/null
[ -s "$work/star.png" ] || die "it samples nothing on the CPU"
echo "samples on the CPU"
ended=0
run generate --device cuda --prompt "a red star" --out "$work/none.png" >"$work/said" 2>&1 || ended=$?
cat "$work/said"
# 101 is a panic, more than 128 a signal.
[ "$ended" -gt 0 ] && [ "$ended" -lt 100 ] || die "--device cuda without a device ends with $ended"
grep -qi device "$work/said" || die "--device cuda without a device does not say what is missing"
echo "refuses --device cuda with exit code $ended"

say "what is not on this machine"
missing() { ldd "$1" | sed -n 's/^\s*\(\S*\) => not found.*/\1/p'; }
missing "$built/uso"
[ -n "$package" ] || exit 0

# One archive with a dictionary of 256 MiB: the two programs share most of their bytes.
pack() { tar -C "$1" -c . | xz -T1 --lzma2=preset=9,dict=256MiB > "$2"; printf '%s: %s MB\n' "$2" "$(($(stat -c %s "$2") / 1000000))"; }
say "package for $package"
packed=$work/packed
mkdir -p "$packed/bin" "$packed/ops"
for program in uso uso-bench; do strip -o "$packed/bin/$program" "$built/$program"; done
cp ops/gpu-check.sh "$packed/ops/"
missing "$built/uso" > "$packed/needs.txt"
echo "$capability" > "$packed/capability.txt"
redis=$(command -v redis-server || true)
[ -z "$redis" ] || cp -L "$redis" "$packed/bin/redis-server"
archive=$out/uso-$package.tar.xz
pack "$packed" "$archive"
[ "$(stat -c %s "$archive")" -le 60000000 ] || die "the package is larger than 60 MB"
if [ -n "$runtime" ]; then
  libs=$work/runtime
  mkdir -p "$libs/lib"
  for name in cudart cublas cublasLt curand nvrtc nvrtc-builtins; do
    find "$CUDA_HOME/lib" -maxdepth 1 -name "lib$name.so.*" ! -name '*.alt.*' -exec cp -L {} "$libs/lib/" \;
  done
  pack "$libs" "$out/cuda-13-runtime.tar.xz"
fi
