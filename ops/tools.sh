# Tools that only tests need; to be sourced.

as_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# Several scripts may need something at once, and apt-get takes one caller.
install_package() {
  as_root || return
  (
    flock 9
    apt-get update -qq -o Acquire::Retries=0 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"
  ) 9>"${TMPDIR:-/tmp}/uso-apt.lock" >/dev/null 2>&1
}

# Makes a Python environment in which a line of Python holds, from packages; fails where they cannot be had.
#   python_tools DIR LINE PACKAGE...
python_tools() {
  local dir=$1 line=$2
  shift 2
  "$dir/bin/python" -c "$line" 2>/dev/null && return
  python3 -m venv "$dir" >/dev/null 2>&1 || { install_package python3-venv && python3 -m venv "$dir" >/dev/null 2>&1; } || return
  "$dir/bin/pip" install -q --retries 1 "$@" >/dev/null 2>&1 && "$dir/bin/python" -c "$line" 2>/dev/null
}
