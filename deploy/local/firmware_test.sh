#!/bin/sh
# `make firmware-test`: builds the image where it is not built yet, and tells a device's life in qemu.
set -eu
cd "$(dirname "$0")/../.."
. deploy/local/apt.sh
need mosquitto qemu-system-x86 ovmf mtools dosfstools e2fsprogs squashfs-tools rauc fdisk openssl
[ -e out/image/amd64/disk.img ] || firmware/image/build.sh amd64
exec .venv/bin/python -m tests.firmware.story "$@"
