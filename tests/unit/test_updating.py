"""Offers: taken when they are signed, for this device, in time and new; else nothing changes."""

import json
import os
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_agent import updating
from edge_agent.__main__ import main
from edge_agent.io import keys
from edge_agent.updating import NoOfferError, UpdateError, Updater
from edge_agent.wire.manifest import Kind, Manifest
from tests.integration.certificates import certify
from tests.records import an_agent

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Bench:
    """An operator's folder of offers, and a device that takes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "operator.pem"
        keys.make(self.key, "operator")
        self.etc = folder / "device/etc"
        self.etc.mkdir(parents=True)
        (self.etc / "operator.pub.pem").write_bytes((folder / "operator.pub.pem").read_bytes())
        self.installed: list[str] = []
        self.updater = Updater(
            "bus-1", self.etc, folder / "device/updates.json", self.installed.append
        )

    def offer(self, kind: Kind, number: int, /, key: Path | None = None, **changes: Any) -> Path:
        folder = self.folder / f"{kind}-{number}"
        folder.mkdir(exist_ok=True)
        names = {
            "configuration": ["agent.toml", "agent.toml.sig"],
            "models": ["person/model.toml", "person/person.tflite"],
            "system": ["image.raucb"],
        }[kind]
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(f"{name} {number}".encode())
        if kind == "configuration":
            content = an_agent(number=number).encode()
            (folder / "agent.toml").write_bytes(content)
            signature = keys.sign_as_operator(self.key, content)
            (folder / "agent.toml.sig").write_text(signature.hex())
        fields = {
            "kind": kind, "target": "bus-1", "number": number, "until": NOW + timedelta(days=30),
            "files": updating.describe(folder, names), **changes,
        }  # fmt: skip
        updating.sign(folder, Manifest(**fields), key or self.key)
        return folder

    def take(self, folder: Path, kind: Kind, now: datetime = NOW) -> int | None:
        return self.updater.take(str(folder), kind, now)

    def in_force(self) -> str:
        path = self.etc / "agent.toml"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a fresh one."""
    return Bench(tmp_path)


def test_a_new_configuration_is_taken_once_and_an_older_one_never(bench: Bench) -> None:
    assert bench.take(bench.offer("configuration", 2), "configuration") == 2
    assert "number = 2" in bench.in_force()
    assert bench.take(bench.folder / "configuration-2", "configuration") is None
    assert bench.take(bench.offer("configuration", 1), "configuration") is None
    assert "number = 2" in bench.in_force()
    assert bench.take(bench.offer("configuration", 3), "configuration") == 3


def test_networks_change_at_one_instant_and_the_old_ones_go(bench: Bench) -> None:
    current = bench.etc.parent / "models/current"
    for number in (1, 2):
        assert bench.take(bench.offer("models", number), "models") == number
        assert (current / "person/person.tflite").read_text() == f"person/person.tflite {number}"
    assert sorted(p.name for p in current.parent.iterdir()) == ["2", "current"]


def test_a_system_image_is_handed_on_after_its_digest_was_checked(bench: Bench) -> None:
    folder = bench.offer("system", 1)
    assert bench.take(folder, "system") == 1
    assert bench.installed == [f"{folder}/image.raucb"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda b, f: (f / "manifest.json.sig").write_text("00" * 64),
            "not signed by the operator",
        ),
        (
            lambda b, f: (f / "manifest.json.sig").write_text("nonsense"),
            "not signed by the operator",
        ),
        (lambda b, f: (f / "agent.toml").write_text("x"), "not the file that the offer names"),
        (lambda b, f: (f / "agent.toml").unlink(), "cannot be read"),
        (lambda b, f: (f / "manifest.json").write_text("{}"), "not signed by the operator"),
        (
            lambda b, f: b.offer("configuration", 5, target="bus-2"),
            "expected configuration for bus-1",
        ),
        (lambda b, f: b.offer("configuration", 5, until=NOW - timedelta(1)), "ended"),
        (lambda b, f: b.offer("configuration", 5, number=6), "expected the offer's number 6"),
    ],
)
def test_what_is_not_as_it_should_be_changes_nothing(bench: Bench, spoil: Any, said: str) -> None:
    bench.take(bench.offer("configuration", 4), "configuration")
    folder = bench.offer("configuration", 5)
    spoil(bench, folder)
    with pytest.raises(UpdateError, match=said):
        bench.take(folder, "configuration")
    assert "number = 4" in bench.in_force()


def test_another_operators_offer_is_not_taken(bench: Bench, tmp_path: Path) -> None:
    keys.make(tmp_path / "other.pem", "operator")
    folder = bench.offer("configuration", 1, key=tmp_path / "other.pem")
    with pytest.raises(UpdateError, match="not signed by the operator"):
        bench.take(folder, "configuration")
    assert bench.in_force() == ""


def test_no_offer_is_no_error_and_plain_http_is_one(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(NoOfferError):
        bench.take(tmp_path / "nothing", "system")
    with pytest.raises(UpdateError, match="https"):
        bench.updater.take("http://127.0.0.1/x", "system", NOW)


def test_a_refused_system_image_is_offered_again(bench: Bench) -> None:
    def refuse(_bundle: str) -> None:
        raise UpdateError("refused")

    folder = bench.offer("system", 1)
    unwilling = Updater("bus-1", bench.etc, bench.folder / "device/updates.json", refuse)
    with pytest.raises(UpdateError):
        unwilling.take(str(folder), "system", NOW)
    assert bench.take(folder, "system") == 1


def test_a_power_cut_between_signature_and_configuration_is_healed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a cut at any durable step, healing leaves a configuration with its own signature."""
    bench.take(bench.offer("configuration", 1), "configuration")
    folder = bench.offer("configuration", 2)
    real, left, cuts = Path.replace, 0, 0

    class PowerCutError(BaseException):
        pass

    def cutting(self: Path, target: Any) -> Path:
        nonlocal left
        if left == 0:
            raise PowerCutError
        left -= 1
        return real(self, target)

    for step in range(10):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", cutting)
            left = step
            try:
                bench.take(folder, "configuration")
            except PowerCutError:
                cuts += 1
        updating.heal(bench.etc)
        content = (bench.etc / "agent.toml").read_bytes()
        signature = bytes.fromhex((bench.etc / "agent.toml.sig").read_text())
        assert keys.is_signed(bench.etc / "operator.pub.pem", signature, content)
    assert cuts >= 4
    assert "number = 2" in bench.in_force()
    known = json.loads((bench.etc.parent / "updates.json").read_text())
    assert known == {"configuration bus-1": 2}


# -- over the network, and from the command line


class Shelf:
    """An https server of a folder, which hangs up after some bytes of a large file, once."""

    def __init__(self, folder: Path, root: Path) -> None:
        authority = certify(folder, "city-ca", None)
        certify(folder, "localhost", authority)
        shelf = self
        self.left: int | None = None
        self.ranges: list[str | None] = []

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                path = root / self.path.lstrip("/")
                if not path.is_file():
                    self.send_error(404)
                    return
                content = path.read_bytes()
                asked = self.headers.get("Range")
                first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                if path.suffix == ".raucb":
                    shelf.ranges.append(asked)
                self.send_response(206 if first else 200)
                self.send_header("Content-Length", str(len(content) - first))
                self.end_headers()
                part = content[first:]
                if path.suffix == ".raucb" and shelf.left is not None:
                    part, shelf.left = part[: shelf.left], None
                self.wfile.write(part)

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "localhost.pem", folder / "localhost.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"https://localhost:{self.server.server_port}"


def test_a_download_that_is_cut_goes_on_where_it_ended(bench: Bench, tmp_path: Path) -> None:
    folder = bench.offer("system", 1)
    (folder / "image.raucb").write_bytes(os.urandom(3_000_000))
    offer = Manifest(
        kind="system", target="bus-1", number=1, until=NOW + timedelta(days=1),
        files=updating.describe(folder, ["image.raucb"]),
    )  # fmt: skip
    updating.sign(folder, offer, bench.key)
    shelf = Shelf(tmp_path, bench.folder)
    with pytest.raises(UpdateError, match="cannot be read"):
        bench.updater.take(f"{shelf.address}/system-1", "system", NOW)  # who is that?
    (bench.etc / "ca.pem").write_bytes((tmp_path / "city-ca.pem").read_bytes())
    shelf.left = 1_000_000
    with pytest.raises(UpdateError, match="goes on next time"):
        bench.updater.take(f"{shelf.address}/system-1", "system", NOW)
    assert bench.installed == []
    assert bench.updater.take(f"{shelf.address}/system-1", "system", NOW) == 1
    assert shelf.ranges == ["bytes=0-", "bytes=1000000-"]
    assert len(bench.installed) == 1
    assert list((bench.etc.parent / "incoming").iterdir()) == []
    with pytest.raises(NoOfferError):
        bench.updater.take(f"{shelf.address}/nothing", "system", NOW)
    shelf.server.shutdown()


def test_an_offer_is_made_and_taken_on_the_command_line(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bench.offer("configuration", 7)
    words = ["--kind", "configuration", "--target", "bus-1", "--number", "7"]
    files = ["agent.toml", "agent.toml.sig"]
    assert main(["offer", str(folder), *files, *words, "--key", str(bench.key)]) == 0
    (bench.etc / "agent.toml").write_text(an_agent())
    take = [
        "update", "--config", str(bench.etc / "agent.toml"), "--state",
        str(bench.folder / "device/updates.json"), "--from", str(folder),
        "--kind", "configuration",
    ]  # fmt: skip
    assert main(take) == 0
    assert "took 7" in capsys.readouterr().out
    assert main(take) == 0
    assert "nothing new" in capsys.readouterr().out
    assert main(["offer", str(folder), "absent", *words, "--key", str(bench.key)]) == 2
    assert main(["offer", str(folder), *files, *words, "--key", str(folder)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
