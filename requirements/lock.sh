#!/bin/sh
# Pins everything again. Needs uv (pip install uv); nobody else does: installing takes pip alone.
set -eu
cd "$(dirname "$0")"
lock() {
  out=$1
  shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
    --constraint constraints.txt "$@" --output-file "$out"
}
lock main.lock ../pyproject.toml build.in --extra edge --extra edge-onnx --extra aggregator --extra technician --extra demo --extra test "$@"
lock edge.lock ../pyproject.toml --extra edge "$@"
lock build.lock build.in "$@"
lock sbom.lock sbom.in "$@"
lock tflite.lock ../pyproject.toml --extra edge-tflite --extra test "$@"
lock peers.lock peers.in "$@"
lock train.lock train.in "$@"
