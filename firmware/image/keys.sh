#!/bin/sh
# Makes keys that sign updates: `keys.sh FOLDER`. ca.key belongs offline.
set -eu
umask 077
mkdir -p "$1"
cd "$1"
[ ! -e ca.key ] || { echo "$1/ca.key: is there already; choose another folder" >&2; exit 2; }
openssl req -x509 -newkey rsa:3072 -nodes -sha256 -days 7300 -subj "/O=Dizaine/CN=updates root" \
  -keyout ca.key -out ca.pem 2>/dev/null
openssl req -newkey rsa:3072 -nodes -sha256 -subj "/O=Dizaine/CN=updates signer" \
  -keyout rauc.key -out rauc.csr 2>/dev/null
printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,codeSigning\n' >ext
openssl x509 -req -in rauc.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1095 -sha256 \
  -extfile ext -out rauc.pem 2>/dev/null
rm -f ext rauc.csr ca.srl
