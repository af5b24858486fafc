"""Every mistake in a device's configuration is one line that says what to do."""

from pathlib import Path
from typing import Any

import pytest

from edge_agent import config
from edge_agent.__main__ import main

GOOD: dict[str, Any] = {
    "device": "demo-1",
    "data_dir": "/data",
    "key_file": "/key.pem",
    "camera": {"source": "x.avi", "fps": 7},
    "lines": [{"id": "main", "start": [0.5, 0], "end": [0.5, 1]}],
}


def line(**changes: Any) -> dict[str, Any]:
    return {"lines": [{**GOOD["lines"][0], **changes}]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bogus": 1}, "unknown key bogus; known here: device,"),
        ({"camera": {"source": "x", "fpss": 1}}, "unknown key camera.fpss; known here: source,"),
        (line(z=1), "unknown key lines.0.z; known here: id, start, end"),
        ({"release": {"k": 9}}, "release.k: expected a whole number from 10, got 9"),
        ({"release": {"k": 10.5}}, "release.k: expected a whole number from 10, got 10.5"),
        ({"release": {"window_min": 10}}, "15, 20, 30 or 60, got 10"),
        (line(start=[1.5, 0]), "must lie inside the picture"),
        (line(end=[0.5, 0.01]), "line main cannot count"),
        ({"lines": []}, "at least 1"),
        ({"lines": GOOD["lines"] * 2}, "line ids that differ"),
        ({"device": "A B"}, "device:"),
        ({"camera": {"source": "x", "fps": "7"}}, "camera.fps:"),
        ({"mqtt": {"host": "broker.example"}}, "expected ca, certificate and key for a broker"),
        ({"mqtt": {"ca": "/ca.pem"}}, "expected ca, certificate and key together, got ca"),
        ({"release": {"service": {"opens": "10:00", "closes": "09:00"}}}, "opens before closes"),
        ({"release": {"service": {"timezone": "X/Y"}}}, "such as Europe/Paris"),
    ],
)
def test_a_mistake_is_named_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(config.ConfigError) as refused:
        config.parse({**GOOD, **changes}, "agent.toml")
    message = str(refused.value)
    assert said in message
    assert message.startswith("agent.toml: ")
    assert "\n" not in message


def test_a_missing_key_is_named() -> None:
    with pytest.raises(config.ConfigError, match="camera is missing"):
        config.parse({k: v for k, v in GOOD.items() if k != "camera"}, "agent.toml")


def test_the_fingerprint_follows_the_configuration() -> None:
    one = config.parse(GOOD, "a")
    other = config.parse({**GOOD, "release": {"k": 11}}, "a")
    assert one.fingerprint() == config.parse(GOOD, "b").fingerprint() != other.fingerprint()


@pytest.mark.parametrize("content", [None, b"= 3", b"\xff\xfe", b"device = 'demo-1'"])
def test_the_agent_exits_with_2_and_one_line(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "agent.toml"
    if content is not None:
        path.write_bytes(content)
    assert main(["run", "--config", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_key_is_made_once_and_read_by_its_owner_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "device.pem"
    assert main(["keygen", "--out", str(path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "device.pub.pem")
    assert path.stat().st_mode & 0o777 == 0o600
    assert main(["keygen", "--out", str(path)]) == 2
    assert "a key is there already" in capsys.readouterr().err
