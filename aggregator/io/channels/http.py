"""SMS through providers that are asked over HTTPS."""

import hashlib
import json
import time
from typing import Any
from urllib.parse import urlsplit

import requests

from aggregator.config import Apprise, Kannel, Ovh, Twilio, secret
from aggregator.io.channels import SEND_WITHIN_S, Message, Receipt, SendError


class _Http:
    """A connection to one provider."""

    def __init__(self) -> None:
        self._session = requests.Session()

    def _ask(self, method: str, url: str, **content: Any) -> requests.Response:
        """Ask; return an answer that says yes.

        Raises:
            SendError: there was none, or it said no.
        """
        host = urlsplit(url).hostname
        try:
            answer = self._session.request(method, url, timeout=SEND_WITHIN_S / 2, **content)
        except requests.RequestException as error:
            # Its text may hold the whole address, and that a secret.
            raise SendError(f"{host}: {type(error).__name__}") from None
        if answer.ok:
            return answer
        said = " ".join(answer.text.split())[:150]
        # A wrong key can be put right while messages wait; a wrong number cannot.
        for_good = answer.status_code in (400, 404, 422)
        raise SendError(f"{host}: {answer.status_code} {said}", for_good=for_good)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


class OvhChannel(_Http):
    """OVHcloud: POST /sms/SERVICE/jobs, each request signed."""

    def __init__(self, settings: Ovh) -> None:
        """Read the secrets.

        Raises:
            ConfigError: one is missing.
        """
        super().__init__()
        self._settings = settings
        self._secret = secret("sms.application_secret", settings.application_secret_file)
        self._consumer = secret("sms.consumer_key", settings.consumer_key_file)
        self._ahead_s: int | None = None

    def _signed(self, method: str, path: str, body: str = "") -> requests.Response:
        url = f"{self._settings.endpoint}{path}"
        if self._ahead_s is None:
            told = self._ask("GET", f"{self._settings.endpoint}/auth/time").text
            self._ahead_s = int(told) - int(time.time())  # noqa: TID251 - of their clock before ours
        at = str(int(time.time()) + self._ahead_s)  # noqa: TID251
        text = "+".join((self._secret, self._consumer, method, url, body, at))
        # Their scheme; nothing of ours rests on SHA-1.
        signature = "$1$" + hashlib.sha1(text.encode()).hexdigest()  # noqa: S324
        headers = {
            "Content-Type": "application/json",
            "X-Ovh-Application": self._settings.application_key,
            "X-Ovh-Consumer": self._consumer,
            "X-Ovh-Timestamp": at,
            "X-Ovh-Signature": signature,
        }
        return self._ask(method, url, data=body.encode(), headers=headers)

    def send(self, message: Message) -> str:
        """Send an SMS."""
        body = json.dumps(
            {
                "message": message.body, "receivers": [message.address], "coding": "7bit",
                "sender": self._settings.sender, "noStopClause": True, "priority": "high",
                "charset": "UTF-8", "class": "phoneDisplay", "tag": message.key[:20],
            }
        )  # fmt: skip
        answer = self._signed("POST", f"/sms/{self._settings.service}/jobs", body).json()
        if answer.get("invalidReceivers"):
            raise SendError("the number is not valid", for_good=True)
        return str(next(iter(answer.get("ids", [])), ""))

    def receipts(self, awaited: list[str]) -> list[Receipt]:
        """Ask for what became of messages."""
        found = []
        for reference in awaited:
            path = f"/sms/{self._settings.service}/outgoing/{reference}"
            state = self._signed("GET", path).json().get("deliveryReceipt")
            if state in (1, 2, 16):
                found.append(Receipt(reference, state == 1))
        return found


class TwilioChannel(_Http):
    """Twilio: POST /Accounts/SID/Messages.json."""

    def __init__(self, settings: Twilio) -> None:
        """Read the secret.

        Raises:
            ConfigError: it is missing.
        """
        super().__init__()
        self._session.auth = (settings.account, secret("sms.token", settings.token_file))
        self._settings = settings
        self._base = f"{settings.endpoint}/Accounts/{settings.account}/Messages"

    def send(self, message: Message) -> str:
        """Send an SMS."""
        form = {"To": message.address, "From": self._settings.sender, "Body": message.body}
        return str(self._ask("POST", f"{self._base}.json", data=form).json().get("sid", ""))

    def receipts(self, awaited: list[str]) -> list[Receipt]:
        """Ask for what became of messages."""
        found = []
        for reference in awaited:
            state = self._ask("GET", f"{self._base}/{reference}.json").json().get("status")
            if state in ("delivered", "undelivered", "failed"):
                found.append(Receipt(reference, state == "delivered"))
        return found


class KannelChannel(_Http):
    """A Kannel gateway's sendsms."""

    def __init__(self, settings: Kannel) -> None:
        """Read the secret.

        Raises:
            ConfigError: it is missing.
        """
        super().__init__()
        self._settings = settings
        self._password = secret("sms.password", settings.password_file)

    def send(self, message: Message) -> str:
        """Send an SMS. Kannel answers that it has taken it, and gives no reference."""
        query = {
            "username": self._settings.user, "password": self._password,
            "from": self._settings.sender, "to": message.address, "text": message.body,
            "charset": "UTF-8", "coding": "0",
        }  # fmt: skip
        self._ask("GET", self._settings.url, params=query)
        return ""

    def receipts(self, awaited: list[str]) -> list[Receipt]:  # noqa: ARG002 - it has none to ask for
        """Return nothing."""
        return []


class AppriseChannel:
    """Whatever Apprise can send with; it says only whether that worked."""

    def __init__(self, settings: Apprise) -> None:
        """Read the address, which is a secret.

        Raises:
            ConfigError: it is missing.
        """
        self._url = secret("sms.url", settings.url_file)

    def send(self, message: Message) -> str:
        """Send an SMS."""
        import apprise  # noqa: PLC0415 - large, and rarely used

        sender = apprise.Apprise()
        if not sender.add(self._url.replace("{to}", message.address.lstrip("+"))):
            raise SendError("sms.url: Apprise does not know such an address")
        if not sender.notify(body=message.body):
            raise SendError("the provider did not take it; Apprise says no more")
        return ""

    def receipts(self, awaited: list[str]) -> list[Receipt]:  # noqa: ARG002 - it has none
        """Return nothing."""
        return []

    def close(self) -> None:
        """Nothing is kept open."""
