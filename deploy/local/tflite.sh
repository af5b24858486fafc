#!/bin/sh
# .venv-tflite: the alternative runtime needs numpy 1, so it lives apart. Python 3.11 only.
set -eu
cd "$(dirname "$0")/../.."
lock=requirements/tflite.lock
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
  echo "tflite-runtime 2.14 has no wheel for $("$python" -V 2>&1); its tests need Python 3.11" >&2
  exit 0
fi
stamp=.venv-tflite/.installed
wanted=$(sha256sum <"$lock")
if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi
echo "Setting up .venv-tflite from $lock (once) …" >&2
rm -rf .venv-tflite
"$python" -m venv .venv-tflite
.venv-tflite/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r "$lock"
echo "$PWD" >"$(.venv-tflite/bin/python -c 'import site; print(site.getsitepackages()[0])')/dizaine.pth"
echo "$wanted" >"$stamp"
