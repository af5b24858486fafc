#!/bin/sh
# `make test`: installs the real servers and browser that the tests talk to, then runs everything.
set -eu
cd "$(dirname "$0")/../.."
bin=.venv/bin

echo "== format, lint, types, walls"
$bin/ruff format --check --quiet .
$bin/ruff check --quiet .
$bin/lint-imports --no-cache >/dev/null || $bin/lint-imports --no-cache
$bin/mypy
[ "${1:-}" != --check ] || exit 0

echo "== servers"
. deploy/local/apt.sh
need mosquitto postgresql chromium procps gdb strace rabbitmq-server kannel kannel-extras gammu-smsd \
  systemd-container swtpm mtools dosfstools openssl \
  python3-gi gir1.2-gst-rtsp-server-1.0 \
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly
deploy/local/tflite.sh
# balena's own reader is JavaScript; without npm its one test is skipped, and says so.
timeout 60 npm ci --silent --ignore-scripts --fetch-retries 0 --prefix tests/contract/balena \
  >/dev/null 2>&1 || true

echo "== tests"
# Side by side; but what measures time, or what is left after a frame, runs alone.
$bin/pytest -q -n 2 --dist worksteal -W ignore::UserWarning -m "not alone and not forensics" "$@"
$bin/pytest -q -s -W ignore::UserWarning -m "alone or forensics" "$@"
if [ -d .venv-tflite ]; then
  .venv-tflite/bin/python -m pytest -q tests/contract/test_runtimes.py
fi
