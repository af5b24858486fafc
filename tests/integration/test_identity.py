"""A device joins, online and by a stick, renews, and is shut out: real server, real broker."""

import json
import sqlite3
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from aggregator import config as city_config
from aggregator.issuing import Issuer, IssuingError
from aggregator.store.database import Database
from edge_agent import config, enrolment
from edge_agent.enrolment import EnrolmentError
from edge_agent.io import keys
from edge_agent.io.identity import Identity, IdentityError, PlainSeal
from edge_agent.io.mqtt import MqttError, probe
from edge_agent.wire.enrolment import Welcome
from tests.records import an_agent


class Hall:
    """A city's server with an authority, and what an operator and a technician hold."""

    def __init__(self, town: Any) -> None:
        self.town, self.folder = town, town.folder
        self.config = town.aggregator_config
        text = self.config.read_text()
        self.config.write_text(
            f'{text}[fleet]\nfolder = "{self.folder}/authority"\n'
            f'revoked = "{self.folder}/crl.pem"\n'
        )
        self.say("dizaine-aggregator", "authority", "--out", str(self.folder / "authority"))
        self.say(
            "dizaine-aggregator", "server-certificate", "localhost",
            "--authority", str(self.folder / "authority"), "--out", str(self.folder / "broker"),
        )  # fmt: skip
        self.operator = self.folder / "operator.pub.pem"
        keys.make(self.folder / "operator.pem", "operator")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = self.town.run(*command)
        return done

    def say(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def claim(self, name: str, *more: str, settings: str = "") -> Path:
        out = self.folder / f"{name}.claim"
        self.say(*self.asking(name, out, settings), *more)
        return out

    def asking(self, name: str, out: Path, settings: str = "") -> list[str]:
        """Return the command that makes a claim."""
        configuration = self.folder / f"{name}.toml"
        configuration.write_text(an_agent(name, more=settings))
        self.say(
            "dizaine-agent", "sign", "--config", str(configuration),
            "--key", str(self.folder / "operator.pem"),
        )  # fmt: skip
        declared = self.folder / f"{name}.json"
        text = self.say(
            "dizaine-agent", "declare", "--config", str(configuration),
            "--operator-key", str(self.operator),
        )  # fmt: skip
        declared.write_text(text)
        return [
            "dizaine-aggregator", "claim", "--config", str(self.config), "--site", "Halle",
            "--configuration", str(configuration), "--operator-key", str(self.operator),
            "--declaration", str(declared), "--out", str(out),
        ]  # fmt: skip

    def enrol(self, name: str, claim: Path, *more: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            "dizaine-agent", "enrol", "--claim", str(claim),
            "--identity", str(self.folder / name / "identity"),
            "--folder", str(self.folder / name / "etc"), *more,
        )  # fmt: skip

    def mqtt(self, name: str) -> config.Mqtt:
        own = self.folder / name / "identity/tls"
        return config.Mqtt(
            host="localhost", port=self.town.broker_port, ca=self.folder / name / "etc/ca.pem",
            certificate=own / "certificate.pem", key=own / "client-key",
        )  # fmt: skip

    def start_broker(self) -> None:
        self.say("dizaine-aggregator", "revoked", "--config", str(self.config))
        authority = self.folder / "authority"
        (self.folder / "broker.conf").write_text(
            f"listener {self.town.broker_port} 127.0.0.1\ncafile {authority}/broker-ca.pem\n"
            f"certfile {self.folder}/broker/localhost.pem\n"
            f"keyfile {self.folder}/broker/localhost.key\ncrlfile {self.folder}/crl.pem\n"
            "require_certificate true\nuse_identity_as_username true\nuser root\n"
        )
        self.town.broker.command = [
            self.town.broker.command[0], "-c", str(self.folder / "broker.conf"),
        ]  # fmt: skip
        self.town.broker.start()


@pytest.fixture
def hall(town: Any) -> Hall:
    """Return a city with an authority; its server runs, without a broker yet."""
    made = Hall(town)
    town.aggregator.start()
    return made


def test_a_device_joins_speaks_to_the_broker_renews_and_is_shut_out(hall: Hall) -> None:
    claim = hall.claim("bus-1")
    done = hall.enrol("bus-1", claim)
    assert (done.returncode, done.stdout) == (0, "bus-1 is enrolled\n"), done.stderr
    hall.start_broker()
    probe(hall.mqtt("bus-1"), "bus-1")
    signed = keys.is_signed(
        hall.folder / "bus-1/etc/operator.pub.pem",
        bytes.fromhex((hall.folder / "bus-1/etc/agent.toml.sig").read_text()),
        (hall.folder / "bus-1/etc/agent.toml").read_bytes(),
    )
    assert signed
    identity = Identity(hall.folder / "bus-1/identity", PlainSeal())
    before = identity.certificate()
    assert not enrolment.is_due(identity, datetime.now(UTC))
    assert enrolment.is_due(identity, before.not_valid_after_utc - timedelta(days=20))
    enrolment.renew(identity)
    after = identity.certificate()
    assert after.public_key() != before.public_key()
    assert after.subject == before.subject
    probe(hall.mqtt("bus-1"), "bus-1")
    told = hall.say(
        "dizaine-aggregator", "devices", "revoke", "bus-1", "--config", str(hall.config)
    )
    assert "crl.pem" in told
    hall.town.broker.kill()
    hall.town.broker.start()
    with pytest.raises(MqttError, match="no broker answered"):
        probe(hall.mqtt("bus-1"), "bus-1", within_s=2.0)
    with pytest.raises(EnrolmentError, match="revoked"):
        enrolment.renew(identity)


def test_a_device_without_a_network_joins_by_a_stick(hall: Hall) -> None:
    claim, stick = hall.claim("bus-2"), hall.folder / "stick"
    stick.mkdir()
    hall.town.aggregator.kill()
    asked = hall.enrol("bus-2", claim, "--request", str(stick / "request.json"))
    assert asked.returncode == 0, asked.stderr
    hall.say(
        "dizaine-aggregator", "answer", "--config", str(hall.config),
        str(stick / "request.json"), "--out", str(stick / "answer.json"),
    )  # fmt: skip
    secret = json.loads(claim.read_text())["secret"]
    assert secret not in (stick / "request.json").read_text()
    done = hall.enrol("bus-2", claim, "--answer", str(stick / "answer.json"))
    assert done.returncode == 0, done.stderr
    hall.start_broker()
    probe(hall.mqtt("bus-2"), "bus-2")


def test_a_claim_is_good_once_and_its_lost_answer_comes_again(hall: Hall) -> None:
    claim = enrolment.read_claim(hall.claim("bus-3"), datetime.now(UTC))
    identity = Identity(hall.folder / "bus-3/identity", PlainSeal())
    asked = enrolment.request(claim, identity)
    answers = [enrolment._ask(claim.url + "enrol", asked, None, Welcome) for _ in range(2)]
    assert answers[0] == answers[1]
    thief = Identity(hall.folder / "thief", PlainSeal())
    with pytest.raises(EnrolmentError, match="used before"):
        enrolment.enrol(claim, thief, hall.folder / "thief-etc")
    enrolment.enrol(claim, identity, hall.folder / "bus-3/etc")


def test_a_claim_that_cannot_be_written_is_not_made(hall: Hall) -> None:
    taken = hall.folder / "taken"
    taken.write_text("somebody's")
    nowhere = hall.folder / "nowhere/bus-1.claim"
    for out, said in ((taken, "a file is there already"), (nowhere, "cannot be written")):
        done = hall.run(*hall.asking("bus-1", out))
        assert done.returncode == 2
        assert done.stderr.startswith(f"{out}: {said}")
        assert len(done.stderr.splitlines()) == 1
    assert taken.read_text() == "somebody's"
    with sqlite3.connect(hall.folder / "city.db") as database:
        assert database.execute("SELECT count(*) FROM claim").fetchone() == (0,)
    assert hall.enrol("bus-1", hall.claim("bus-1")).returncode == 0
    again = hall.folder / "again.claim"
    done = hall.run(*hall.asking("bus-1", again))
    assert (done.returncode, "such a device already" in done.stderr) == (2, True)
    assert not again.exists()


def test_two_who_race_for_one_claim_do_not_both_get_it(hall: Hall) -> None:
    claim = enrolment.read_claim(hall.claim("bus-4"), datetime.now(UTC))
    outcomes: list[str] = []

    def race(name: str) -> None:
        try:
            enrolment.enrol(
                claim, Identity(hall.folder / name, PlainSeal()), hall.folder / f"{name}-etc"
            )
            outcomes.append("in")
        except EnrolmentError:
            outcomes.append("out")

    racers = [threading.Thread(target=race, args=[f"racer-{n}"]) for n in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(outcomes) == ["in", "out", "out", "out"]


def test_a_wrong_or_old_claim_gets_one_line(hall: Hall) -> None:
    path = hall.claim("bus-5", "--hours", "1")
    claim = enrolment.read_claim(path, datetime.now(UTC))
    with pytest.raises(EnrolmentError, match="this claim ended"):
        enrolment.read_claim(path, datetime.now(UTC) + timedelta(hours=2))
    issuer = Issuer(city_config.load(hall.config), Database(f"sqlite:///{hall.folder}/city.db"))
    asked = enrolment.request(claim, Identity(hall.folder / "late", PlainSeal()))
    with pytest.raises(IssuingError, match="has ended"):
        issuer.enrol(asked, "test", datetime.now(UTC) + timedelta(hours=2))
    forged = claim.model_copy(update={"secret": "A" * 43})
    with pytest.raises(EnrolmentError, match="no such claim"):
        enrolment.enrol(forged, Identity(hall.folder / "forger", PlainSeal()), hall.folder / "f")
    other = asked.model_copy(update={"record_key": asked.request})
    with pytest.raises(IssuingError, match="no such claim"):
        issuer.enrol(other, "test", datetime.now(UTC))
    garbage = hall.folder / "garbage"
    garbage.write_text("{}")
    done = hall.enrol("bus-5", garbage)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "expected a claim file" in done.stderr
    hall.town.aggregator.kill()
    done = hall.enrol("bus-5", path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "enrol by a stick" in done.stderr


def test_who_guesses_is_slowed(hall: Hall) -> None:
    claim = enrolment.read_claim(hall.claim("bus-6"), datetime.now(UTC))
    forged = claim.model_copy(update={"secret": "A" * 43})
    identity = Identity(hall.folder / "guesser", PlainSeal())
    told = []
    for _ in range(7):
        with pytest.raises(EnrolmentError) as refused:
            enrolment.enrol(forged, identity, hall.folder / "g")
        told.append("too many tries" in str(refused.value))
    assert told[0] is False
    assert told[-1] is True


def test_a_server_cannot_slip_in_a_configuration_of_another_operator(hall: Hall) -> None:
    claim = enrolment.read_claim(hall.claim("bus-7"), datetime.now(UTC))
    identity = Identity(hall.folder / "bus-7/identity", PlainSeal())
    answer = enrolment._ask(claim.url + "enrol", enrolment.request(claim, identity), None, Welcome)
    forged = answer.model_copy(update={"signature": "00" * 64})
    etc = hall.folder / "bus-7/etc"
    with pytest.raises(EnrolmentError, match="not signed by the operator"):
        enrolment.accept(claim, forged, identity, etc)
    assert not (etc / "agent.toml").exists()
    with pytest.raises(IdentityError):
        identity.certificate()
    stranger = answer.model_copy(update={"device": "bus-8"})
    with pytest.raises(EnrolmentError, match="got one for bus-8"):
        enrolment.accept(claim, stranger, identity, etc)


def test_a_power_cut_at_any_write_leaves_a_device_that_can_go_on(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enrolling is cut after each of its durable steps in turn, and done again."""
    claim = enrolment.read_claim(hall.claim("bus-9"), datetime.now(UTC))
    folder, etc = hall.folder / "bus-9/identity", hall.folder / "bus-9/etc"
    from edge_agent.io import identity as module

    class PowerCutError(BaseException):
        pass

    real, left = Path.replace, 0

    def cutting(self: Path, target: Any) -> Path:
        nonlocal left
        if left == 0:
            raise PowerCutError
        left -= 1
        return real(self, target)

    monkeypatch.setattr(module.Path, "replace", cutting)
    cuts = 0
    for step in range(20):
        left = step
        try:
            enrolment.enrol(claim, Identity(folder, PlainSeal()), etc)
            break
        except PowerCutError:
            cuts += 1
    assert cuts >= 5
    monkeypatch.undo()
    certificate = Identity(folder, PlainSeal()).certificate()
    assert certificate.subject.rfc4514_string() == "CN=bus-9"
    key = Identity(folder, PlainSeal()).current_key()
    assert key.public_key() == certificate.public_key()


def test_certificates_say_the_device_and_nothing_else(hall: Hall) -> None:
    claim = enrolment.read_claim(hall.claim("bus-10"), datetime.now(UTC))
    identity = Identity(hall.folder / "bus-10/identity", PlainSeal())
    enrolment.enrol(claim, identity, hall.folder / "bus-10/etc")
    certificate = identity.certificate()
    assert certificate.subject.rfc4514_string() == "CN=bus-10"
    names = [extension.oid._name for extension in certificate.extensions]
    assert names == [
        "basicConstraints",
        "keyUsage",
        "subjectKeyIdentifier",
        "authorityKeyIdentifier",
        "extendedKeyUsage",
    ]
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert timedelta(days=89) < life < timedelta(days=91)
    root = x509.load_pem_x509_certificate((hall.folder / "authority/root.pem").read_bytes())
    fleet = x509.load_pem_x509_certificate((hall.folder / "authority/fleet.pem").read_bytes())
    fleet.verify_directly_issued_by(root)
    certificate.verify_directly_issued_by(fleet)
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in (hall.folder / "authority").iterdir()}
    assert modes["fleet.key"] == modes["root.key"] == "0o600"
