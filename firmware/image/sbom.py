"""Writes the image's bill of materials, CycloneDX 1.6: Debian's packages and Python's wheels.

`sbom.py ARCH VERSION packages.lock SITE-PACKAGES`
"""

import json
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any


def main(arch: str, version: str, packages: str, site: str) -> None:
    """Print it."""
    parts: list[dict[str, Any]] = []
    for line in Path(packages).read_text().splitlines():
        name, number = line.split("=", 1)
        purl = f"pkg:deb/debian/{name}@{number}?arch={arch}&distro=debian-13"
        parts.append({"type": "library", "name": name, "version": number, "purl": purl})
    for found in sorted(metadata.distributions(path=[site]), key=lambda d: d.name.lower()):
        purl = f"pkg:pypi/{found.name.lower()}@{found.version}"
        part: dict[str, Any] = {
            "type": "library",
            "name": found.name,
            "version": found.version,
            "purl": purl,
        }
        licence = found.metadata["License-Expression"] or found.metadata["License"]
        if licence and len(licence) < 100:
            part["licenses"] = [{"license": {"name": licence}}]
        parts.append(part)
    for part in parts:
        part["bom-ref"] = part["purl"]
    made = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'dizaine/{arch}/{version}')}",
        "metadata": {
            "component": {
                "type": "operating-system", "name": "dizaine-image", "version": version,
                "bom-ref": "dizaine-image",
            }
        },
        "components": parts,
    }  # fmt: skip
    print(json.dumps(made, indent=1, sort_keys=True))  # noqa: T201 - its answer


if __name__ == "__main__":
    main(*sys.argv[1:])
