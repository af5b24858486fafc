"""E-mail by SMTP."""

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate

from aggregator.config import Mail, secret
from aggregator.io.channels import SEND_WITHIN_S, Message, Receipt, SendError


class MailChannel:
    """A connection a message: alerts are rare, and servers close idle ones."""

    def __init__(self, settings: Mail) -> None:
        """Read the secret.

        Raises:
            ConfigError: it is missing.
        """
        self._settings = settings
        self._password = (
            secret("mail.password", settings.password_file) if settings.user is not None else None
        )

    def send(self, message: Message) -> str:
        """Send an e-mail. Its id is made of the key, so that a repeated one can be told."""
        settings = self._settings
        letter = EmailMessage()
        letter["From"] = settings.sender
        letter["To"] = message.address
        letter["Subject"] = message.subject
        letter["Date"] = formatdate(localtime=False)
        domain = settings.sender.rpartition("@")[2]
        reference = f"<{message.key.replace(':', '.')}@{domain}>"
        letter["Message-ID"] = reference
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(message.body)
        try:
            with self._connect() as server:
                server.send_message(letter)
        except smtplib.SMTPRecipientsRefused as error:
            code, why = next(iter(error.recipients.values()))
            raise SendError(_said(code, why), for_good=500 <= code < 600) from None
        except smtplib.SMTPAuthenticationError as error:
            # A password can be put right while the message waits.
            raise SendError(_said(error.smtp_code, error.smtp_error)) from None
        except smtplib.SMTPResponseException as error:
            for_good = 500 <= error.smtp_code < 600
            raise SendError(_said(error.smtp_code, error.smtp_error), for_good=for_good) from None
        except (OSError, smtplib.SMTPException) as error:
            raise SendError(f"{settings.host}:{settings.port}: {error}") from None
        return reference

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        trust = ssl.create_default_context(cafile=settings.ca)
        if settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=SEND_WITHIN_S / 2, context=trust
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=SEND_WITHIN_S / 2)
        try:
            if settings.security == "starttls":
                server.starttls(context=trust)
            if settings.user is not None and self._password is not None:
                server.login(settings.user, self._password)
        except BaseException:
            server.close()
            raise
        return server

    def receipts(self, awaited: list[str]) -> list[Receipt]:  # noqa: ARG002 - e-mail has none
        """Return nothing: SMTP says no more than that a message was accepted."""
        return []

    def close(self) -> None:
        """Nothing is kept open."""


def _said(code: int, why: bytes | str) -> str:
    text = why.decode(errors="replace") if isinstance(why, bytes) else why
    return f"{code} {' '.join(text.split())}"
