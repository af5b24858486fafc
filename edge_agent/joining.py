"""What a device does besides counting: join, renew, update. They alone load what speaks HTTP."""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from edge_agent import admission
from edge_agent.io.identity import open_identity, write_whole
from edge_agent.supervisor import WRONG_INPUT
from edge_agent.wire.manifest import Kind, Manifest
from edge_agent.wire.messages import FLEET


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
    text = "take what the operator offers: configuration, networks, system"
    update = commands.add_parser("update", help=text, description=text)
    update.add_argument("--config", type=Path, required=True, help="agent.toml")
    update.add_argument("--state", type=Path, required=True, help="where offers taken are noted")
    update.add_argument(
        "--from",
        dest="source",
        metavar="FOLDER|URL",
        help="one offer (default: all of updates.url)",
    )
    update.add_argument("--kind", choices=get_args(Kind), default="system", help="of that offer")
    update.add_argument(
        "--only-heal", action="store_true", help="finish what a power cut interrupted, and no more"
    )
    text = "sign the files of a folder as an offer to devices"
    offer = commands.add_parser("offer", help=text, description=text)
    offer.add_argument("folder", type=Path, metavar="FOLDER")
    offer.add_argument("files", nargs="+", metavar="FILE", help="its names within the folder")
    offer.add_argument("--kind", choices=get_args(Kind), required=True)
    offer.add_argument("--target", required=True, metavar="ID|fleet")
    offer.add_argument(
        "--number",
        type=_number(1, 2**31 - 1),
        metavar="N",
        required=True,
        help="higher than any before",
    )
    offer.add_argument(
        "--days",
        type=_number(1, 3650),
        metavar="N",
        default=30,
        help="how long it is good (default 30)",
    )
    offer.add_argument("--key", type=Path, required=True, help="the operator's private key")
    text = "get a new certificate where the one in use ends soon"
    commands.add_parser("renew", parents=[shared], help=text, description=text)


def add_assistant_options(parser: argparse.ArgumentParser) -> None:
    """Add what the assistant takes besides a configuration."""
    parser.add_argument(
        "--listen", default="0.0.0.0", metavar="ADDRESS",  # noqa: S104 - who is near alone
        help="address to serve on (default: all); only whoever is near is answered",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=_number(1, 65535), default=8081, metavar="N", help="default 8081"
    )
    parser.add_argument(
        "--minutes", type=_number(1, 120), default=30, metavar="N",
        help="how long it stays open (default 30, at most 120)",
    )  # fmt: skip
    parser.add_argument("--identity", type=Path, help="folder of keys and certificate")
    parser.add_argument("--sealed", action="store_true", help="as for enrol")


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"expected {least} to {most}, got {text}")
        return int(text)

    return read


def enrol(given: argparse.Namespace) -> int:
    """Join the fleet with a claim."""
    from edge_agent import enrolment  # noqa: PLC0415 - no other process needs it
    from edge_agent.wire.enrolment import Welcome  # noqa: PLC0415

    try:
        claim = enrolment.read_claim(given.claim, _now())
        identity = open_identity(given.identity, sealed=given.sealed)
        if given.request:
            asked = enrolment.request(claim, identity)
            write_whole(given.request, asked.model_dump_json().encode(), 0o644)
            print(f"{given.request}: take it to the city, and bring its answer back")
            return 0
        if given.answer:
            enrolment.accept(claim, enrolment.read(given.answer, Welcome), identity, given.folder)
        else:
            enrolment.enrol(claim, identity, given.folder)
    except enrolment.EnrolmentError as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    print(f"{claim.device} is enrolled")
    return 0


def renew(given: argparse.Namespace) -> int:
    """Renew the certificate where that is due."""
    from edge_agent import enrolment  # noqa: PLC0415

    identity = open_identity(given.identity, sealed=given.sealed)
    try:
        if not enrolment.is_due(identity, _now()):
            print("not due")
            return 0
        enrolment.renew(identity)
    except enrolment.EnrolmentError as error:
        print(error, file=sys.stderr)
        return 1
    print("renewed")
    return 0


def update(given: argparse.Namespace) -> int:
    """Take offers; what was refused is told, and everything else goes on."""
    from edge_agent import updating  # noqa: PLC0415

    folder = given.config.parent
    if updating.heal(folder):
        print("finished what was interrupted")
    if given.only_heal:
        return 0
    loaded = admission.load(given.config)
    admission.demand_build(given.config, loaded, unsafe=False)
    agent = loaded.agent
    updater = updating.Updater(agent.device, folder, given.state, updating.with_rauc)
    offers: list[tuple[str, Kind]] = [(given.source, given.kind)]
    if given.source is None:
        if agent.updates.url is None:
            print("no updates.url")
            return 0
        offers = [
            (f"{agent.updates.url}/{target}/{kind}", kind)
            for kind in get_args(Kind)
            for target in (FLEET, agent.device)
        ]
    status = 0
    for source, kind in offers:
        try:
            number = updater.take(source, kind, _now())
        except updating.NoOfferError:
            continue
        except updating.UpdateError as error:
            print(error, file=sys.stderr)
            status = 1
            continue
        print(f"{kind}: " + ("nothing new" if number is None else f"took {number}"))
    return status


def offer(given: argparse.Namespace) -> int:
    """Sign an offer."""
    from edge_agent import updating  # noqa: PLC0415

    try:
        made = Manifest(
            kind=given.kind, target=given.target, number=given.number,
            until=_now() + timedelta(days=given.days),
            files=updating.describe(given.folder, given.files),
        )  # fmt: skip
        print(updating.sign(given.folder, made, given.key))
    except ValidationError as error:
        what = error.errors(include_url=False)[0]
        print(f"{'.'.join(map(str, what['loc']))}: {what['msg']}", file=sys.stderr)
        return WRONG_INPUT
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return WRONG_INPUT
    return 0


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the clock comes in
