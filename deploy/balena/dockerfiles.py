"""Writes `Dockerfile.<device-type>`: one text, and what a board needs besides.

`python -m deploy.balena.dockerfiles` writes them all; a test says when they are out of date.
"""

from pathlib import Path

HERE = Path(__file__).parent
BASE = "debian:trixie-slim"
_TEXT = """# {name}. Written by dockerfiles.py; change that, not this.
FROM {base}
SHELL ["/bin/sh", "-eu", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \\
 && apt-get install -y --no-install-recommends \\
  ca-certificates python3-minimal python3-venv tzdata \\
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . /src
RUN python3 -m venv /opt/builder \\
 && /opt/builder/bin/pip install --no-cache-dir --require-hashes -r requirements/build.lock \\
 && /opt/builder/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation -w /tmp/wheel . \\
 && python3 -m venv /opt/dizaine \\
 && /opt/dizaine/bin/pip install --no-cache-dir --require-hashes -r requirements/edge.lock \\
 && /opt/dizaine/bin/pip install --no-cache-dir --no-deps /tmp/wheel/dizaine-*.whl \\
 && /opt/dizaine/bin/python deploy/build/manifest.py /opt/dizaine/BUILD.json \\
 && cp deploy/balena/join.sh deploy/balena/start.sh /opt/dizaine/ \\
 && rm -rf /opt/builder /tmp/wheel /src/*
{more}ENV PATH=/opt/dizaine/bin:$PATH
WORKDIR /
CMD ["/opt/dizaine/start.sh", "vision"]
"""
_CORAL = """# The accelerator's library is not in Debian: its package goes beside this file.
COPY libedgetpu1-std.deb* /tmp/deb/
RUN if ls /tmp/deb/*.deb >/dev/null 2>&1; then dpkg -i /tmp/deb/*.deb; fi; rm -rf /tmp/deb
"""
_JETSON = """# NVIDIA's onnxruntime-gpu comes from its own index: its wheel is put beside this file.
COPY onnxruntime_gpu*.whl* /tmp/wheel/
RUN if ls /tmp/wheel/*.whl >/dev/null 2>&1; then \\
 /opt/dizaine/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl; fi; rm -rf /tmp/wheel
"""
BOARDS = {
    "raspberrypi4-64": "", "raspberrypi5": "", "coral-dev": _CORAL, "jetson-nano": _JETSON,
    "jetson-orin-nano-devkit-nvme": _JETSON,
}  # fmt: skip


def texts() -> dict[Path, str]:
    """Return what each file should say."""
    return {
        HERE / f"Dockerfile.{name}": _TEXT.format(name=name, base=BASE, more=more)
        for name, more in BOARDS.items()
    }


def main() -> None:
    """Write them."""
    for path, text in texts().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
