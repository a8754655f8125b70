#!/usr/bin/env bash
# Tests the web page of a real fleet with a real browser. Needs target/release/uso; installs the rest.
#   ops/test-page.sh [arguments of pytest]     USO_SHOTS=DIR keeps a screenshot of each test;
#   USO_PAGE=crates/api/assets/page uses the files there in place of those in the binary
set -euo pipefail
cd "$(dirname "$0")/.."

. ops/tools.sh
skip() { echo "SKIPPED: page: $*"; exit 0; }

uso=${USO_BIN:-${CARGO_TARGET_DIR:-target}/release/uso}
[ -x "$uso" ] || { echo "there is no $uso: cargo build --workspace --release --locked" >&2; exit 1; }

browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
# Ubuntu's package only refers to another packaging system, so check whether there is a browser after it.
browser >/dev/null || install_package chromium || true
USO_CHROMIUM=$(browser) || skip "Chromium is not installed and cannot be"
export USO_CHROMIUM
# The browser may be installed without the libraries that it needs to load a page.
timeout 120 "$USO_CHROMIUM" --headless --no-sandbox --disable-dev-shm-usage --dump-dom about:blank >/dev/null 2>&1 ||
  skip "$USO_CHROMIUM does not run"

# The tests compare the page's layout with each of these fonts alone and with both.
for font in dejavu-core:DejaVuSans liberation:LiberationSans-Regular; do
  [ -n "$(find /usr/share/fonts -name "${font#*:}.ttf" 2>/dev/null)" ] || install_package "fonts-${font%:*}" || true
done

# Playwright only drives the browser; its own browsers are not installed.
tools=${CARGO_TARGET_DIR:-target}/page-tools
python_tools "$tools" 'import playwright, pytest' 'playwright==1.*' 'pytest==8.*' ||
  skip "the Python packages playwright and pytest cannot be had"

work=$(mktemp -d)
stop() {
  ops/fleet.sh stop "$work" || true
  rm -rf "$work"
}
trap stop EXIT
# The origin of a page of another site.
USO_ELSEWHERE=http://127.0.0.1:$("$tools/bin/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
USO_BASE_URL=$(ops/fleet.sh start "$work" --cors-origin "$USO_ELSEWHERE")
export USO_BASE_URL USO_ELSEWHERE USO_FLEET_DIR=$work PYTHONDONTWRITEBYTECODE=1

"$tools/bin/python" -m pytest -q -rs -p no:cacheprovider ops/page "$@"
