"""`make demo`: camera → agent → broker → aggregator → database → web page, on one machine.

The parts are the real ones, each in its own process; only the broker is a small one of this
machine. A file is looped as if it were a day, faster than real time, in event time.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deploy.local import broker, clip
from deploy.local.processes import Child, answers, free_port, is_free

DEVICE = "demo-1"
SCOPE = "main"
DEFAULT_WEB_PORT = 8080
START_WITHIN_S = 60.0
POLL_S = 0.5
BIN = Path(sys.executable).parent


class DemoError(RuntimeError):
    """The demonstration cannot go on; the message is one line that says what to do."""


class _Stopped(Exception):  # noqa: N818 - not an error
    """Somebody asked the demonstration to stop."""


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo ARGS=…", description=__doc__)
    parser.add_argument("--source", help="a video file, /dev/video0 or rtsp://… (default: a clip)")
    parser.add_argument("--fps", type=float, help="the rate that a file was shot at")
    parser.add_argument(
        "--line",
        default="0.5,0,0.5,1",
        metavar="AX,AY,BX,BY",
        help="the counting line, as fractions of the picture (default: %(default)s)",
    )
    parser.add_argument(
        "--objections", action="store_true",
        help="a head shake takes a person out of every count; this terminal is the light",
    )  # fmt: skip
    parser.add_argument("--exit-after", type=int, metavar="N", help="end after N stored batches")
    parser.add_argument("--port", type=int, help=f"of the dashboard (default: {DEFAULT_WEB_PORT})")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep database and logs in DIR")
    return parser.parse_args(argv)


def _check(arguments: argparse.Namespace) -> None:
    """Look at what can be seen to be wrong before anything is started."""
    for name, value, most in (
        ("exit-after", arguments.exit_after, 1_000_000),
        ("port", arguments.port, 65535),
    ):
        if value is not None and not 1 <= value <= most:
            raise DemoError(f"--{name}: expected a number from 1 to {most}, got {value}")
    for value in (value for point in _line(arguments.line) for value in point):
        if not 0 <= value <= 1:
            raise DemoError(
                f"--line: expected fractions of the picture from 0 to 1, got {value:g};"
                " the line must lie inside the picture"
            )
    source = arguments.source
    if source is None or "://" in source:
        return
    path = Path(source).expanduser()
    if not (path.is_file() or (source.startswith("/dev/") and path.exists())):
        raise DemoError(f"--source {source}: no such file; give a video, /dev/video0 or rtsp://…")


def _line(text: str) -> list[list[float]]:
    try:
        ax, ay, bx, by = (float(part) for part in text.split(","))
    except ValueError:
        raise DemoError(
            f"--line: expected four fractions of the picture such as 0.5,0,0.5,1, got {text}"
        ) from None
    return [[ax, ay], [bx, by]]


def _toml(fields: dict[str, Any]) -> str:
    """Write a flat table of tables; JSON's strings, numbers, booleans and lists are TOML's."""
    own = [f"{key} = {json.dumps(v)}" for key, v in fields.items() if not isinstance(v, dict)]
    for name, table in fields.items():
        if isinstance(table, dict):
            own += ["", f"[{name}]", *(f"{key} = {json.dumps(v)}" for key, v in table.items())]
    return "\n".join(own) + "\n"


def _yesterday_at_six() -> datetime:
    """Return where the demonstration's day begins: everything it says must lie in the past."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(hours=18)


class Demo:
    """The running parts of one demonstration."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self._arguments = arguments
        self._folder = folder
        self._children: list[Child] = []
        self._broker_port = free_port()
        self._web_port = self._choose_web_port(arguments.port)
        self._clip = arguments.source or str(clip.find())
        self._seen = 0
        self._light = folder / "light"
        self._is_lit = False
        self._acknowledged = 0
        self._day = _yesterday_at_six()

    @staticmethod
    def _choose_web_port(wanted: int | None) -> int:
        if wanted is None:
            return DEFAULT_WEB_PORT if is_free(DEFAULT_WEB_PORT) else free_port()
        if not is_free(wanted):
            raise DemoError(f"port {wanted} is in use; give another with --port, or stop its user")
        return wanted

    def start(self) -> None:
        """Start broker, aggregator and agent, each when the one before it answers."""
        name, command = broker.command(self._broker_port, self._folder)
        self._spawn("broker", command, self._broker_port)
        aggregator_toml = self._write_aggregator_config()
        self._say(f"broker: {name} on 127.0.0.1:{self._broker_port}")
        key = self._folder / "device.pem"
        public = self._run("dizaine-agent", "keygen", "--out", str(key))
        agent_toml = self._write_agent_config(key)
        declared = self._folder / "declaration.json"
        declared.write_text(self._run("dizaine-agent", "declare", "--config", str(agent_toml)))
        self._run(
            "dizaine-aggregator", "devices", "add", DEVICE, "--config", str(aggregator_toml),
            "--public-key", public, "--site", "Place de la Démo", "--scope", f"{SCOPE}=Passage",
            "--declaration", str(declared),
        )  # fmt: skip
        self._spawn(
            "aggregator",
            [str(BIN / "dizaine-aggregator"), "run", "--config", str(aggregator_toml)],
            self._web_port,
        )
        agent = [str(BIN / "dizaine-agent"), "run"]
        self._spawn("agent", [*agent, "--config", str(agent_toml), "--unsafe-development"])
        self._say(f"dashboard: {self.address()}   (Ctrl-C stops everything)")

    def address(self) -> str:
        """Return the dashboard's address."""
        return f"http://127.0.0.1:{self._web_port}/"

    def stop(self) -> None:
        """Stop the parts, the last started first."""
        while self._children:
            self._children.pop().stop()

    def follow(self) -> None:
        """Show progress and each stored batch until enough are stored or somebody stops us.

        Raises:
            DemoError: a part ended by itself.
        """
        stored = 0
        wanted = self._arguments.exit_after
        while wanted is None or stored < wanted:
            for record in self._new_records():
                if record["status"] != "ok":
                    continue
                print(json.dumps(record, ensure_ascii=False), flush=True)
                stored += 1
                if stored == wanted:
                    break
            self._watch()
            self._show_state()
            time.sleep(POLL_S)

    def _show_state(self) -> None:
        """Show, on one line of a terminal and in no log, a replay's own time and the light."""
        if not sys.stderr.isatty():
            return
        ticks = [part for part in self._children[-1].tail().split() if part.startswith("at=")]
        shown = [f"in the video's day: {ticks[-1][3:]}"] if ticks else []
        if self._arguments.objections:
            was_lit, self._is_lit = self._is_lit, self._light.read_text() == "1"
            self._acknowledged += self._is_lit and not was_lit
            light = "(*)" if self._is_lit else "( )"
            shown.append(f"light {light} objections seen: {self._acknowledged}")
        if shown:
            print(f"\r{'   '.join(shown)} ", end="", file=sys.stderr, flush=True)

    def _new_records(self) -> Iterator[dict[str, Any]]:
        query = f"{self.address()}api/v1/records?after={self._seen}&limit=100"
        try:
            with urllib.request.urlopen(query, timeout=10) as answer:  # noqa: S310 - http to ourselves
                records = json.load(answer)["records"]
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return
        for record in records:
            self._seen = record["id"]
            yield record

    def _watch(self) -> None:
        for child in self._children:
            status = child.ended()
            if status is not None:
                raise DemoError(f"{child.name}: {child.reason()}")

    def _spawn(self, name: str, command: list[str], port: int | None = None) -> None:
        self._children.append(Child(name, command, self._folder / f"{name}.log"))
        deadline = time.monotonic() + START_WITHIN_S
        while port is not None and not answers(port):
            self._watch()
            if time.monotonic() > deadline:
                raise DemoError(
                    f"{name} did not answer on port {port} within {START_WITHIN_S:.0f} s"
                )
            time.sleep(0.05)

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [BIN / program, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise DemoError((done.stderr.strip().splitlines() or [f"{program} failed"])[-1])
        return (done.stdout.strip().splitlines() or [""])[-1]

    def _write_aggregator_config(self) -> Path:
        path = self._folder / "aggregator.toml"
        fields = {
            "database": f"sqlite:///{self._folder / 'dizaine.db'}",
            "mqtt": {"host": "127.0.0.1", "port": self._broker_port},
            "web": {"host": "127.0.0.1", "port": self._web_port, "public": True},
        }
        path.write_text(_toml(fields))
        return path

    def _write_agent_config(self, key: Path) -> Path:
        source = self._arguments.source
        camera: dict[str, Any] = {"source": self._clip}
        replay: dict[str, Any] = {}
        if self._arguments.fps is not None:
            camera["fps"] = self._arguments.fps
        elif source is None:
            camera["fps"] = clip.SHOT_AT_FPS
        if "://" not in camera["source"] and not camera["source"].startswith("/dev/"):
            camera["source"] = str(Path(camera["source"]).expanduser().absolute())
            replay = {"start": self._day.isoformat(), "loop": True, "pace": "fast"}
        start, end = _line(self._arguments.line)
        fields = {
            "device": DEVICE,
            "data_dir": str(self._folder / "device"),
            "key_file": str(key),
            "camera": camera,
            "replay": replay,
            "lines": [],
            "mqtt": {"host": "127.0.0.1", "port": self._broker_port},
        }
        del fields["lines"]
        if self._arguments.objections:
            self._light.write_text("0")
            fields["objection"] = {"enabled": True, "light": str(self._light)}
        path = self._folder / "agent.toml"
        line = _toml({"id": SCOPE, "start": start, "end": end})
        path.write_text(f"{_toml(fields)}\n[[lines]]\n{line}")
        (self._folder / "device").mkdir(exist_ok=True)
        return path

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _stop(_signal: int, _frame: object) -> None:
    raise _Stopped


def main(argv: list[str] | None = None) -> int:
    """Run the demonstration; return its exit status."""
    arguments = _arguments(argv)
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    with tempfile.TemporaryDirectory(prefix="dizaine-demo-") as temporary:
        folder = arguments.keep.absolute() if arguments.keep else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        demo = None
        try:
            _check(arguments)
            demo = Demo(arguments, folder)
            demo.start()
            demo.follow()
        except _Stopped:
            print("\nstopping …", file=sys.stderr)
        except (DemoError, clip.ClipError) as error:
            print(error, file=sys.stderr)
            return 2
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if demo:
                demo.stop()
    return 0


if __name__ == "__main__":
    os.chdir(clip.ROOT)
    sys.exit(main())
