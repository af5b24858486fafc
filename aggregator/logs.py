"""The log: one line an event on standard error, as logfmt or as JSON."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal

_PAIR = re.compile(r"(\w+)=('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s;]+)")


class _Json(logging.Formatter):
    """Each event as one JSON object, its `key=value` pairs as fields."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {key: value.strip("'\"") for key, value in _PAIR.findall(message)}
        own = {"at": at, "level": record.levelname.lower(), "from": record.name}
        if not fields:
            fields = {"message": message}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps({**own, **fields}, ensure_ascii=False)


def log_to_stderr(form: Literal["logfmt", "json"]) -> None:
    """Begin to log."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(_Json() if form == "json" else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("alembic", "uvicorn", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # We tell what is lost, once; and an address of Apprise's is a secret.
    for told_by_us in ("pika", "apprise"):
        logging.getLogger(told_by_us).setLevel(logging.CRITICAL)
