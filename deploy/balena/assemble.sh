#!/bin/sh
# Gathers what is pushed: `deploy/balena/assemble.sh OUT`, then `balena push FLEET --source OUT`.
# balena looks for the compose file, balena.yml and Dockerfile.<device-type> at the root.
set -eu
cd "$(dirname "$0")/../.."
out=$1
mkdir -p "$out"
[ -z "$(ls -A "$out")" ] || { echo "$out: not empty; choose another folder" >&2; exit 2; }
git archive HEAD pyproject.toml README.md requirements/edge.lock requirements/build.lock edge_agent \
  aggregator audit firmware/__init__.py firmware/device models/weights models/__init__.py \
  deploy/build deploy/balena | tar -x -C "$out"
cp "$out"/deploy/balena/docker-compose.yml "$out"/deploy/balena/balena.yml \
  "$out"/deploy/balena/Dockerfile.* "$out/"
echo "$out"
