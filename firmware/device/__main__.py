"""`dizaine-device`: prepares, checks, labels and wipes the cards of devices."""

import argparse
import json
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from edge_agent.wire.enrolment import Claim, Enrolment, Welcome
from firmware.device import cards, disks, labels, release
from firmware.device.errors import ToolError
from firmware.device.release import Release
from firmware.device.words import Words, language

WRONG_INPUT = 2
SECONDS_TO_CANCEL = 10
_ADDRESSES = ("https://", "http://127.0.0.1:", "http://localhost:")
_MARKS = {True: ("OK", "bold green"), False: ("!!", "bold red"), None: ("??", "bold yellow")}
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}")


class Tool:
    """One call of it."""

    def __init__(self, words: Words, *, quick: bool) -> None:
        self._words = words
        self._quick = quick
        self._screen = Console(highlight=False)
        self._half_written: set[Path] = set()

    # -- what every command needs

    def tell(self, text: str, style: str = "bold") -> None:
        """Say something that must be read."""
        self._screen.print(Panel(text, style=style, padding=(1, 2)))

    def fail(self, word: str, **found: object) -> int:
        """Say what is wrong, and what to do."""
        self.tell(self._words.say(word, **found), "bold red")
        return WRONG_INPUT

    def _card(self, target: str) -> disks.Disk | None:
        disk = disks.find(target)
        if disk is None:
            self.fail("no_such_disk", path=target)
            return None
        if disk.why_not:
            reason = self._words.say(disk.why_not, detail=disk.detail)
            self.fail("refused_disk", path=target, reason=reason)
            return None
        return disk

    def _wait(self, text: str) -> None:
        """Give somebody the time to cancel."""
        for seconds in range(0 if self._quick else SECONDS_TO_CANCEL, 0, -1):
            self._screen.print(text.replace("{seconds}", str(seconds)), style="bold yellow")
            time.sleep(1)

    def _bars(self) -> Progress:
        return Progress(
            TextColumn("[bold]{task.description}"), BarColumn(bar_width=None), DownloadColumn(),
            TimeRemainingColumn(), console=self._screen,
        )  # fmt: skip

    # -- commands

    def show(self, _given: argparse.Namespace) -> int:
        """Show the disks, and which of them may be written."""
        found = disks.listed()
        for disk in found:
            state = self._words.say(disk.why_not, detail=disk.detail) if disk.why_not else (
                self._words["holds_ours" if disk.is_ours else "may_write"]
            )  # fmt: skip
            self._screen.print(
                f"{disk.title:<44} {state}", style="dim" if disk.why_not else "bold green"
            )
        if not any(not disk.why_not for disk in found):
            self._screen.print(self._words["no_disks"], style="bold")
        return 0

    def trust(self, given: argparse.Namespace) -> int:
        """Keep whose releases are believed."""
        self.tell(self._words.say("trusts", fingerprint=release.trust(given.authority)))
        return 0

    def flash(self, given: argparse.Namespace) -> int:
        """Write one card for one device."""
        return self._write_all(given, [given.to], [given.claim])

    def batch(self, given: argparse.Namespace) -> int:
        """Write several cards at once, each for a device of its own."""
        claims = sorted(given.claims.glob("*.claim"))
        if len(claims) != len(given.to):
            return self.fail("claims_and_cards", claims=len(claims), cards=len(given.to))
        return self._write_all(given, given.to, claims)

    def _write_all(self, given: argparse.Namespace, targets: list[str], paths: list[Path]) -> int:
        """Write cards side by side; one that fails does not hold up the others.

        1. Everything is looked at before anything is written: release, claims, cards.
        2. Ten seconds to cancel.
        3. Write, read back, and only then put the claim on.
        """
        # 1.
        if given.ntp and not _HOST.fullmatch(given.ntp):
            return self.fail("ntp_bad", ntp=given.ntp)
        image = release.open_release(given.release)
        claims = [self._claim(path) for path in paths]
        chosen = [self._card(target) for target in targets]
        ready = [(c, d) for c, d in zip(claims, chosen, strict=True) if c and d]
        if len(ready) < len(targets):
            return WRONG_INPUT
        # 2.
        for claim, disk in ready:
            words = self._words.say(
                "about_to_write", disk=disk.title, device=claim.device, seconds="{seconds}"
            )
            self._screen.print(words.replace("{seconds}", str(SECONDS_TO_CANCEL)), style="bold")
        self._wait("{seconds}")
        # 3.
        extra = {} if given.no_assistant else {"assistant": b"1\n"}
        if given.ntp:
            extra["site.conf"] = f"NTP={given.ntp}\n".encode()
        outcomes: dict[Path, str] = {}
        with self._bars() as bars:
            threads = [
                threading.Thread(
                    target=self._write_one,
                    args=[image, claim, disk, extra, bars, outcomes],
                )
                for claim, disk in ready
            ]
            for thread in threads:
                thread.daemon = True
                thread.start()
            for thread in threads:
                thread.join()
        for claim, disk in ready:
            if problem := outcomes.get(disk.path):
                self.tell(f"{disk.title}: {problem}", "bold red")
            else:
                said = self._words.say(
                    "card_ready", device=claim.device, disk=disk.path, version=image.version
                )
                self.tell(said, "bold green")
        return WRONG_INPUT if outcomes else 0

    def _write_one(  # noqa: PLR0917 - what a thread is started with
        self,
        image: Release,
        claim: Claim,
        disk: disks.Disk,
        extra: dict[str, bytes],
        bars: Progress,
        outcomes: dict[Path, str],
    ) -> None:
        bar = bars.add_task(f"{claim.device} {self._words['writing']}", total=image.content)
        self._half_written.add(disk.path)
        try:
            cards.write(image, disk.path, lambda n: bars.advance(bar, n))
            bars.reset(bar, description=f"{claim.device} {self._words['reading']}")
            cards.read_back(image, disk.path, lambda n: bars.advance(bar, n))
            cards.put_on(disk.path, {"claim.json": claim.model_dump_json().encode(), **extra})
            self._half_written.discard(disk.path)
        except ToolError as error:
            outcomes[disk.path] = self._words.say(error.word, **error.found)

    def _claim(self, path: Path) -> Claim | None:
        try:
            claim = Claim.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            self.fail("claim_bad", path=path)
            return None
        if claim.until_s < time.time():  # noqa: TID251 - the clock comes in
            until = datetime.fromtimestamp(claim.until_s, UTC).strftime("%Y-%m-%d")
            self.fail("claim_old", path=path, until=until)
            return None
        return claim

    def verify(self, given: argparse.Namespace) -> int:
        """Say whether a card holds a release, and for which device."""
        image = release.open_release(given.release)
        disk = disks.find(given.card)
        if disk is None:
            return self.fail("no_such_disk", path=given.card)
        first, last = cards.SLOTS
        parts = tuple(s for s in image.stretches if first <= s.start < last)
        kept = Release(image.image, image.version, image.size, parts)
        with self._bars() as bars:
            bar = bars.add_task(self._words["reading"], total=kept.content)
            try:
                cards.read_back(kept, disk.path, lambda n: bars.advance(bar, n))
            except ToolError as error:
                if error.word != "card_differs":
                    raise
                return self.fail("card_changed")
        self.tell(
            self._words.say("card_right", disk=disk.path, version=image.version), "bold green"
        )
        claim = cards.read_from(disk.path, "claim.json")
        if claim:
            device = Claim.model_validate_json(claim).device
            self._screen.print(self._words.say("card_claimed", device=device), style="bold")
        else:
            self._screen.print(self._words["card_used"], style="bold")
        return 0

    def label(self, given: argparse.Namespace) -> int:
        """Write a sheet of labels."""
        made = []
        for path in given.claims:
            claim = self._claim(path)
            if claim is None:
                return WRONG_INPUT
            link = f"{claim.url}about#{claim.device}"
            made.append(labels.Label(claim.device, given.site, link))
        given.out.write_text(labels.sheet(made, self._words), encoding="utf-8")
        self.tell(self._words.say("labels_written", path=given.out))
        return 0

    def enrol(self, given: argparse.Namespace) -> int:
        """Take requests on a stick to the city, and bring its answers back onto it."""
        if not given.url.startswith(_ADDRESSES):
            return self.fail("url_bad", url=given.url)
        requests = sorted(given.stick.glob("*.request.json"))
        if not requests:
            return self.fail("no_request", path=given.stick)
        for path in requests:
            try:
                asked = Enrolment.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                return self.fail("no_request", path=path)
            self._screen.print(
                self._words.say("asked", path=path.name, device=asked.device, url=given.url)
            )
            try:
                welcome = _ask(given.url, asked)
            except (OSError, ValueError) as error:
                return self.fail("no_city", url=given.url, why=_reason(error))
            answer = given.stick / f"{asked.device}.answer.json"
            answer.write_text(welcome.model_dump_json(), encoding="utf-8")
            self.tell(self._words.say("answered", path=answer), "bold green")
        return 0

    def wipe(self, given: argparse.Namespace) -> int:
        """Destroy what is on a card, and write a receipt."""
        disk = self._card(given.card)
        if disk is None:
            return WRONG_INPUT
        claim = cards.read_from(disk.path, "claim.json")
        device = given.device or (Claim.model_validate_json(claim).device if claim else "")
        words = self._words.say("about_to_wipe", disk=disk.title, seconds=SECONDS_TO_CANCEL)
        self._screen.print(words, style="bold")
        self._wait("{seconds}")
        size = cards.size_of(disk.path)
        with self._bars() as bars:
            bar = bars.add_task(self._words["wiping"], total=2 * size)
            digest = cards.wipe(disk.path, lambda n: bars.advance(bar, n))
        at = datetime.now(UTC)  # noqa: TID251 - the clock comes in
        card = f"{disk.model} {disk.serial}".strip() or str(disk.path)
        text = labels.receipt(labels.Wiped(device, card, size, digest, at), self._words)
        out: Path = given.out or Path(f"receipt-{device or 'card'}-{at:%Y%m%d-%H%M%S}.html")
        out.write_text(text, encoding="utf-8")
        self.tell(self._words.say("wiped", disk=disk.path, path=out), "bold green")
        return 0

    def selftest(self, given: argparse.Namespace) -> int:
        """Show what a device's assistant finds, large."""
        url = given.device.rstrip("/")
        try:
            with urllib.request.urlopen(f"{url}/api/selftest", timeout=60) as answer:  # noqa: S310
                found = json.loads(answer.read(100_000))
        except (OSError, ValueError) as error:
            return self.fail("selftest_unreachable", url=url, why=_reason(error))
        for one in found["checks"]:
            mark, style = _MARKS[one["works"]]
            self._screen.print(f"{mark}  {one['says'][self._words.language]}", style=style)
        return 1 if any(one["works"] is False for one in found["checks"]) else 0

    def interrupted(self) -> int:
        """Say what became of the cards."""
        self.tell(
            self._words["cancelled_half" if self._half_written else "cancelled"], "bold yellow"
        )
        return 1


def _ask(url: str, asked: Enrolment) -> Welcome:
    request = urllib.request.Request(  # noqa: S310 - https, or this computer
        f"{url.rstrip('/')}/enrol", asked.model_dump_json().encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return Welcome.model_validate_json(answer.read(1_000_000))


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        try:
            return str(json.loads(error.read(10_000))["problem"])
        except (ValueError, KeyError, TypeError):
            return f"status {error.code}"
    return str(getattr(error, "reason", error))


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status: 2 where the input is wrong."""
    given = _parser().parse_args(argv)
    tool = Tool(Words(language(given.lang)), quick=given.quick)
    deed: Callable[[Tool, argparse.Namespace], int] = given.deed
    try:
        return deed(tool, given)
    except ToolError as error:
        return tool.fail(error.word, **error.found)
    except KeyboardInterrupt:
        return tool.interrupted()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dizaine-device", description=__doc__)
    parser.add_argument("--lang", choices=["fr", "en"], help="language (default: this computer's)")
    parser.add_argument("--quick", action="store_true", help="do not wait before writing")
    top = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    own = top.add_parser("list", help="cartes / cards")
    own.set_defaults(deed=Tool.show)
    own = top.add_parser("trust", help="à faire une fois / to do once")
    own.set_defaults(deed=Tool.trust)
    own.add_argument("authority", type=Path, metavar="CA.pem")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("release", type=Path, metavar="RELEASE", help="folder with disk.img")
    written = argparse.ArgumentParser(add_help=False, parents=[shared])
    written.add_argument("--ntp", metavar="HOST", help="serveur de temps / time server")
    written.add_argument(
        "--no-assistant", action="store_true",
        help="compter dès le démarrage / count from the first start",
    )  # fmt: skip
    own = top.add_parser("flash", parents=[written], help="écrire une carte / write a card")
    own.set_defaults(deed=Tool.flash)
    own.add_argument("--to", required=True, metavar="DISK")
    own.add_argument("--claim", required=True, type=Path, metavar="FILE")
    own = top.add_parser("batch", parents=[written], help="plusieurs cartes / several cards")
    own.set_defaults(deed=Tool.batch)
    own.add_argument("--to", required=True, nargs="+", metavar="DISK")
    own.add_argument("--claims", required=True, type=Path, metavar="FOLDER")
    own = top.add_parser("verify", parents=[shared], help="vérifier / verify")
    own.set_defaults(deed=Tool.verify)
    own.add_argument("card", metavar="DISK")
    own = top.add_parser("label", help="étiquettes / labels")
    own.set_defaults(deed=Tool.label)
    own.add_argument("claims", nargs="+", type=Path, metavar="CLAIM")
    own.add_argument("--site", default="", help="lieu / place")
    own.add_argument("--out", type=Path, default=Path("labels.html"))
    own = top.add_parser("enrol", help="inscrire par clé USB / enrol by a stick")
    own.set_defaults(deed=Tool.enrol)
    own.add_argument("stick", type=Path, metavar="FOLDER")
    own.add_argument("--url", required=True, help="https://…")
    own = top.add_parser("selftest", help="auto-test / self-test")
    own.set_defaults(deed=Tool.selftest)
    own.add_argument("device", metavar="http://…", help="adresse de l'assistant / its address")
    own = top.add_parser("wipe", help="effacer, avec reçu / wipe, with a receipt")
    own.set_defaults(deed=Tool.wipe)
    own.add_argument("card", metavar="DISK")
    own.add_argument("--device", default="", metavar="ID")
    own.add_argument("--out", type=Path, metavar="FILE.html")
    return parser


if __name__ == "__main__":
    sys.exit(main())
