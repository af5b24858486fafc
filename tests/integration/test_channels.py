"""Each way to reach staff, to a real server of its kind."""

import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from aggregator.config import Apprise, Gammu, Kannel, Mail, Ovh, Smpp, Twilio
from aggregator.io.channels import Message, SendError
from aggregator.io.channels.gammu import GammuChannel
from aggregator.io.channels.http import (
    AppriseChannel,
    KannelChannel,
    OvhChannel,
    TwilioChannel,
)
from aggregator.io.channels.mail import MailChannel
from aggregator.io.channels.smpp import SmppChannel
from deploy.local.processes import answers, free_port
from tests.integration.certificates import certify
from tests.integration.smsc import BUSY_ONCE, NEVER

ROOT = Path(__file__).parents[2]
TEXT = "ALERTE Marché, Étals: affluence saturée https://ville.example/alerts/7"


def message(address: str, body: str = TEXT, key: str = "fired:7:marie:sms") -> Message:
    return Message(key, address, "ALERTE: Marché · Étals", body)


# -- e-mail


class Mailbox:
    """What an SMTP server was given; who is `grey` is told to come again, once."""

    def __init__(self) -> None:
        self.letters: list[tuple[list[str], bytes]] = []
        self.tries: dict[str, int] = {}

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        self.tries[address] = self.tries.get(address, 0) + 1
        if address.startswith("grey") and self.tries[address] == 1:
            return "451 4.7.1 come again"
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.letters.append((list(envelope.rcpt_tos), envelope.content))
        return "250 queued"


@pytest.fixture
def mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield a mailbox and the settings of its server, which asks for TLS and a password."""
    authority = certify(tmp_path, "ca", None)
    certify(tmp_path, "localhost", authority)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(tmp_path / "localhost.pem", tmp_path / "localhost.key")
    box = Mailbox()

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        good = (data.login, data.password) == (b"city", b"secret")
        return AuthResult(success=good, handled=False)

    controller = Controller(
        box, hostname="127.0.0.1", port=free_port(), tls_context=trust, require_starttls=True,
        authenticator=check, auth_required=True,
    )  # fmt: skip
    controller.start()
    monkeypatch.setenv("DIZAINE_MAIL_PASSWORD", "secret")
    settings = Mail(
        host="localhost", port=controller.port, ca=tmp_path / "ca.pem", user="city",
        sender="alertes@ville.example",
    )  # fmt: skip
    yield box, settings
    controller.stop()


def test_an_email_goes_over_tls_with_a_password_and_can_be_told_when_it_repeats(mail: Any) -> None:
    box, settings = mail
    reference = MailChannel(settings).send(message("marie@ville.example"))
    ((to, content),) = box.letters
    assert to == ["marie@ville.example"]
    assert reference.encode() in content
    assert reference == "<fired.7.marie.sms@ville.example>"
    assert b"auto-generated" in content


def test_a_server_that_says_later_is_asked_again_and_one_that_says_no_is_not(mail: Any) -> None:
    box, settings = mail
    channel = MailChannel(settings)
    with pytest.raises(SendError, match="451") as later:
        channel.send(message("grey@ville.example"))
    assert not later.value.for_good
    channel.send(message("grey@ville.example"))
    with pytest.raises(SendError, match="550") as never:
        channel.send(message("nobody@ville.example"))
    assert never.value.for_good
    assert len(box.letters) == 1


def test_a_wrong_password_and_a_stranger_certificate_lose_nothing(
    mail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, settings = mail
    with pytest.raises(SendError, match="certificate") as stranger:
        MailChannel(settings.model_copy(update={"ca": None})).send(message("a@b.fr"))
    monkeypatch.setenv("DIZAINE_MAIL_PASSWORD", "wrong")
    with pytest.raises(SendError, match="535") as wrong:
        MailChannel(settings).send(message("a@b.fr"))
    assert [told.value.for_good for told in (stranger, wrong)] == [False, False]
    assert box.letters == []


# -- SMPP


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield an SMS centre's settings, and the file of what it has taken."""
    port, log = free_port(), tmp_path / "sms.jsonl"
    log.touch()
    command = [sys.executable, "-m", "tests.integration.smsc", str(port), str(log)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not answers(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    monkeypatch.setenv("DIZAINE_SMS_PASSWORD", "secret")
    settings = Smpp(provider="smpp", host="127.0.0.1", port=port, system_id="city", sender="Ville")
    yield settings, log
    process.kill()
    process.wait()


def taken(log: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_an_sms_goes_by_smpp_and_its_receipt_comes_back(centre: Any, wait_until: Any) -> None:
    settings, log = centre
    channel = SmppChannel(settings)
    first = channel.send(message("+33612345678"))
    second = channel.send(message("+33612345679"))
    wait_until(lambda: len(taken(log)) == 2, 10, "both messages")
    assert [one["to"] for one in taken(log)] == ["33612345678", "33612345679"]
    found: dict[str, bool] = {}

    def come() -> bool:
        found.update({r.reference: r.delivered for r in channel.receipts([])})
        return len(found) == 2

    wait_until(come, 10, "receipts")
    assert found == {first: True, second: False}
    channel.close()


def test_a_long_sms_goes_in_two_parts(centre: Any, wait_until: Any) -> None:
    settings, log = centre
    channel = SmppChannel(settings)
    channel.send(message("+33612345678", "a" * 300))
    wait_until(lambda: len(taken(log)) == 2, 10, "two parts")
    channel.close()


def test_a_part_that_the_centre_cannot_take_now_is_sent_again_and_the_part_before_is_not(
    centre: Any, wait_until: Any
) -> None:
    settings, log = centre
    channel = SmppChannel(settings)
    reference = channel.send(message("+33600000003", "a" * 300))
    wait_until(lambda: len(taken(log)) == 2, 10, "two parts")
    assert [one["id"] for one in taken(log)][-1] == reference
    channel.close()


def test_a_busy_centre_is_asked_again_and_a_wrong_number_is_not(
    centre: Any, wait_until: Any
) -> None:
    settings, log = centre
    channel = SmppChannel(settings)
    with pytest.raises(SendError) as busy:
        channel.send(message(f"+{BUSY_ONCE}"))
    assert not busy.value.for_good
    channel.send(message(f"+{BUSY_ONCE}"))
    with pytest.raises(SendError) as never:
        channel.send(message(f"+{NEVER}"))
    assert never.value.for_good
    wait_until(lambda: taken(log) != [], 10, "the message")
    assert [one["to"] for one in taken(log)] == [BUSY_ONCE]
    channel.close()


def test_a_centre_that_is_away_or_knows_us_not_says_so_in_one_line(
    centre: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = centre
    away = settings.model_copy(update={"port": free_port()})
    monkeypatch.setenv("DIZAINE_SMS_PASSWORD", "wrong")
    for wrong in (away, settings):
        with pytest.raises(SendError) as told:
            SmppChannel(wrong).send(message("+33612345678"))
        assert not told.value.for_good
        assert "\n" not in str(told.value)
        assert str(told.value)


# -- HTTP


class Provider(BaseHTTPRequestHandler):
    """The documented side of OVHcloud's and Twilio's interfaces; neither was tried for real."""

    asked: list[tuple[str, str, dict[str, str], str]]

    def _answer(self, status: int, told: object) -> None:
        body = told if isinstance(told, str) else json.dumps(told)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def _serve(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(size).decode()
        path = urlsplit(self.path).path
        self.asked.append((self.command, self.path, dict(self.headers), body))
        if path.endswith("/auth/time"):
            self._answer(200, str(int(time.time()) + 100))
        elif path.endswith("/jobs"):
            wrong = "invalid" in body
            self._answer(200, {"ids": [] if wrong else [77], "invalidReceivers": ["x"] * wrong})
        elif "/outgoing/" in path:
            self._answer(200, {"id": 77, "deliveryReceipt": 1})
        elif path.endswith("/Messages.json"):
            to = parse_qs(body)["To"][0]
            status = {"+1": 400, "+2": 503, "+3": 401}.get(to, 201)
            self._answer(status, {"sid": "SM1", "status": "queued"})
        else:
            self._answer(200, {"sid": "SM1", "status": "delivered"})

    do_GET = do_POST = _serve  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield the address of a provider, and what it was asked."""
    asked: list[Any] = []
    handler = type("Own", (Provider,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("APPLICATION_SECRET", "CONSUMER_KEY", "TOKEN", "PASSWORD"):
        monkeypatch.setenv(f"DIZAINE_SMS_{name}", name.lower())
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def test_ovh_gets_a_signed_request_and_is_asked_for_the_receipt(provider: Any) -> None:
    import hashlib

    url, asked = provider
    channel = OvhChannel(
        Ovh(provider="ovh", service="sms-1", application_key="ak", sender="Ville", endpoint=url)
    )
    assert channel.send(message("+33612345678")) == "77"
    method, path, headers, body = asked[-1]
    at = headers["X-Ovh-Timestamp"]
    assert abs(int(at) - time.time() - 100) < 5
    text = f"application_secret+consumer_key+{method}+{url}{path}+{body}+{at}"
    assert headers["X-Ovh-Signature"] == "$1$" + hashlib.sha1(text.encode()).hexdigest()
    assert json.loads(body)["receivers"] == ["+33612345678"]
    assert [r.delivered for r in channel.receipts(["77"])] == [True]
    with pytest.raises(SendError) as told:
        channel.send(message("invalid"))
    assert told.value.for_good


@pytest.mark.parametrize(("number", "for_good"), [("+1", True), ("+2", False), ("+3", False)])
def test_twilio_says_whether_another_try_can_help(
    provider: Any, number: str, for_good: bool
) -> None:
    url, _ = provider
    channel = TwilioChannel(Twilio(provider="twilio", account="AC1", sender="+3300", endpoint=url))
    assert channel.send(message("+33612345678")) == "SM1"
    assert [r.delivered for r in channel.receipts(["SM1"])] == [True]
    with pytest.raises(SendError) as told:
        channel.send(message(number))
    assert told.value.for_good == for_good
    assert "token" not in str(told.value)


def test_a_provider_that_is_away_is_named_and_no_secret_is(provider: Any) -> None:
    gone = f"http://127.0.0.1:{free_port()}/cgi-bin/sendsms"
    channel = KannelChannel(Kannel(provider="kannel", url=gone, user="city", sender="Ville"))
    with pytest.raises(SendError, match=r"127\.0\.0\.1") as told:
        channel.send(message("+33612345678"))
    assert "password" not in str(told.value)
    assert not told.value.for_good


def test_apprise_sends_by_whatever_it_knows(
    provider: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = provider
    host = url.removeprefix("http://")
    monkeypatch.setenv("DIZAINE_SMS_URL", f"json://{host}/send/{{to}}")
    AppriseChannel(Apprise(provider="apprise")).send(message("+33612345678"))
    assert asked[-1][1].startswith("/send/33612345678")
    monkeypatch.setenv("DIZAINE_SMS_URL", "nothing://x")
    with pytest.raises(SendError, match="does not know"):
        AppriseChannel(Apprise(provider="apprise")).send(message("+33612345678"))


# -- Kannel with its fake SMS centre


@pytest.fixture
def kannel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield a running Kannel's settings, and what its fake SMS centre was given."""
    bearerbox = shutil.which("bearerbox", path="/usr/sbin:/usr/bin")
    fake = Path("/usr/lib/kannel/test/fakesmsc")
    if bearerbox is None or not fake.exists():
        pytest.skip("kannel and kannel-extras are not installed")
    admin, box, centre, http = (free_port() for _ in range(4))
    configuration = tmp_path / "kannel.conf"
    configuration.write_text(
        f"group = core\nadmin-port = {admin}\nadmin-password = x\nsmsbox-port = {box}\n\n"
        f"group = smsc\nsmsc = fake\nport = {centre}\nconnect-allow-ip = 127.0.0.1\n\n"
        f"group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {http}\n\n"
        "group = sendsms-user\nusername = city\npassword = password\n\n"
    )
    given = tmp_path / "given.log"
    with given.open("w") as log:
        processes = [
            subprocess.Popen([bearerbox, str(configuration)], stdout=log, stderr=log),
        ]
        _wait(box)
        smsbox = shutil.which("smsbox", path="/usr/sbin:/usr/bin")
        processes.append(
            subprocess.Popen([str(smsbox), str(configuration)], stdout=log, stderr=log)
        )
        processes.append(
            subprocess.Popen(
                [str(fake), "-r", str(centre), "-m", "0"], stdout=log, stderr=log,
                stdin=subprocess.PIPE,
            )
        )  # fmt: skip
        _wait(http)
    time.sleep(1.0)
    monkeypatch.setenv("DIZAINE_SMS_PASSWORD", "password")
    url = f"http://127.0.0.1:{http}/cgi-bin/sendsms"
    yield Kannel(provider="kannel", url=url, user="city", sender="Ville"), given
    for process in reversed(processes):
        process.kill()
        process.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + 20
    while not answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_sms_goes_through_kannel_to_its_sms_centre(kannel: Any, wait_until: Any) -> None:
    settings, given = kannel
    KannelChannel(settings).send(message("+33612345678", "ALERTE forty-two"))
    wait_until(lambda: b"forty" in given.read_bytes(), 20, "the message")


def test_kannel_says_no_to_a_wrong_password(kannel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = kannel
    monkeypatch.setenv("DIZAINE_SMS_PASSWORD", "wrong")
    with pytest.raises(SendError, match="403"):
        KannelChannel(settings).send(message("+33612345678"))


# -- a modem


@pytest.fixture
def gammu(tmp_path: Path) -> Gammu:
    """Return the folders of a gammu-smsd."""
    folders = {name: tmp_path / name for name in ("outbox", "sent", "errors")}
    for folder in folders.values():
        folder.mkdir()
    return Gammu(provider="gammu", **folders)


def test_a_message_for_the_modem_is_there_once_and_whole(gammu: Gammu) -> None:
    channel = GammuChannel(gammu)
    reference = channel.send(message("+33612345678"))
    assert channel.send(message("+33612345678")) == reference
    (file,) = gammu.outbox.iterdir()
    assert file.read_bytes().decode("utf-16") == TEXT
    assert channel.receipts([reference]) == []
    file.rename(gammu.sent / file.name)
    assert [r.delivered for r in channel.receipts([reference])] == [True]
    assert channel.send(message("+33612345678")) == reference
    assert list(gammu.outbox.iterdir()) == []


def test_gammu_smsd_reads_what_was_put_there(gammu: Gammu, tmp_path: Path) -> None:
    """Its dummy modem never sends, so what is seen is that smsd takes the file and its text."""
    smsd = shutil.which("gammu-smsd", path="/usr/bin")
    if smsd is None:
        pytest.skip("gammu-smsd is not installed")
    GammuChannel(gammu).send(message("+33612345678", "ALERTE quarante-deux"))
    (tmp_path / "inbox").mkdir()
    (tmp_path / "modem").mkdir()
    log = tmp_path / "smsd.log"
    configuration = tmp_path / "smsdrc"
    configuration.write_text(
        f"[gammu]\nmodel = dummy\nconnection = none\nport = {tmp_path}/modem\n"
        f"[smsd]\nservice = files\nlogfile = {log}\ndebuglevel = 255\nloopsleep = 1\n"
        f"inboxpath = {tmp_path}/inbox/\noutboxpath = {gammu.outbox}/\n"
        f"sentsmspath = {gammu.sent}/\nerrorsmspath = {gammu.errors}/\nmaxretries = 1\n"
    )
    process = subprocess.Popen(
        [smsd, "--config", str(configuration)], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not (log.exists() and "33612345678" in log.read_text(errors="replace")):
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
            time.sleep(0.5)
    finally:
        process.kill()
        process.wait()
