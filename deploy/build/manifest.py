"""Measures the installed program and seals it as a production build.

Run with the Python of the installation: `OUT/venv/bin/python deploy/build/manifest.py BUILD.json`;
or, where that is for another machine, with any Python and the installation's prefix as a second
argument.
"""

import json
import sys
from pathlib import Path

if len(sys.argv) > 2:
    sys.prefix = sys.argv[2]
    [site] = Path(sys.prefix).glob("lib/python*/site-packages")
    sys.path[:] = [str(site), *(path for path in sys.path if not path.endswith("-packages"))]

from edge_agent.measure import MANIFEST, measure


def main() -> None:
    """Write the manifest where it is asked for, and into the program."""
    if "site-packages" not in MANIFEST.parts:
        sys.exit("expected the Python of an installation, got that of a checkout")
    MANIFEST.unlink(missing_ok=True)
    text = json.dumps({"manifest": measure().manifest}, indent=1, sort_keys=True) + "\n"
    for path in (MANIFEST, Path(sys.argv[1])):
        path.write_text(text)
    build = measure()
    print(f"build {build.fingerprint}, {len(build.manifest)} parts, production {build.production}")


if __name__ == "__main__":
    main()
