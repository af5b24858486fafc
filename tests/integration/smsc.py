"""An SMS centre on smppy, a real SMPP server: `python -m tests.integration.smsc PORT LOG`.

It adds what smppy leaves out: message ids, delivery receipts, a busy answer, and a refused number.
Each message that it takes is a line of JSON in LOG.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

from smpp.pdu.pdu_types import CommandId, CommandStatus
from smppy.server import Application, SmppProtocol

BUSY_ONCE, NEVER, BUSY_LATER = "33600000001", "33600000002", "33600000003"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


class Centre(Application):
    """One user, `city`; what was sent is written down."""

    def __init__(self, log: Path) -> None:
        super().__init__("centre", logging.getLogger("centre"))
        self.log = log
        self.count = 0
        self.busy: set[str] = set()
        self.parts = 0

    async def handle_bound_client(self, client: Any) -> Any:
        good = (_text(client.system_id), _text(client.password)) == ("city", "secret")
        return client if good else None

    async def handle_unbound_client(self, client: Any) -> None:
        return None

    async def handle_sms_received(
        self, client: Any, source_number: bytes, dest_number: bytes, text: str
    ) -> None:
        number = _text(dest_number)
        if number == NEVER or number in self.busy:
            self.busy.discard(number)
            return
        own = f"m{self.count}"
        told = {"from": _text(source_number), "to": number, "id": own}
        with self.log.open("a") as out:
            out.write(json.dumps(told) + "\n")
        await asyncio.sleep(0.2)
        state = "DELIVRD" if not number.endswith("9") else "UNDELIV"
        receipt = f"id:{own} sub:001 dlvrd:001 stat:{state} err:000 text:"
        await client.send_sms(number, _text(source_number), receipt)


class Protocol(SmppProtocol):
    """Gives each message an id, and says busy or no where it should."""

    def _send_response(self, response: Any) -> None:
        if response.command_id == CommandId.submit_sm_resp:
            number = self.number
            if number == BUSY_ONCE and number not in self.app.seen:
                self.app.seen.add(number)
                self.app.busy.add(number)
                response.status = CommandStatus.ESME_RTHROTTLED
            elif number == BUSY_LATER and self.app.parts in {1, 2}:
                self.app.busy.add(number)
                response.status = CommandStatus.ESME_RTHROTTLED
            elif number == NEVER:
                response.status = CommandStatus.ESME_RINVDSTADR
            else:
                self.app.count += 1
                response.params["message_id"] = f"m{self.app.count}"
            self.app.parts += number == BUSY_LATER
        super()._send_response(response)

    async def handle_data_received(self, data: bytes) -> None:
        # smppy takes one PDU a packet; the destination stands before the text.
        self.number = next((n for n in (BUSY_ONCE, NEVER, BUSY_LATER) if n.encode() in data), "")
        await super().handle_data_received(data)


async def serve(port: int, log: Path) -> None:
    centre = Centre(log)
    centre.seen = set()  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(app=centre), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
