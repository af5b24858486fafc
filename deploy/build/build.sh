#!/bin/sh
# `make build`: what a device installs, pinned, with its bill of materials and its measurement.
#   OUT/venv           the program and its libraries, as on a device of this kind of machine
#   OUT/sbom.cdx.json  CycloneDX: every library, its version, licence and hashes
#   OUT/BUILD.json     the measurement; a copy lies in the program, which refuses to run as another
set -eu
cd "$(dirname "$0")/../.."
out=${1:-out/build}
mkdir -p "$out"
rm -rf "$out/venv" "$out"/dizaine-*.whl
echo "Installing requirements/edge.lock …"
python3 -m venv "$out/venv"
"$out/venv/bin/pip" install -qq --disable-pip-version-check --require-hashes -r requirements/edge.lock
python3 -m venv "$out/builder"
"$out/builder/bin/pip" install -qq --disable-pip-version-check --require-hashes -r requirements/build.lock
"$out/builder/bin/pip" wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w "$out" .
"$out/venv/bin/pip" install -qq --disable-pip-version-check --no-deps "$out"/dizaine-*.whl
rm -rf "$out/builder"
"$out/venv/bin/python" deploy/build/manifest.py "$out/BUILD.json"
echo "Writing the bill of materials …"
if [ ! -x .venv-sbom/bin/cyclonedx-py ]; then
  python3 -m venv .venv-sbom
  .venv-sbom/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements/sbom.lock
fi
.venv-sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
  --of JSON -o "$out/sbom.cdx.json" "$out/venv/bin/python"
"$out/venv/bin/dizaine-agent" measure >/dev/null
