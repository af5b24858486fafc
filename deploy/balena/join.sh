#!/bin/sh
# Enrols this device with the claim in its service variable, once; then each process gets what is its own.
set -eu
umask 077
if [ ! -e /config/agent.toml ]; then
  [ -n "${DIZAINE_CLAIM:-}" ] || { echo "set the variable DIZAINE_CLAIM of this device to its claim (JSON)"; exit 1; }
  printf '%s' "$DIZAINE_CLAIM" >/tmp/claim.json
  dizaine-agent enrol --claim /tmp/claim.json --identity /identity --folder /config
fi
dizaine-agent renew --identity /identity || true
# 870 is vision, 871 the publisher, and 870 the group by which they know each other.
chown 0:870 /identity /config /run/dizaine
chmod 750 /identity /config
chmod 770 /run/dizaine
chown 870:870 /identity/signing-key
chown -R 871:870 /identity/tls-* /var/lib/dizaine
chmod 755 /config/*
