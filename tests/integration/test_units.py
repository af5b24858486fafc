"""Both processes as their units start them, under a real systemd in a container of its own.

The manager boots on this machine's own programs (`systemd-nspawn --volatile`), so that nothing has
to be built. It takes root; where that is missing, `make firmware-test` shows the same in qemu.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Town

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "firmware/units"
VENV = Path(sys.prefix)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="booting a systemd takes root"),
    pytest.mark.skipif(not shutil.which("systemd-nspawn"), reason="systemd-nspawn is missing"),
]

PREPARE = """
set -e
mkdir -p -m 700 /var/lib/dizaine/identity /var/lib/dizaine/identity/tls
systemd-creds setup
systemd-creds encrypt --with-key=host --name=signing-key /in/signing-key.pem \
  /var/lib/dizaine/identity/signing-key
echo none | systemd-creds encrypt --with-key=host --name=client-key - \
  /var/lib/dizaine/identity/tls/client-key
touch /var/lib/dizaine/identity/tls/certificate.pem
"""


class Box:
    """A container with a systemd that runs our units."""

    def __init__(self, folder: Path, camera: Path) -> None:
        self.folder = folder
        self._out, self._in = folder / "out", folder / "in"
        for path in (self._out, self._in):
            path.mkdir()
        self._in.chmod(0o755)
        shutil.copy(camera, self._in / "film.avi")
        shutil.copy(Path(__file__).with_name("unit_probe.py"), self._in / "probe.py")
        (self._in / "prepare.sh").write_text(PREPARE)
        self.process: subprocess.Popen[bytes] | None = None

    def boot(self, port: int, signing_key: Path, config: str) -> None:
        """Start the manager; it begins the units by itself, as after a cold start."""
        shutil.copy(signing_key, self._in / "signing-key.pem")
        (self._in / "agent.toml").write_text(config)
        etc = self._in / "system"
        etc.mkdir()
        for unit in UNITS.glob("dizaine-*.s*"):
            shutil.copy(unit, etc)
        for name in ("vision", "publisher"):
            own = (UNITS / f"dizaine-{name}.service").read_text()
            replaced = ("ExecStart", "Restart", "Type", "Requires", "[Install]", "WantedBy")
            lines = [line for line in own.splitlines() if not line.startswith(replaced)]
            probe = f"{VENV}/bin/python /in/probe.py {port}"
            lines.insert(
                lines.index("[Service]") + 1,
                f"Type=oneshot\nExecStart={probe}\nStandardOutput=truncate:/out/probe-{name}.json",
            )
            (etc / f"probe-{name}.service").write_text("\n".join(lines))
        python = self._visible_programs()
        # A checkout in /tmp: there the unit sees nothing, so that ours would not be there either.
        own_tmp = ""
        if any(Path("/tmp") in path.parents for path in (ROOT, VENV)):
            own_tmp = "InaccessiblePaths=\nTemporaryFileSystem=/tmp:ro\n"
            own_tmp += "InaccessiblePaths=-/var/tmp -/var/lib/dizaine/identity\n"
        for name in ("dizaine-vision", "dizaine-publisher", "probe-vision", "probe-publisher"):
            drop_in = etc / f"{name}.service.d"
            drop_in.mkdir()
            (drop_in / "test.conf").write_text(
                "[Unit]\nRequires=prepare.service\nAfter=prepare.service\n"
                f"[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths={python}\n" + own_tmp
            )
        (drop_in.parent / "dizaine-vision.service.d/unsafe.conf").write_text(
            "[Service]\nExecStart=\nExecStart=/opt/dizaine/bin/dizaine-agent run --part vision"
            " --config /etc/dizaine/agent.toml --unsafe-development\n"
            "StandardError=append:/out/vision.log\n"
        )
        (drop_in.parent / "dizaine-publisher.service.d/unsafe.conf").write_text(
            "[Service]\nExecStart=\nExecStart=/opt/dizaine/bin/dizaine-agent run --part publisher"
            " --config /etc/dizaine/agent.toml --unsafe-development\n"
            "StandardError=append:/out/publisher.log\n"
        )
        (etc / "prepare.service").write_text(
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh /in/prepare.sh\n"
            "StandardOutput=truncate:/out/prepare.log\nStandardError=inherit\n"
        )
        (etc / "systemd-firstboot.service").symlink_to("/dev/null")
        wants = etc / "multi-user.target.wants"
        wants.mkdir()
        for name in ("dizaine-vision", "dizaine-publisher", "probe-vision", "probe-publisher"):
            (wants / f"{name}.service").symlink_to(f"../{name}.service")
        programs = {str(VENV), str(ROOT), sys.base_prefix} - {"/usr"}
        command = [
            "systemd-nspawn", "--quiet", "--keep-unit", "--register=no", "--directory=/",
            "--volatile=yes", "--boot", f"--bind={self._out}:/out", f"--bind-ro={self._in}:/in",
            f"--bind-ro={etc}:/etc/systemd/system",
            f"--bind-ro={self._in}/agent.toml:/etc/dizaine/agent.toml",
            f"--bind-ro={UNITS}/dizaine.sysusers.conf:/etc/sysusers.d/dizaine.conf",
            f"--bind-ro={VENV}:/opt/dizaine", "--bind=/dev/null:/dev/video9",
            "--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self",
            *(f"--bind-ro={path}" for path in sorted(programs)),
            "--setenv=SYSTEMD_LOG_TARGET=console", "systemd.unit=multi-user.target",
            "systemd.journald.forward_to_console=1",
        ]  # fmt: skip
        with (self.folder / "console.log").open("wb") as console:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )

    def _visible_programs(self) -> str:
        """Return what of Python and of this checkout lies in a home, which units do not see."""
        homes = (Path("/home"), Path("/root"), Path("/tmp"))
        needed = {Path(sys.base_prefix), VENV, ROOT}
        hidden = sorted(str(p) for p in needed if any(h in (p, *p.parents) for h in homes))
        return " ".join(hidden)

    def read(self, name: str) -> str:
        path = self._out / name
        return path.read_text() if path.exists() else ""

    def found(self, name: str) -> dict[str, str]:
        """Return what a probe found, once it has."""
        deadline = time.monotonic() + 30
        while not self.read(f"probe-{name}.json").strip().endswith("}"):
            assert time.monotonic() < deadline, (self.folder / "console.log").read_text()[-3000:]
            time.sleep(0.2)
        found: dict[str, str] = json.loads(self.read(f"probe-{name}.json"))
        return found

    def stop(self) -> None:
        if self.process is None:
            return
        # With its first process the container's whole namespace ends; nspawn alone would leave it.
        pid = str(self.process.pid)
        inside = subprocess.run(["pgrep", "-P", pid], capture_output=True, text=True, check=False)
        for leader in inside.stdout.split():
            os.kill(int(leader), signal.SIGKILL)
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Box, Town]]:
    """Yield a booted container, and the city that its device speaks to."""
    folder = tmp_path_factory.mktemp("units")
    folder.chmod(0o755)
    town = Town(folder)
    town.broker.start()
    town.aggregator.start()
    film = folder / "grey.avi"
    _write_film(film)
    town.device("bus-1", film, fps=0.25)
    lines = town.agent_config.read_text().splitlines()
    moved = {
        "data_dir": 'data_dir = "/var/lib/dizaine/spool"\nlink = "/run/dizaine/agent.sock"',
        "key_file": 'key_file = "/run/credentials/dizaine-vision.service/signing-key"',
        "source": 'source = "/in/film.avi"',
    }
    config = "\n".join(moved.get(line.split(" =")[0], line) for line in lines) + "\n"
    made = Box(folder, film)
    made.boot(town.broker_port, folder / "bus-1.pem", config)
    yield made, town
    made.stop()
    town.close()


def _write_film(path: Path) -> None:
    import cv2
    import numpy as np

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 2.0, (320, 240))
    noise = np.random.default_rng(1)
    for _ in range(40):
        writer.write(noise.integers(100, 140, (240, 320, 3), dtype=np.uint8))
    writer.release()


def refused(found: dict[str, str]) -> set[str]:
    return {name for name, what in found.items() if what.startswith("refused")}


def test_vision_reaches_neither_the_network_nor_any_file_and_has_its_camera_and_key(
    box: tuple[Box, Town],
) -> None:
    found = box[0].found("vision")
    assert found.keys() - refused(found) == {"camera", "own signing key"}, found


def test_publisher_has_no_camera_and_no_key_and_writes_in_its_own_folder_alone(
    box: tuple[Box, Town],
) -> None:
    found = box[0].found("publisher")
    assert found.keys() - refused(found) == {
        "write its own folder",
        "TCP",
        "UDP",
        "network device",
    }, found


def test_two_units_and_two_users_bring_a_record_to_the_city(
    box: tuple[Box, Town], wait_until: Any
) -> None:
    container, town = box
    wait_until(lambda: len(town.stored()) >= 1, 120, "a record: " + container.read("vision.log"))
    told = container.read("vision.log") + container.read("publisher.log")
    assert "stranger_refused" not in told
    assert "not_confined" not in told
