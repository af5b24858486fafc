"""The installation assistant: a page for whoever stands beside the device, for a limited time.

Two processes: this one serves the page and has no camera; the preview process has the camera and no
network. docs/adr/0026-installation-picture.md.
"""

import argparse
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from edge_agent import enrolment, sandbox
from edge_agent.config import Loaded
from edge_agent.installation import server
from edge_agent.io import mqtt
from edge_agent.io.identity import IdentityError, open_identity
from edge_agent.io.preview_link import PreviewLink
from edge_agent.supervisor import Supervised, supervise
from edge_agent.wire.installation import Proposal

log = logging.getLogger(__name__)

HOTTEST_C = 80
_CLOCK_SET = Path("/run/systemd/timesync/synchronized")
_CREDENTIALS = "CREDENTIALS_DIRECTORY"


def run(given: argparse.Namespace, loaded: Loaded, preview: list[str]) -> int:
    """Serve the page until its time is over, or somebody asks to stop.

    Args:
        given: what `joining.add_assistant_options` added.
        loaded: the configuration.
        preview: the command line of the preview process, all but what it shares.

    Raises:
        ConfigError: the port cannot be used.
    """
    now = datetime.now(UTC)  # noqa: TID251 - the clock comes in
    may_send = loaded.declared.allows("installation-picture", now, now) and _may_speak(given)
    until_s = time.monotonic() + 60 * given.minutes
    site = server.Site(
        device=loaded.agent.device, view=loaded.agent.camera.view, until_s=until_s,
        surroundings=lambda: _surroundings(loaded),
        send=(lambda proposal: _send(given, proposal)) if may_send else None,
    )  # fmt: skip
    link = PreviewLink()
    command = [*preview, "--share", *map(str, link.passed)]
    part = Supervised("preview", command, sandbox.PERTURB, link.passed)
    try:
        with server.serving(server.listen((given.listen, given.port), site, link)):
            return supervise([part], until_s)
    finally:
        link.close()
        log.warning("event=assistant_closed")


def _may_speak(given: argparse.Namespace) -> bool:
    return bool(given.identity or os.environ.get(_CREDENTIALS))


def _send(given: argparse.Namespace, proposal: Proposal) -> str:
    """Send a proposal to the city; return why that was not possible, or nothing."""
    try:
        if given.identity:
            credentials = enrolment.credentials_of(
                open_identity(given.identity, sealed=given.sealed)
            )
        else:
            credentials = enrolment.credentials_in(Path(os.environ[_CREDENTIALS]))
        enrolment.propose(credentials, proposal)
    except (enrolment.EnrolmentError, IdentityError) as error:
        return str(error)
    return ""


def _surroundings(loaded: Loaded) -> dict[str, bool | None]:
    known = _CLOCK_SET.parent.exists()
    return {
        "temperature": _is_cool(),
        "clock": _CLOCK_SET.exists() if known else None,
        "broker": mqtt.answers(loaded.agent.mqtt),
    }


def _is_cool() -> bool | None:
    """Return whether the board is cool enough; None where it does not tell."""
    found = []
    for path in Path("/sys/class/thermal").glob("thermal_zone*/temp"):
        try:
            found.append(int(path.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return None if not found else max(found) <= HOTTEST_C
