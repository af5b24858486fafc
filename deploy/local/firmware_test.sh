#!/bin/sh
# `make firmware-test ARCH=amd64|arm64`: builds the image where it is not built yet, and tells a
# device's life in qemu.
set -eu
cd "$(dirname "$0")/../.."
. deploy/local/apt.sh
arch=${ARCH:-amd64}
case $arch in
amd64) machine="qemu-system-x86 ovmf swtpm" ;;
arm64) machine="qemu-system-arm qemu-efi-aarch64" ;;
*) echo "expected amd64 or arm64, got $arch" >&2; exit 2 ;;
esac
# shellcheck disable=SC2086
need $machine mosquitto mtools dosfstools e2fsprogs squashfs-tools rauc fdisk openssl
[ -e "out/image/$arch/disk.img" ] || firmware/image/build.sh "$arch"
exec .venv/bin/python -m tests.firmware.story --arch "$arch" "$@"
