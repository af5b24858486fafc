"""`dizaine-agent`: what runs on a device."""

import argparse
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

from edge_agent import config as configuration
from edge_agent.config import AgentConfig, ConfigError
from edge_agent.io import keys
from edge_agent.io.keys import KeyFileError
from edge_agent.io.process import die_with_parent, log_to_stderr

log = logging.getLogger("edge_agent")

WRONG_INPUT = 2
LONGEST_BACKOFF_S = 30.0
STEADY_AFTER_S = 60.0
STOP_WITHIN_S = 15.0


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status: 2 where the input is wrong."""
    log.addHandler(logging.NullHandler())
    given = _parser().parse_args(argv)
    try:
        if given.command == "keygen":
            return _keygen(given.out)
        config = configuration.load(given.config)
        return _COMMANDS[given.command](config, given.config)
    except (ConfigError, KeyFileError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever typed the command
        return WRONG_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dizaine-agent", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "count: starts vision and publisher and keeps them running"),
        ("check", "look whether everything that counting needs is there"),
        ("vision", "only the process that owns the camera"),
        ("publisher", "only the process that owns the network"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, required=True, help="agent.toml")
    keygen = commands.add_parser("keygen", help="make the device's signing key")
    keygen.add_argument("--out", type=Path, required=True, help="file for the private key")
    return parser


def _keygen(out: Path) -> int:
    print(keys.make(out))  # noqa: T201 - its answer
    return 0


def _vision(config: AgentConfig, _path: Path) -> int:
    from edge_agent import vision  # noqa: PLC0415 - the publisher must not even load pixels
    from edge_agent.pixels.source import SourceError  # noqa: PLC0415

    die_with_parent()
    log_to_stderr()
    try:
        vision.run(config, time.time())  # noqa: TID251 - the clock comes in here
    except SourceError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return WRONG_INPUT
    return 0


def _publisher(config: AgentConfig, _path: Path) -> int:
    from edge_agent import publisher  # noqa: PLC0415 - vision must not even load the network
    from edge_agent.io.mqtt import MqttError  # noqa: PLC0415

    die_with_parent()
    log_to_stderr()
    try:
        publisher.Publisher(config).run()
    except (publisher.PublisherError, MqttError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return WRONG_INPUT
    return 0


def _check(config: AgentConfig, _path: Path) -> int:
    from edge_agent.io import mqtt  # noqa: PLC0415
    from edge_agent.pixels.source import SourceError, open_source  # noqa: PLC0415

    key = keys.load(config.key_file)
    print(f"key        ok  {keys.fingerprint(key.public_key())}")  # noqa: T201
    try:
        with open_source(config.camera, config.replay, config.detector) as source:
            width, height = source.size
        print(f"camera     ok  {width}x{height}")  # noqa: T201
        mqtt.probe(config.mqtt, config.device)
        print("broker     ok")  # noqa: T201
    except (SourceError, mqtt.MqttError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return WRONG_INPUT
    return 0


class _Supervised:
    """One of the two processes, started again when it dies."""

    def __init__(self, name: str, config: Path) -> None:
        self.name = name
        self._command = [sys.executable, "-m", "edge_agent", name, "--config", str(config)]
        self._backoff_s = 1.0
        self._started_s = 0.0
        self._again_s = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def tend(self) -> int | None:
        """Start the process if it is due; return its exit status where that ends everything."""
        now_s = time.monotonic()
        if self.process is None:
            if now_s >= self._again_s:
                self._started_s = now_s
                self.process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                    self._command, start_new_session=True
                )
            return None
        status = self.process.poll()
        if status is None:
            return None
        if status in (0, WRONG_INPUT):
            return status
        self.process = None
        if now_s - self._started_s > STEADY_AFTER_S:
            self._backoff_s = 1.0
        log.warning(
            "event=restart process=%s status=%d in_s=%g", self.name, status, self._backoff_s
        )
        self._again_s = now_s + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, LONGEST_BACKOFF_S)
        return None

    def stop(self) -> None:
        """Ask the process to end; insist after a while."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _run(config: AgentConfig, path: Path) -> int:
    log_to_stderr()
    keys.load(config.key_file)
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    parts = [_Supervised("publisher", path), _Supervised("vision", path)]
    status: int | None = None
    while not stopping and status is None:
        for part in parts:
            ended = part.tend()
            status = ended if status is None else status
        time.sleep(0.1)
    for part in reversed(parts):
        part.stop()
    return status or 0


_COMMANDS = {"run": _run, "check": _check, "vision": _vision, "publisher": _publisher}

if __name__ == "__main__":
    sys.exit(main())
