#!/bin/sh
# Makes an update of a slot: `bundle.sh SIGNER-FOLDER ARCH VERSION ROOT.img BOOT.vfat OUT.raucb`.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/in"
ln "$4" "$work/in/root.img" 2>/dev/null || cp "$4" "$work/in/root.img"
ln "$5" "$work/in/boot.vfat" 2>/dev/null || cp "$5" "$work/in/boot.vfat"
cat >"$work/in/manifest.raucm" <<END
[update]
compatible=dizaine-$2
version=$3
[bundle]
format=verity
[image.rootfs]
filename=root.img
[image.boot]
filename=boot.vfat
END
printf '[system]\ncompatible=dizaine-%s\nbootloader=noop\n[keyring]\npath=%s\ncheck-purpose=codesign\n' \
  "$2" "$(realpath "$1/ca.pem")" >"$work/rauc.conf"
rm -f "$6"
rauc --conf="$work/rauc.conf" bundle --cert="$1/rauc.pem" --key="$1/rauc.key" "$work/in" "$6" \
  >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
