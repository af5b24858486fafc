#!/bin/sh
# Builds the device's image and its update, without Docker: `firmware/image/build.sh amd64|arm64`.
#
#   out/image/ARCH/disk.img        what is written to a card, with disk.bmap beside it
#   out/image/ARCH/update.raucb    the same as an update
#   out/image/ARCH/BUILD.json      the agent's measurement      sbom.cdx.json  bill of materials
#   out/image/ARCH/packages.lock   Debian's packages            SHA256SUMS     of all of these
#
# VERSION=…      what the image calls itself (default: the commit)
# SIGNER=DIR     rauc.pem, rauc.key, and ca.pem that devices trust; without it, keys of development
#                are made in out/image/pki, and the image says so
# MIRROR=…       of Debian (default: that of this machine); a snapshot makes a build repeatable later
set -eu
cd "$(dirname "$0")/../.."
arch=${1:-amd64}
case $arch in
amd64) kernel=linux-image-amd64 efi=x86_64 boot=BOOTX64 console=console=ttyS0 platform=x86_64 ;;
arm64) kernel=linux-image-arm64 efi=arm64 boot=BOOTAA64 console=console=ttyAMA0 platform=aarch64 ;;
*) echo "expected amd64 or arm64, got $arch" >&2; exit 2 ;;
esac
suite=trixie
here=firmware/image
out=${OUT:-out/image/$arch}
mirror=${MIRROR:-http://deb.debian.org/debian}
security=${SECURITY_MIRROR:-http://deb.debian.org/debian-security}
version=${VERSION:-$(git describe --always --dirty 2>/dev/null || echo unknown)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)}
export SOURCE_DATE_EPOCH
say() { echo "[$(($(date +%s) - started)) s] $*" >&2; }
started=$(date +%s)

. deploy/local/apt.sh
need mmdebstrap squashfs-tools cryptsetup-bin genimage rauc mtools dosfstools bmap-tools e2fsprogs \
  zstd debian-archive-keyring qemu-user-static openssl python3-venv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# 1. Who signs updates.
if [ -z "${SIGNER:-}" ]; then
  SIGNER=out/image/pki
  [ -e $SIGNER/rauc.key ] || $here/keys.sh $SIGNER
  version="$version-development"
fi

# 2. The agent: pinned wheels with their hashes, for the device's machine and its Python.
say "agent: wheels for $platform"
lib=$work/opt/lib/python3.13/site-packages
mkdir -p "$lib" "$work/opt/bin"
pip() { "$work/pip/bin/python" -m pip --disable-pip-version-check "$@"; }
python3 -m venv "$work/pip"
tags=""
for glibc in 17 24 27 28 31 34 35; do tags="$tags --platform manylinux_2_${glibc}_$platform"; done
pip install -qq --require-hashes -r requirements/build.lock
pip wheel -q --no-deps --no-build-isolation -w "$work" .
# shellcheck disable=SC2086
pip install -qq --target "$lib" --no-compile --only-binary=:all: --python-version 3.13 --no-deps \
  --implementation cp --abi cp313 --abi abi3 --abi none --platform manylinux2014_$platform $tags \
  --require-hashes -r requirements/edge.lock
pip install -qq --target "$lib" --no-compile --no-deps --upgrade "$work"/dizaine-*.whl
mv "$lib/share" "$work/opt/share"
rm -rf "$lib/bin" "$lib/aggregator" "$lib/firmware" "$lib/audit"
ln -s /usr/bin/python3.13 "$work/opt/bin/python3"
ln -s python3 "$work/opt/bin/python"
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.13\n' >"$work/opt/pyvenv.cfg"
printf '#!/opt/dizaine/bin/python3 -I\nimport sys\nfrom edge_agent.__main__ import main\nsys.exit(main())\n' \
  >"$work/opt/bin/dizaine-agent"
chmod 755 "$work/opt/bin/dizaine-agent"
# What pip notes of its own: programs with this build's path in them, which are not installed.
rm -f "$lib"/*.dist-info/direct_url.json
sed -i '/^\.\.\//d; /direct_url\.json/d' "$lib"/*.dist-info/RECORD
python3 deploy/build/manifest.py "$out/BUILD.json" "$work/opt"

# 3. Debian, with everything of ours laid over it.
say "Debian $suite for $arch"
cp -r $here/overlay "$work/overlay"
mkdir -p "$work/overlay/usr/lib/sysusers.d"
cp firmware/units/*.service firmware/units/*.socket "$work/overlay/usr/lib/systemd/system/"
cp firmware/units/dizaine.sysusers.conf "$work/overlay/usr/lib/sysusers.d/dizaine.conf"
install -m 755 $here/slots.py "$work/overlay/usr/lib/dizaine/slots"
install -m 755 $here/button.py "$work/overlay/usr/lib/dizaine/button"
cp "$SIGNER/ca.pem" "$work/overlay/etc/rauc/keyring.pem"
sed -i "s/@ARCH@/$arch/" "$work/overlay/etc/rauc/system.conf"
printf 'VERSION=%s\nARCH=%s\n' "$version" "$arch" >"$work/overlay/usr/lib/dizaine/release"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
  -C "$work/overlay" -cf "$work/overlay.tar" .
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
  --transform 's,^\.,./opt/dizaine,' -C "$work/opt" -cf "$work/opt.tar" .
packages=$(sed 's/#.*//' $here/packages.txt | xargs | tr ' ' ,)
python3 $here/foreign.py "$arch" mmdebstrap --variant=minbase --architectures="$arch" --format=tar \
  --include="$packages,$kernel,grub-efi-$arch-bin" \
  --aptopt='Apt::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --customize-hook="tar-in $work/overlay.tar /" --customize-hook="tar-in $work/opt.tar /" \
  --customize-hook="upload $here/initramfs/hook /etc/initramfs-tools/hooks/dizaine" \
  --customize-hook="upload $here/initramfs/verity /etc/initramfs-tools/scripts/local-top/dizaine" \
  --customize-hook="upload $here/initramfs/modules /etc/initramfs-tools/modules" \
  --customize-hook="upload $here/inside.sh /inside.sh" \
  --customize-hook='chroot "$1" sh /inside.sh '"$efi $SOURCE_DATE_EPOCH" \
  --customize-hook="download /tmp/boot.tar $work/boot.tar" \
  --customize-hook="download /tmp/packages $work/packages.lock" \
  --customize-hook='rm -rf "$1"/inside.sh "$1"/tmp/boot.tar "$1"/tmp/packages' \
  $suite "$work/root.tar" \
  "deb $mirror $suite main" "deb $mirror $suite-updates main" "deb $security $suite-security main" \
  >"$work/mmdebstrap.log" 2>&1 || { tail -30 "$work/mmdebstrap.log" >&2; exit 1; }
cp "$work/packages.lock" "$out/packages.lock"
if [ -e $here/packages.$arch.lock ] && ! cmp -s "$out/packages.lock" $here/packages.$arch.lock; then
  echo "differs from $here/packages.$arch.lock, the packages of the last release:" >&2
  diff $here/packages.$arch.lock "$out/packages.lock" | grep '^[<>]' >&2 || true
fi

# 4. A slot.
say "slot"
mksquashfs - "$work/root.img" -tar -comp zstd -Xcompression-level 15 -noappend -no-progress -quiet \
  <"$work/root.tar" >/dev/null
mkdir -p "$work/boot"
tar -xf "$work/boot.tar" -C "$work/boot"
hash=$($here/slot.sh "$work/root.img" "$work/boot" "$work/boot.vfat" "$arch $version")
uuid() { printf '%s %s %s' "$arch" "$version" "$1" | sha256sum |
  sed -E 's/(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-4\3-8\4-\5/'; }
fat() { # FILE SIZE LABEL ID
  truncate -s "$2" "$1"
  mkfs.vfat --invariant -n "$3" -i "$4" "$1" >/dev/null
}
fat "$work/empty.vfat" 128M BOOT 00000b01

# 5. The disk.
say "disk"
mkdir -p "$work/esp/EFI/BOOT" "$work/esp/dizaine"
cp "$work/boot/grub.efi" "$work/esp/EFI/BOOT/$boot.EFI"
sed "s/@CONSOLE@/$console/" $here/grub.cfg >"$work/esp/EFI/BOOT/grub.cfg"
python3 -I -c "
import runpy; slots = runpy.run_path('$here/slots.py', run_name='slots')
open('$work/esp/EFI/BOOT/grubenv', 'wb').write(slots['block']({'committed': 'A', 'trial': '', 'tries': ''}))"
printf '# NTP=ntp.example.net\n' >"$work/esp/dizaine/site.conf"
find "$work/esp" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
fat "$work/esp.vfat" 64M DIZAINE 00000e00
mcopy -s -m -i "$work/esp.vfat" "$work/esp/EFI" "$work/esp/dizaine" ::
mkdir -p "$work/data/dizaine/etc" "$work/data/dizaine/identity" "$work/data/systemd" "$work/data/rauc"
chmod 700 "$work/data/dizaine/identity"
find "$work/data" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
truncate -s 512M "$work/data.ext4"
E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -t ext4 -L data -U "$(uuid data)" \
  -E "hash_seed=$(uuid seed),root_owner=0:0" -d "$work/data" "$work/data.ext4"
# mke2fs copies the instant at which its source was made, which nobody can set.
find "$work/data" -mindepth 1 -type d -printf "set_inode_field %P ctime @$SOURCE_DATE_EPOCH\n" |
  E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH debugfs -w -f - "$work/data.ext4" >/dev/null 2>&1
sed -e "s/@DISK_UUID@/$(uuid disk)/" -e "s/@UUID1@/$(uuid 1)/" -e "s/@UUID2@/$(uuid 2)/" \
  -e "s/@UUID3@/$(uuid 3)/" -e "s/@UUID4@/$(uuid 4)/" -e "s/@UUID5@/$(uuid 5)/" \
  -e "s/@UUID6@/$(uuid 6)/" $here/genimage.cfg >"$work/genimage.cfg"
mkdir "$work/empty"
genimage --rootpath "$work/empty" --tmppath "$work/tmp" --inputpath "$work" --outputpath "$work/disk" \
  --config "$work/genimage.cfg" >"$work/genimage.log" 2>&1 || { cat "$work/genimage.log" >&2; exit 1; }
cp --sparse=always "$work/disk/disk.img" "$out/disk.img"
bmaptool -q create -o "$out/disk.bmap" "$out/disk.img"

# 6. The update.
say "update"
$here/bundle.sh "$SIGNER" "$arch" "$version" "$work/root.img" "$work/boot.vfat" "$out/update.raucb"
printf '%s\n' "$hash" >"$out/root.hash"
python3 $here/sbom.py "$arch" "$version" "$out/packages.lock" "$lib" >"$out/sbom.cdx.json"
printf '{"arch": "%s", "version": "%s"}\n' "$arch" "$version" >"$out/release.json"
(cd "$out" && sha256sum disk.bmap release.json root.hash packages.lock BUILD.json sbom.cdx.json \
  update.raucb >SHA256SUMS)
openssl dgst -sha256 -sign "$SIGNER/rauc.key" -out "$out/SHA256SUMS.sig" "$out/SHA256SUMS"
cp "$SIGNER/rauc.pem" "$out/signer.pem"
say "done: $out/disk.img, $(du -h "$out/disk.img" | cut -f1) of $(du -h --apparent-size "$out/disk.img" | cut -f1)"
