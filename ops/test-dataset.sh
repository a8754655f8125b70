#!/usr/bin/env bash
# Data sets, opened with readers that nobody here wrote: webdataset, Hugging Face's datasets, pyarrow. Needs
# target/release/examples/make-dataset; installs the rest.
#   ops/test-dataset.sh
set -euo pipefail
cd "$(dirname "$0")/.."

. ops/tools.sh
skip() { echo "SKIPPED: dataset: $*"; exit 0; }

make=$(realpath -m "${USO_MAKE_DATASET:-${CARGO_TARGET_DIR:-target}/release/examples/make-dataset}")
[ -x "$make" ] ||
  { echo "there is no $make: cargo build --release --locked -p uso-dataset --example make-dataset" >&2; exit 1; }

tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/dataset-tools")
mkdir -p "$tools"
python_tools "$tools" 'import datasets, PIL, pyarrow, webdataset' \
  'datasets>=4,<6' 'pillow' 'pyarrow' 'webdataset==1.*' || skip "their Python packages cannot be had"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Nothing is asked of the hub, and nothing cached by an earlier run counts.
export HF_HOME=$work/cache HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 PYTHONDONTWRITEBYTECODE=1
"$tools/bin/python" ops/dataset_readers.py "$make" "$work"
