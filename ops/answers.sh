#!/bin/bash
# Whether this machine answers a GET with 200; the image has no other client for HTTP.
#   answers PORT PATH
set -euo pipefail
exec 3<> "/dev/tcp/127.0.0.1/$1"
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&3
read -r _ status _ <&3
[ "$status" = 200 ]
