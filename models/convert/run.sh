#!/bin/sh
# `make models`: TensorFlow lives in an environment of its own.
set -eu
cd "$(dirname "$0")/../.."
lock=requirements/train.lock
stamp=.venv-train/.installed
wanted=$(sha256sum <"$lock")
if ! { [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; }; then
  echo "Setting up .venv-train from $lock (once; 2 GB) …" >&2
  rm -rf .venv-train
  "${PYTHON:-python3}" -m venv .venv-train
  .venv-train/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r "$lock"
  echo "$wanted" >"$stamp"
fi
export TF_CPP_MIN_LOG_LEVEL=3
.venv-train/bin/python -m models.convert.person "$@"
.venv-train/bin/python -m models.convert.face "$@"
exec .venv-train/bin/python -m models.train.mask "$@"
