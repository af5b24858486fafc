"""Ways to reach staff: each sends one message, says what its provider calls it, or why not."""

from dataclasses import dataclass
from typing import Protocol

from aggregator.config import AggregatorConfig, Apprise, Gammu, Kannel, Ovh, Smpp, Twilio
from aggregator.core.rules import Channel as Name

SEND_WITHIN_S = 20.0
"""Shorter than a delivery's lease, so that nobody else begins the same send."""


class SendError(RuntimeError):
    """A message was not accepted; `for_good` says that it never will be."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one address; `key` is the same whenever it is tried again."""

    key: str
    address: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an accepted message, by the provider's reference."""

    reference: str
    delivered: bool


class Channel(Protocol):
    """One way."""

    def send(self, message: Message) -> str:
        """Send a message; return the provider's reference, or an empty string.

        Raises:
            SendError: it was not accepted.
        """

    def receipts(self, awaited: list[str]) -> list[Receipt]:
        """Return what is known by now of accepted messages.

        Raises:
            SendError: the provider does not answer.
        """

    def close(self) -> None:
        """Let go of connections."""


def build(config: AggregatorConfig) -> dict[Name, Channel]:
    """Return the channels that are configured.

    Raises:
        ConfigError: a secret is missing.
    """
    # Each driver is loaded only where it is used.
    found: dict[Name, Channel] = {}
    if config.mail is not None:
        from aggregator.io.channels.mail import MailChannel  # noqa: PLC0415

        found["email"] = MailChannel(config.mail)
    if config.sms is not None:
        found["sms"] = _sms(config.sms)
    return found


def _sms(settings: Smpp | Ovh | Twilio | Kannel | Apprise | Gammu) -> Channel:
    from aggregator.io.channels import gammu, http, smpp  # noqa: PLC0415

    match settings:
        case Smpp():
            return smpp.SmppChannel(settings)
        case Ovh():
            return http.OvhChannel(settings)
        case Twilio():
            return http.TwilioChannel(settings)
        case Kannel():
            return http.KannelChannel(settings)
        case Apprise():
            return http.AppriseChannel(settings)
        case Gammu():
            return gammu.GammuChannel(settings)
