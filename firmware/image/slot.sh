#!/bin/sh
# Makes a slot of a squashfs: appends its hash tree (dm-verity) to it, and writes the boot partition
# that names the root hash. `slot.sh ROOT.img BOOT-FOLDER OUT.vfat NAME` prints the root hash.
set -eu
root=$1 boot=$2 out=$3
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-1767225600}"
salt=$(printf 'dizaine %s' "$4" | sha256sum | cut -c1-64)
size=$(stat -c %s "$root")
offset=$(((size + 4095) / 4096 * 4096))
truncate -s "$offset" "$root"
hash=$(veritysetup format --hash-offset="$offset" --salt="$salt" \
  --uuid=d12a14e0-0000-4000-8000-000000000001 "$root" "$root" | awk '/Root hash/{print $3}')
veritysetup verify --hash-offset="$offset" "$root" "$root" "$hash"
printf 'set vhash=%s\nset voff=%s\n' "$hash" "$offset" >"$boot/verity.cfg"
rm -f "$out"
truncate -s 128M "$out"
mkfs.vfat --invariant -n BOOT -i 00000b00 "$out" >/dev/null
for name in vmlinuz initrd.img verity.cfg; do
  touch -d "@$SOURCE_DATE_EPOCH" "$boot/$name"
  mcopy -m -i "$out" "$boot/$name" "::$name"
done
echo "$hash"
