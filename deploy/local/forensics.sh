#!/bin/sh
# `make forensics`: looks from outside for a marked frame in memory, core dumps, logs and folders.
set -eu
cd "$(dirname "$0")/../.."
. deploy/local/apt.sh
need mosquitto procps gdb python3-gi \
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly
deploy/local/tflite.sh
exec .venv/bin/pytest -q -s -m forensics -W ignore::UserWarning "$@"
