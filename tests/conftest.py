"""Real parts for tests: a broker, a server, a device, each on a free port of this machine."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright

from deploy.local.processes import answers, free_port

BIN = Path(sys.executable).parent
UNSAFE = "--unsafe-development"
"""Tests run where pixels could leave memory: on machines with a writable root."""
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
DATA = Path(__file__).parents[2] / "shared" / "data"

# The same examples on every machine, however slow: a change is judged by what it changes.
# `--hypothesis-profile=search` looks for others.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("tests", settings.get_profile("search"), derandomize=True)
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what takes minutes begin first, and skip what needs recordings that are not here.

    Each worker begins with its share of the list, and takes from the others' ends when done.
    """
    slow = [item for item in items if item.get_closest_marker("slow")]
    rest = [item for item in items if not item.get_closest_marker("slow")]
    share = -(-len(items) // WORKERS)
    spread = []
    for first in range(WORKERS):
        own = slow[first::WORKERS]
        spread += [*own, *rest[: share - len(own)]]
        del rest[: share - len(own)]
    items[:] = [*spread, *rest]
    if DATA.is_dir():
        return
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason=f"no recordings in {DATA}"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield a headless Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as play:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        started = play.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        started.close()


@pytest.fixture
def data() -> Path:
    """Return the folder of recordings."""
    return DATA


def _wait_until(condition: Callable[[], bool], within_s: float = 30.0, what: str = "it") -> None:
    """Wait for a condition; fail with what was waited for."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:g} s"
        time.sleep(0.05)


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Return a function that waits for a condition."""
    return _wait_until


class Part:
    """One process of the system, which can be killed and started again."""

    def __init__(self, command: list[str], log: Path, port: int | None = None) -> None:
        self.command, self.log, self.port = command, log, port
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it, and wait for nothing."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until its port answers, if it has one."""
        self.begin()
        if self.port:
            _wait_until(self._answers, what=f"{self.command[0]} on port {self.port}")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.port is not None
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-2000:]
        return answers(self.port)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def children(self) -> dict[str, int]:
        """Return the process numbers of the agent's two processes, by name."""
        assert self.process is not None
        listed = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-a"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        found = {}
        for line in listed.splitlines():
            number, _, command = line.partition(" ")
            for name in ("vision", "publisher"):
                if f"edge_agent {name}" in command:
                    found[name] = int(number)
        return found

    def kill_child(self, name: str) -> None:
        os.kill(self.children()[name], signal.SIGKILL)


class Town:
    """A folder with everything for one device, one broker and one server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker_port, self.web_port = free_port(), free_port()
        self.parts: list[Part] = []
        mosquitto = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if mosquitto is None:
            pytest.skip("mosquitto is not installed")
        self.broker = self._part(
            [mosquitto, "-p", str(self.broker_port)], "broker", self.broker_port
        )
        configuration = folder / "aggregator.toml"
        configuration.write_text(
            f'database = "sqlite:///{folder}/city.db"\n'
            f"[mqtt]\nport = {self.broker_port}\n[web]\npublic = true\nport = {self.web_port}\n"
        )
        self.aggregator_config = configuration
        self.aggregator = self._part(
            [str(BIN / "dizaine-aggregator"), "run", "--config", str(configuration)],
            "aggregator", self.web_port,
        )  # fmt: skip

    def _part(self, command: list[str], name: str, port: int | None = None) -> Part:
        part = Part(command, self.folder / f"{name}.log", port)
        self.parts.append(part)
        return part

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / program, *arguments], capture_output=True, text=True, check=False, timeout=60
        )

    def device(self, name: str, video: Path, fps: float) -> Part:
        """Make a device's key, register it, and return its agent."""
        key = self.folder / f"{name}.pem"
        made = self.run("dizaine-agent", "keygen", "--out", str(key))
        assert made.returncode == 0, made.stderr
        added = self.run(
            "dizaine-aggregator", "devices", "add", name, "--config", str(self.aggregator_config),
            "--public-key", made.stdout.strip(), "--site", "Halle",
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        (self.folder / name).mkdir(exist_ok=True)
        self.agent_config = self.folder / f"{name}.toml"
        self.agent_config.write_text(
            f'device = "{name}"\ndata_dir = "{self.folder / name}"\nkey_file = "{key}"\n'
            f'[camera]\nsource = "{video}"\nfps = {fps}\n'
            '[replay]\nstart = 2026-01-05T08:00:00Z\nloop = true\npace = "fast"\n'
            '[[lines]]\nid = "main"\nstart = [0.5, 0.0]\nend = [0.5, 1.0]\n'
            f"[mqtt]\nport = {self.broker_port}\n"
        )
        return self._part(
            [str(BIN / "dizaine-agent"), "run", "--config", str(self.agent_config), UNSAFE], name
        )

    def stored(self) -> list[tuple[str, int, str, str]]:
        """Return (scope, window, status, digest) of every stored record, by window."""
        with sqlite3.connect(f"file:{self.folder}/city.db?mode=ro", uri=True, timeout=10) as city:
            return city.execute(
                "SELECT scope, window_s, status, digest FROM record ORDER BY window_s"
            ).fetchall()

    def close(self) -> None:
        for part in reversed(self.parts):
            if part.process is not None and part.process.poll() is None:
                part.kill()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """Yield a system whose parts are not started yet."""
    built = Town(tmp_path)
    yield built
    built.close()


@pytest.fixture
def grey_film(tmp_path: Path) -> Path:
    """Return a short film in which nobody is: every window of it is low."""
    path = tmp_path / "grey.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 2.0, (320, 240))
    noise = np.random.default_rng(1)
    for _ in range(40):
        writer.write(noise.integers(100, 140, (240, 320, 3), dtype=np.uint8))
    writer.release()
    return path


def _postgres_bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class Postgres:
    """A PostgreSQL server of this test run alone, which can be killed and started again."""

    def __init__(self, folder: Path, programs: Path) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if user:
            for path in (folder, *folder.parents):
                if "pytest-of" in str(path):
                    path.chmod(0o755)
            shutil.chown(folder, "postgres")
        port, store = free_port(), str(folder / "data")
        self._run(*user, programs / "initdb", "-D", store, "-U", "dizaine", "-A", "trust")
        self._control = [*user, programs / "pg_ctl", "-D", store, "-w"]
        self._options = ["-o", f"-p {port} -h 127.0.0.1 -k {folder}", "-l", str(folder / "log")]
        self.url = f"postgresql+psycopg://dizaine@127.0.0.1:{port}/postgres"

    @staticmethod
    def _run(*command: Any) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self) -> None:
        self._run(*self._control, *self._options, "start")

    def kill(self) -> None:
        """End it as a crash would: what is not on disk is gone."""
        self._run(*self._control, "-m", "immediate", "stop")


@pytest.fixture(scope="session")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Yield a running PostgreSQL server."""
    programs = _postgres_bin()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    server = Postgres(tmp_path_factory.mktemp("postgres"), programs)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres(own_postgres: Postgres) -> str:
    """Return the address of a running PostgreSQL server."""
    return own_postgres.url


@pytest.fixture
def postgres_url(postgres: str) -> str:
    """Return the address of an empty PostgreSQL database."""
    # Here, since the runtimes' own environment has no database.
    import sqlalchemy as sa

    from aggregator.store.schema import metadata

    engine = sa.create_engine(postgres)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()
    return postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'city.db'}"
    address: str = request.getfixturevalue("postgres_url")
    return address
