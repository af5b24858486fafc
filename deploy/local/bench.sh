#!/bin/sh
# `make bench`: ours beside the peers, then where time goes.
set -eu
cd "$(dirname "$0")/../.."
lock=requirements/peers.lock
stamp=.venv-peers/.installed
wanted=$(sha256sum <"$lock")
if ! { [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; }; then
  echo "Setting up .venv-peers from $lock (once) …" >&2
  rm -rf .venv-peers
  "${PYTHON:-python3}" -m venv .venv-peers
  .venv-peers/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r "$lock"
  echo "$wanted" >"$stamp"
fi
.venv/bin/python -m models.bench_counting "$@"
exec .venv/bin/python -m models.bench_measures
