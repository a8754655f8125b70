#!/usr/bin/env bash
# Compiles the CUDA kernels for every architecture, without a GPU, and bounds their registers and spills. Installs the
# compiler (a Python package of about 90 MB).
#   ops/check-kernels.sh
set -euo pipefail
cd "$(dirname "$0")/.."

. ops/tools.sh

tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/kernel-tools")
mkdir -p "$tools"
python_tools "$tools" 'import nvidia.cu13' 'nvidia-cuda-nvrtc==13.0.88' ||
  { echo "SKIPPED: kernels: the package nvidia-cuda-nvrtc cannot be had"; exit 0; }
"$tools/bin/python" ops/check-kernels.py
