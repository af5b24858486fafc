"""SMS to an SMS centre by SMPP 3.4: one bound connection, kept while it is used."""

import logging
import re
import select
import time
from collections import deque
from typing import Any

import smpplib.client
import smpplib.consts
import smpplib.exceptions
import smpplib.gsm

from aggregator.config import Smpp, secret
from aggregator.io.channels import SEND_WITHIN_S, Message, Receipt, SendError

_NOT_NOW = {
    smpplib.consts.SMPP_ESME_RTHROTTLED, smpplib.consts.SMPP_ESME_RMSGQFUL,
    smpplib.consts.SMPP_ESME_RSYSERR, smpplib.consts.SMPP_ESME_RX_T_APPN,
    smpplib.consts.SMPP_ESME_RINVBNDSTS,
}  # fmt: skip
_RECEIPT = re.compile(rb"id:(\S+).*?stat:(\w+)", re.IGNORECASE | re.DOTALL)
_DELIVERED = b"DELIVRD"
_STILL_UNDER_WAY = {b"ENROUTE", b"ACCEPTD", b"UNKNOWN"}
PART_WITHIN_S, BETWEEN_TRIES_S = 10.0, 0.5
_LONGEST_IDLE_S = 25.0
"""Then the connection is asked whether it is still there."""


class SmppChannel:
    """One transceiver."""

    def __init__(self, settings: Smpp) -> None:
        """Read the secret; the connection is made with the first message.

        Raises:
            ConfigError: it is missing.
        """
        self._settings = settings
        self._password = secret("sms.password", settings.password_file)
        self._client: smpplib.client.Client | None = None
        self._answers: dict[int, tuple[int, str]] = {}
        self._receipts: deque[Receipt] = deque(maxlen=10_000)
        self._used_s = 0.0
        logging.getLogger("smpp").setLevel(logging.CRITICAL)  # it would log bytes of messages

    def send(self, message: Message) -> str:
        """Send an SMS in as many parts as it takes; the reference is that of the last."""
        try:
            client = self._connected()
            parts, coding, esm_class = smpplib.gsm.make_parts(message.body)
            reference = ""
            for number, part in enumerate(parts):
                # Once a part is out, the rest must follow: the whole again would say it twice.
                reference = self._submit(
                    client, message.address, part, coding, esm_class, patient=number > 0
                )
        except (smpplib.exceptions.ConnectionError, OSError) as error:
            self.close()
            where = f"{self._settings.host}:{self._settings.port}"
            raise SendError(f"{where}: {str(error) or 'connection lost'}") from None
        except smpplib.exceptions.PDUError as error:
            self.close()
            raise SendError(str(error.args[0])) from None
        return reference

    def _submit(
        self,
        client: Any,
        address: str,
        part: bytes,
        coding: int,
        esm_class: int,
        *,
        patient: bool,
    ) -> str:
        """Send one part; where patient, again while the centre says that it cannot take it now."""
        deadline_s = time.monotonic() + PART_WITHIN_S
        while True:
            status, reference = self._submit_once(client, address, part, coding, esm_class)
            if status == smpplib.consts.SMPP_ESME_ROK:
                return reference
            later = status in _NOT_NOW
            if not (patient and later and time.monotonic() < deadline_s):
                said = smpplib.consts.DESCRIPTIONS.get(status, f"status {status}")
                raise SendError(said, for_good=not later)
            time.sleep(BETWEEN_TRIES_S)

    def _submit_once(
        self, client: Any, address: str, part: bytes, coding: int, esm_class: int
    ) -> tuple[int, str]:
        consts = smpplib.consts
        alphanumeric = not self._settings.sender.lstrip("+").isdigit()
        pdu = client.send_message(
            source_addr_ton=consts.SMPP_TON_ALNUM if alphanumeric else consts.SMPP_TON_INTL,
            source_addr_npi=consts.SMPP_NPI_UNK if alphanumeric else consts.SMPP_NPI_ISDN,
            source_addr=self._settings.sender.lstrip("+"),
            dest_addr_ton=consts.SMPP_TON_INTL,
            dest_addr_npi=consts.SMPP_NPI_ISDN,
            destination_addr=address.lstrip("+"),
            short_message=part,
            data_coding=coding,
            esm_class=esm_class,
            registered_delivery=True,
        )
        deadline_s = time.monotonic() + SEND_WITHIN_S / 2
        while pdu.sequence not in self._answers:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise smpplib.exceptions.ConnectionError("no answer to a message")
            self._read(client, left_s)
        self._used_s = time.monotonic()
        return self._answers.pop(pdu.sequence)

    def _connected(self) -> Any:
        if self._client is not None and time.monotonic() - self._used_s > _LONGEST_IDLE_S:
            self.close()
        if self._client is None:
            settings = self._settings
            client = smpplib.client.Client(
                settings.host, settings.port, timeout=SEND_WITHIN_S / 2,
                allow_unknown_opt_params=True,
            )  # fmt: skip
            client.set_message_sent_handler(self._answered)
            client.set_message_received_handler(self._received)
            client.set_error_pdu_handler(self._answered)
            try:
                client.connect()
                client.bind_transceiver(system_id=settings.system_id, password=self._password)
            except BaseException:
                client.disconnect()
                raise
            self._client = client
            self._used_s = time.monotonic()
        return self._client

    def _answered(self, pdu: Any) -> None:
        reference = getattr(pdu, "message_id", None) or b""
        text = reference.decode("ascii", "replace").rstrip("\0") if reference else ""
        self._answers[pdu.sequence] = (pdu.status, text)

    def _received(self, pdu: Any) -> None:
        body = pdu.short_message or getattr(pdu, "message_payload", None) or b""
        found = _RECEIPT.search(body)
        if found and found[2].upper() not in _STILL_UNDER_WAY:
            reference = found[1].decode("ascii", "replace")
            self._receipts.append(Receipt(reference, found[2].upper() == _DELIVERED))

    @staticmethod
    def _read(client: Any, within_s: float) -> bool:
        """Take one answer or receipt in, if one comes in time."""
        ready, _, _ = select.select([client._socket], [], [], within_s)
        if ready:
            client.read_once(auto_send_enquire_link=False)
        return bool(ready)

    def receipts(self, awaited: list[str]) -> list[Receipt]:  # noqa: ARG002 - they come by themselves
        """Return the receipts that have come over the connection."""
        try:
            if self._client is not None:
                while self._read(self._client, 0.0):
                    continue
        except (smpplib.exceptions.ConnectionError, smpplib.exceptions.PDUError, OSError):
            self.close()
        found = list(self._receipts)
        self._receipts.clear()
        return found

    def close(self) -> None:
        """Leave the SMS centre."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            client.unbind()
        except (smpplib.exceptions.ConnectionError, smpplib.exceptions.PDUError, OSError):
            logging.getLogger(__name__).debug("event=smpp_left_without_goodbye")
        client.disconnect()
