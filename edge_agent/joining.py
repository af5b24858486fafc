"""The commands `dizaine-agent enrol` and `renew`; the network is loaded by them alone."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.io.identity import Identity, PlainSeal, SystemdSeal, write_whole
from edge_agent.supervisor import WRONG_INPUT


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add what a device does to join the fleet and to stay in it."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--identity", type=Path, required=True, help="folder of keys and certificate"
    )
    shared.add_argument(
        "--sealed",
        action="store_true",
        help="keep keys as systemd credentials (TPM where there is one)",
    )
    text = "become one of the fleet with a claim: online, or with --request and --answer by a stick"
    enrol = commands.add_parser("enrol", parents=[shared], help=text, description=text)
    enrol.add_argument("--claim", type=Path, required=True, help="from dizaine-aggregator claim")
    enrol.add_argument("--folder", type=Path, required=True, help="where agent.toml goes")
    enrol.add_argument("--request", type=Path, help="write the request here, and ask nobody")
    enrol.add_argument("--answer", type=Path, help="take this answer to it")
    text = "get a new certificate where the one in use ends soon"
    commands.add_parser("renew", parents=[shared], help=text, description=text)


def _identity(given: argparse.Namespace) -> Identity:
    return Identity(given.identity, SystemdSeal() if given.sealed else PlainSeal())


def enrol(given: argparse.Namespace) -> int:
    """Join the fleet with a claim."""
    from edge_agent import enrolment  # noqa: PLC0415 - no other process needs it
    from edge_agent.wire.enrolment import Welcome  # noqa: PLC0415

    try:
        claim = enrolment.read_claim(given.claim, _now())
        identity = _identity(given)
        if given.request:
            asked = enrolment.request(claim, identity)
            write_whole(given.request, asked.model_dump_json().encode(), 0o644)
            print(f"{given.request}: take it to the city, and bring its answer back")  # noqa: T201
            return 0
        if given.answer:
            enrolment.settle(claim, enrolment.read(given.answer, Welcome), identity, given.folder)
        else:
            enrolment.enrol(claim, identity, given.folder)
    except enrolment.EnrolmentError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return WRONG_INPUT
    print(f"{claim.device} is enrolled")  # noqa: T201
    return 0


def renew(given: argparse.Namespace) -> int:
    """Renew the certificate where that is due."""
    from edge_agent import enrolment  # noqa: PLC0415

    identity = _identity(given)
    try:
        if not enrolment.is_due(identity, _now()):
            print("not due")  # noqa: T201
            return 0
        enrolment.renew(identity)
    except enrolment.EnrolmentError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print("renewed")  # noqa: T201
    return 0


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the clock comes in
