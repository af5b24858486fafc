#!/bin/sh
# Builds the image twice and names what differs: `firmware/image/reproduce.sh amd64|arm64`.
set -eu
cd "$(dirname "$0")/../.."
arch=${1:-amd64}
VERSION=${VERSION:-$(git describe --always --dirty 2>/dev/null || echo unknown)}
export VERSION
for n in 1 2; do OUT=out/reproduce/$n firmware/image/build.sh "$arch"; done
status=0
for name in disk.img root.hash packages.lock BUILD.json sbom.cdx.json; do
  if cmp -s "out/reproduce/1/$name" "out/reproduce/2/$name"; then
    echo "same     $name  $(sha256sum <"out/reproduce/1/$name" | cut -c1-16)"
  else
    echo "differs  $name"
    status=1
  fi
done
echo "update.raucb carries the time of its signature, and so always differs"
exit $status
