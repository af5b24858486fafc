"""Every mistake in a device's configuration is one line that says what to do."""

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aggregator import __main__ as city
from edge_agent import config
from edge_agent.__main__ import main
from edge_agent.wire.declaration import Declaration

GOOD: dict[str, Any] = {
    "device": "demo-1",
    "data_dir": "/data",
    "key_file": "/key.pem",
    "camera": {"source": "x.avi", "fps": 7},
    "lines": [{"id": "main", "start": [0.5, 0], "end": [0.5, 1]}],
}


MODULE = {
    "legal_basis": "Arrêté municipal 2026-114",
    "purpose": "Affluence au marché",
    "contact": "dpo@ville.example",
    "start": "2026-12-01T00:00:00Z",
    "end": "2027-03-01T00:00:00Z",
}


def toml(value: Any) -> str:
    """Write a value as TOML, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def parse(fields: dict[str, Any], *, signed: bool = False) -> config.Loaded:
    text = "\n".join(f"{key} = {toml(value)}" for key, value in fields.items())
    return config.parse(text.encode(), "agent.toml", signed=signed)


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
        (line(id="objections"), "that name is taken"),
        (
            {"lines": [*GOOD["lines"], {"id": "b", "start": [0.0, 0.5], "end": [1.0, 0.5]}]},
            "lines main and b count the same people",
        ),
        (
            {"lines": [*GOOD["lines"], {"id": "b", "start": [0.51, 0.0], "end": [0.51, 1.0]}]},
            "move them apart",
        ),
        ({"modules": {"masks": MODULE}}, "off until the operator signs"),
        ({"modules": {"faces": MODULE}}, "modules.faces"),
        ({"modules": {"masks": {**MODULE, "why": "x"}}}, "unknown key modules.masks.why"),
        (
            {"modules": {"masks": {k: v for k, v in MODULE.items() if k != "end"}}},
            "modules.masks.end is missing",
        ),
        ({"release": {"profile": "dp"}}, "expected release.dp with the profile dp"),
        ({"release": {"dp": {"epsilon": 1, "day_budget": 96}}}, "and with no other"),
        (
            {"release": {"profile": "dp", "dp": {"epsilon": 1, "day_budget": 50}}},
            "expected day_budget of at least 96 for 96 windows a day, got 50",
        ),
    ],
)
def test_a_mistake_is_named_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(config.ConfigError) as refused:
        parse({**GOOD, **changes})
    message = str(refused.value)
    assert said in message
    assert message.startswith("agent.toml: ")
    assert "\n" not in message


def test_a_missing_key_is_named() -> None:
    with pytest.raises(config.ConfigError, match="camera is missing"):
        parse({k: v for k, v in GOOD.items() if k != "camera"})


def test_the_fingerprint_follows_the_configuration() -> None:
    one, other = (parse({**GOOD, "release": {"k": k}}).declared for k in (10, 11))
    elsewhere = parse({**GOOD, "camera": {"source": "rtsp://admin:secret@10.0.0.7/"}}).declared
    assert one.fingerprint() == elsewhere.fingerprint() != other.fingerprint()
    assert b"secret" not in elsewhere.canonical()


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


@pytest.mark.parametrize("program", [main, city.main])
def test_of_a_pair_of_keys_both_are_written_or_none(program: Any, tmp_path: Path) -> None:
    make = ["keygen", "--operator"] if program is main else ["command-key"]
    (tmp_path / "key.pub.pem").write_text("somebody's")
    assert program([*make, "--out", str(tmp_path / "key.pem")]) == 2
    assert [path.read_text() for path in tmp_path.iterdir()] == ["somebody's"]
    (tmp_path / "key.pub.pem").unlink()
    assert program([*make, "--out", str(tmp_path / "key.pem")]) == 0


def test_a_signed_configuration_turns_a_module_on_for_its_time_and_no_longer() -> None:
    declared = parse({**GOOD, "modules": {"masks": MODULE}}, signed=True).declared
    begin, end = (datetime.fromisoformat(MODULE[key]) for key in ("start", "end"))
    quarter = timedelta(minutes=15)
    assert declared.allows("masks", begin, begin + quarter)
    assert declared.allows("masks", end - quarter, end)
    assert not declared.allows("masks", begin - quarter / 2, begin + quarter / 2)
    assert not declared.allows("masks", end - quarter / 2, end + quarter / 2)
    assert not declared.allows("occupancy", begin, begin + quarter)


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """Return a configuration that its operator has signed, the public key beside it."""
    path = tmp_path / "agent.toml"
    fields = {**GOOD, "number": 1, "modules": {"masks": MODULE}}
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in fields.items()))
    assert main(["keygen", "--operator", "--out", str(tmp_path / "operator.pem")]) == 0
    assert main(["sign", "--config", str(path), "--key", str(tmp_path / "operator.pem")]) == 0
    return path


def test_what_the_operator_signed_is_declared(
    signed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["declare", "--config", str(signed)]) == 0
    told = capsys.readouterr()
    declared = Declaration.model_validate_json(told.out)
    assert declared.signed
    assert [module.name for module in declared.modules] == ["masks"]
    assert declared.fingerprint() in told.err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("agent.toml", b"# changed\n", "not the signature of agent.toml"),
        ("agent.toml.sig", b"00" * 64, "not the signature of agent.toml"),
        ("agent.toml.sig", b"garbage", "not the signature of agent.toml"),
        ("operator.pub.pem", b"garbage", "expected an operator's public key"),
        ("operator.pub.pem", None, "no operator's public key"),
        ("agent.toml.sig", None, "off until the operator signs"),
    ],
)
def test_a_configuration_changed_after_signing_is_refused(
    signed: Path, name: str, content: bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = signed.with_name(name)
    if content is None:
        path.unlink()
    else:
        path.write_bytes((signed.read_bytes() if name == "agent.toml" else b"") + content)
    assert main(["declare", "--config", str(signed)]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert said in line


def test_another_operator_s_signature_is_refused(
    signed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = signed.with_name("other.pem")
    assert main(["keygen", "--operator", "--out", str(other)]) == 0
    assert main(["sign", "--config", str(signed), "--key", str(other)]) == 0
    assert main(["declare", "--config", str(signed)]) == 2
    assert "not the signature" in capsys.readouterr().err


def test_the_documented_configuration_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    loaded = config.parse(example.encode(), "docs", signed=True)
    assert [module.name for module in loaded.declared.modules] == ["occupancy"]
    private = example.replace('# profile = "dp"', 'profile = "dp"').replace("# dp = ", "dp = ")
    assert config.parse(private.encode(), "docs", signed=True).declared.dp is not None
