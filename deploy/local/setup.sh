#!/bin/sh
# Creates .venv from the lock file: all that `make demo` and `make test` need of Python.
set -eu
cd "$(dirname "$0")/../.."
lock=requirements/main.lock
stamp=.venv/.installed
wanted=$(cat "$lock" pyproject.toml | sha256sum)
if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "dizaine needs Python 3.11 or later, and $python is $("$python" -V 2>&1); install one, or set PYTHON=…" >&2
  exit 2
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  . deploy/local/apt.sh
  need "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
fi
echo "Setting up .venv from $lock (once; about a minute) …" >&2
rm -rf .venv
"$python" -m venv .venv
.venv/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r "$lock"
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps \
  --no-build-isolation --editable .
echo "$wanted" >"$stamp"
