#!/bin/sh
# Runs inside the new root file system, once, while it is made.
set -eu
efi=$1
export SOURCE_DATE_EPOCH=$2
dpkg-query -W -f '${Package}=${Version}\n' | LC_ALL=C sort >/tmp/packages

systemd-sysusers
ln -sfn /data/dizaine/etc /etc/dizaine
ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
mkdir -p /data /boot/efi
printf dizaine >/etc/hostname
: >/etc/machine-id
rm -rf /var/lib/dbus/machine-id /etc/ssh /etc/.pwd.lock
usermod -s /usr/sbin/nologin -p '!' root

systemctl --quiet enable dizaine-site dizaine-join dizaine-health dizaine-button dizaine-vision.socket dizaine-vision \
  dizaine-publisher dizaine-renew.timer dizaine-update.timer \
  dizaine-night.timer dizaine-configuration.path systemd-networkd systemd-resolved \
  systemd-timesyncd systemd-time-wait-sync nftables
systemctl --quiet mask getty@.service serial-getty@.service console-getty.service getty.target \
  systemd-firstboot.service systemd-remount-fs.service swap.target systemd-pstore.service \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer systemd-logind.service debug-shell.service emergency.service rescue.service \
  systemd-networkd-wait-online.service kmod-static-nodes.service 2>/dev/null || true
systemctl --quiet unmask kmod-static-nodes.service

# Byte code, so that nothing has to be compiled on a read-only root.
python3 -m compileall -q --invalidation-mode unchecked-hash /opt/dizaine/lib /usr/lib/python3.13 || true

chmod 755 /etc/initramfs-tools/hooks/dizaine /etc/initramfs-tools/scripts/local-top/dizaine
sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=zstd/' /etc/initramfs-tools/initramfs.conf
version=$(basename /boot/vmlinuz-* | sed 's/^vmlinuz-//')
rm -f /boot/initrd.img-*
mkinitramfs -o "/boot/initrd.img-$version" "$version"

mkdir /tmp/boot
cat >/tmp/early.cfg <<'END'
search --no-floppy --file --set=esp /EFI/BOOT/grubenv
set root=$esp
set prefix=($esp)/EFI/BOOT
configfile $prefix/grub.cfg
END
grub-mkimage -O "$efi-efi" -o /tmp/boot/grub.efi -p /EFI/BOOT -c /tmp/early.cfg \
  part_gpt fat normal linux echo test loadenv search search_fs_file configfile regexp reboot sleep true
cp "/boot/vmlinuz-$version" /tmp/boot/vmlinuz
cp "/boot/initrd.img-$version" /tmp/boot/initrd.img
tar -C /tmp/boot -cf /tmp/boot.tar .
rm -rf /tmp/boot /tmp/early.cfg

# What a running device has no use for.
rm -rf /boot/vmlinuz-* /boot/initrd.img-* /boot/System.map-* /boot/config-* /usr/lib/grub /etc/grub.d \
  /var/cache/* /var/lib/apt /var/log/* /usr/share/initramfs-tools /etc/initramfs-tools \
  "/lib/modules/$version/kernel/sound" "/lib/modules/$version/kernel/drivers/gpu" \
  "/lib/modules/$version/kernel/drivers/infiniband" "/lib/modules/$version/kernel/drivers/isdn" \
  "/lib/modules/$version/kernel/drivers/scsi/qla2xxx" "/lib/modules/$version/kernel/fs/ocfs2" \
  "/lib/modules/$version/kernel/drivers/bluetooth" "/lib/modules/$version/kernel/net/bluetooth"
depmod -a "$version"
find /var -mindepth 1 -maxdepth 1 ! -name lib -exec rm -rf {} +
mkdir -p -m 1777 /var/tmp
mkdir -p /var/lib/dizaine /var/lib/systemd /var/log /var/cache
find /etc /usr -xdev -newermt "@$SOURCE_DATE_EPOCH" ! -type l -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
