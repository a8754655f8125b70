#!/usr/bin/env bash
# Builds the fleet, starts it on this machine, has it generate the bundled model's examples over HTTP and
# shows where the pictures are.
#   ops/demo.sh [--out DIR] [--keep]     --keep leaves the fleet running until Ctrl-C; USO_BIN names a `uso` that is
#   built already, beside the folder of its examples
set -euo pipefail

out=demo-out keep=no
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    --keep) keep=yes; shift ;;
    *) echo "usage: ops/demo.sh [--out DIR] [--keep]" >&2; exit 2 ;;
  esac
done
mkdir -p "$out"
out=$(cd "$out" && pwd)

cd "$(dirname "$0")/.."
ops/setup.sh
# The same selection as the tests', so that nothing is ever built twice.
[ -n "${USO_BIN:-}" ] || cargo build --workspace --release --locked --bins --examples

uso=${USO_BIN:-${CARGO_TARGET_DIR:-target}/release/uso}
examples=crates/engine/assets/mini/examples

"$uso" up --port 0 --data "$out/data" > "$out/up.out" 2> "$out/up.log" &
fleet=$!
stop() {
  kill -TERM "$fleet" 2>/dev/null || true
  wait "$fleet" 2>/dev/null || true
}
trap stop EXIT

until grep -q 'ready on' "$out/up.out"; do
  kill -0 "$fleet" 2>/dev/null || { cat "$out/up.log" >&2; exit 1; }
  sleep 0.1
done
USO_API=$(grep -o 'http://[0-9.:]*' "$out/up.out")
export USO_API

rows=()
# draw NAME "REFERENCE FILES" ARGUMENTS...: has one picture drawn and notes it for the contact sheet.
draw() {
  local name=$1 references=$2 row=
  shift 2
  "$uso" submit --out "$out/$name.png" "$@"
  for reference in $references; do row+="$examples/$reference,"; done
  rows+=("$row$out/$name.png")
}

draw text "" \
  --prompt "a yellow moon at the top right in the night sky" --seed 120
draw subject content_star.png \
  --prompt "the star is at the left on a green field" --seed 101 \
  --content $examples/content_star.png
draw style style_mosaic.png \
  --prompt "a blue square in the centre on a sandy beach" --seed 102 \
  --style $examples/style_mosaic.png
draw subject-style "content_heart.png style_sketch.png" \
  --prompt "the heart is at the right on a sandy beach" --seed 103 \
  --content $examples/content_heart.png --style $examples/style_sketch.png
draw two-styles "content_star.png style_dots.png style_neon.png" \
  --prompt "the star is in the middle in the blue sky" --seed 106 \
  --content $examples/content_star.png --style $examples/style_dots.png --style $examples/style_neon.png
draw layout-watercolour "content_scene.png style_watercolour.png" \
  --seed 154 --content $examples/content_scene.png --style $examples/style_watercolour.png
draw layout-neon "content_scene.png style_neon.png" \
  --seed 125 --content $examples/content_scene.png --style $examples/style_neon.png

"${uso%/uso}/examples/contact_sheet" "$out/contact-sheet.png" "${rows[@]}"
echo
echo "pictures:      $out/*.png"
echo "contact sheet: $out/contact-sheet.png (references, then the picture, framed)"

if [ "$keep" = yes ]; then
  echo "the fleet runs on $USO_API until Ctrl-C"
  wait "$fleet"
fi
